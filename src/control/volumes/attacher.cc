// attacher.cc: which volumes are attached to which nodes (persistentvolume-attach-detach-controller), for CSI: a
// VolumeAttachment is the wish, the driver's external attacher fulfils it, and the node's status says what kubelets may
// mount.
//
//   pods of a node ─▶ volumes wanted there ─┬▶ no attachment: one is made, unless the volume is elsewhere and may not
//   be attachments of the node, its status ────┘  attached: the node's status gets it, and its pods are told
//                                              not wanted: out of the status, then removed; not while it is mounted
//
// A key is a node. One is worked on at a time, so that no volume goes to two nodes.
#include <fmt/format.h>

#include <map>
#include <set>

#include "api/registry/indexes.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/resources.h"
#include "control/settings.h"
#include "control/volumes/uses.h"
#include "crypto/digest.h"

namespace kedge::control {

namespace {

const api::resource_id attachments{"storage.k8s.io", "v1", "volumeattachments"};
const api::resource_id drivers{"storage.k8s.io", "v1", "csidrivers"};

constexpr std::string_view managed_note = "volumes.kubernetes.io/controller-managed-attach-detach";
constexpr std::string_view out_of_service = "node.kubernetes.io/out-of-service";
constexpr std::string_view claim_mark = "claim:";
// From then on a volume is taken from a node that isn't ready, mounted or not.
constexpr duration unmount_longest = std::chrono::minutes(6);

std::string attachment_name(const json::value& csi, std::string_view node) {
  auto text = fmt::format("{}{}{}", csi["volumeHandle"].as_string(), csi["driver"].as_string(), node);
  return "csi-" + crypto::sha256_hex(as_bytes(text));
}
// As a node's status names it.
std::string name_in_status(const json::value& csi) {
  return fmt::format("kubernetes.io/csi/{}^{}", csi["driver"].as_string(), csi["volumeHandle"].as_string());
}

bool may_be_on_many(const json::value& volume) {
  auto& modes = volume["spec"]["accessModes"];
  for (std::size_t i = 0; i < modes.size(); ++i)
    if (modes[i].as_string() == "ReadWriteMany" || modes[i].as_string() == "ReadOnlyMany") return true;
  return modes.empty();
}

bool has_taint(const json::value& node, std::string_view key) {
  auto& taints = node["spec"]["taints"];
  for (std::size_t i = 0; i < taints.size(); ++i)
    if (taints[i]["key"].as_string() == key) return true;
  return false;
}

std::set<std::string, std::less<>> volumes_in_use(const json::value& node) {
  std::set<std::string, std::less<>> out;
  auto& list = node["status"]["volumesInUse"];
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace(list[i].as_string());
  return out;
}

// The volume that a pod's claim is bound to, where an attacher has to bring it; null otherwise.
const json::value* attachable(const view& cluster, const json::value& pod, const json::value& volume_of_pod) {
  auto name = claim_of(pod, volume_of_pod);
  auto claim = name.empty() ? nullptr : cluster.get(claims, pod["metadata"]["namespace"].as_string(), name);
  if (!claim || phase_of(*claim) != "Bound") return nullptr;
  if (volume_of_pod["ephemeral"].is_object() && !was_made_for(*claim, pod)) return nullptr;
  auto volume = cluster.get(volumes, {}, (*claim)["spec"]["volumeName"].as_string());
  if (!volume || (*volume)["spec"]["claimRef"]["uid"].as_string() != uid_of(*claim)) return nullptr;
  auto& csi = (*volume)["spec"]["csi"];
  if (!csi.is_object()) return nullptr;
  auto driver = cluster.get(drivers, {}, csi["driver"].as_string());
  return driver && !(*driver)["spec"]["attachRequired"].as_bool(true) ? nullptr : volume;
}

template <typename F>
void each_attachment(const view& cluster, std::string_view index, std::string_view value, F f) {
  cluster.cluster().scan(index, value, cluster.prefix(attachments), {}, [&](const store::object_ref& o) {
    if (auto attachment = cluster.value(o)) f(*attachment);
    return true;
  });
}

struct wanted_volume {
  const json::value* volume = nullptr;
  std::vector<reference> pods;
};
using wanted_volumes = std::map<std::string, wanted_volume, std::less<>>;  // by the attachment's name

wanted_volumes wanted_on(const view& cluster, const std::string& name) {
  wanted_volumes out;
  each_pod_on(cluster, name, [&](const json::value& pod) {
    if (is_terminated(pod)) return true;
    auto& list = pod["spec"]["volumes"];
    for (std::size_t i = 0; i < list.size(); ++i)
      if (auto volume = attachable(cluster, pod, list[i])) {
        auto& w = out[attachment_name((*volume)["spec"]["csi"], name)];
        w.volume = volume;
        w.pods.push_back(reference_to(pod));
      }
    return true;
  });
  return out;
}

// Why a volume that is on another node can't come.
std::string elsewhere_text(const view& cluster, const json::value& volume, std::string_view node) {
  auto& by = volume["spec"]["claimRef"];
  std::vector<std::string> users;
  cluster.cluster().scan(api::pods_by_claim, by["name"].as_string(), cluster.prefix(pods, by["namespace"].as_string()),
                         {}, [&](const store::object_ref& o) {
                           auto pod = cluster.value(o);
                           if (pod && !is_terminated(*pod) && !node_of(*pod).empty() && node_of(*pod) != node)
                             users.emplace_back((*pod)["metadata"]["name"].as_string());
                           return true;
                         });
  auto text = fmt::format("Waiting for detach for volume {} ", quote(volume["metadata"]["name"].as_string()));
  if (users.empty())
    return text +
           "Volume is already exclusively attached to one node, waiting on detach before it can be attached to another "
           "node";
  return text + "Volume is already used by pod(s) " + join(users, ", ");
}

class attacher final : public controller {
 public:
  explicit attacher(const settings& s) : forces_(!s.disable_force_detach_on_timeout) {}

  std::vector<source> sources() override {
    return {{pods,
             [](const seen& s, keys& k) {
               if (!may_use_claims(*s.object())) return;
               if (auto node = node_of(s.value()); !node.empty()) k.add(std::string(node));
             }},
            {claims,
             [](const seen& s, keys& k) {
               if (s.deleted() || phase_of(s.value()) != "Bound") return;
               if (!s.previous() || phase_of(s.value_before()) != "Bound")
                 k.add(std::string(claim_mark) + std::string(s.name()));
             }},
            {nodes, [this](const seen& s, keys& k) { node_changed(s, k); }},
            {attachments, [this](const seen& s, keys& k) { attachment_changed(s, k); }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (!key.starts_with(claim_mark)) co_return co_await s.look_and_write(key);
    // The nodes of the pods that waited for the claim.
    auto cluster = s.now();
    auto [ns, name] = split_name(std::string_view(key).substr(claim_mark.size()));
    cluster.cluster().scan(api::pods_by_claim, name, cluster.prefix(pods, ns), {}, [&](const store::object_ref& o) {
      auto pod = cluster.value(o);
      if (pod && !node_of(*pod).empty()) s.queue().add(std::string(node_of(*pod)));
      return true;
    });
    co_return api::api_result<void>();
  }

  plan look(const view& cluster, const std::string& name, const moment& now) override {
    plan p;
    if (now.refused) return p;
    auto node = cluster.get(nodes, {}, name);
    const bool managed = node && !(*node)["metadata"]["annotations"][managed_note].is_null();
    // A node that is gone keeps what its pods want until they are gone too.
    auto wanted = managed || !node ? wanted_on(cluster, name) : wanted_volumes();
    const auto in_use = node ? volumes_in_use(*node) : left_in_use(name);
    std::set<std::string, std::less<>> reported;  // in the node's status from now on
    std::vector<change> removals;
    bool any = false;
    each_attachment(cluster, api::attachments_by_node, name, [&](const json::value& attachment) {
      auto volume = cluster.get(volumes, {}, attachment["spec"]["source"]["persistentVolumeName"].as_string());
      std::string one(attachment["metadata"]["name"].as_string());
      any = true;
      // Others' attachments are theirs.
      if (!volume || attachment_name((*volume)["spec"]["csi"], name) != one) return;
      auto in_status = name_in_status((*volume)["spec"]["csi"]);
      const bool attached = attachment["status"]["attached"].as_bool() && !is_deleting(attachment);
      if (wanted.contains(one)) unwanted_since_.erase(one);
      if (wanted.contains(one) || !may_go(node, in_use.contains(in_status), one, now, p)) {
        if (attached) reported.insert(std::move(in_status));
      } else if (!is_deleting(attachment)) {
        removals.push_back(removal_of_any_version(attachments, attachment));
      }
    });
    if (node)
      report(p, *node, reported);
    else if (!any)
      left_.erase(name), concerned_.erase(name);
    if (!removals.empty()) p.write(pace::together, std::move(removals));
    if (managed)
      for (auto& [one, w] : wanted) bring(cluster, p, one, w, *node);
    return p;
  }

 private:
  void node_changed(const seen& s, keys& k) {
    std::string name(s.name());
    if (s.deleted()) {
      if (concerned_.contains(name)) left_[name] = volumes_in_use(s.value());
    } else {
      left_.erase(name);
    }
    // A status comes every few seconds, and few nodes have such volumes.
    if (s.added() || concerned_.contains(name) || !s.value()["status"]["volumesAttached"].empty())
      k.add(std::move(name));
  }

  void attachment_changed(const seen& s, keys& k) {
    auto& spec = s.value()["spec"];
    std::string node(spec["nodeName"].as_string());
    concerned_.insert(node);
    if (s.deleted()) {
      unwanted_since_.erase(std::string(s.name()));
      told_.erase(std::string(s.name()));
      if (auto those = waiting_.find(spec["source"]["persistentVolumeName"].as_string()); those != waiting_.end()) {
        for (auto& other : those->second) k.add(other);
        waiting_.erase(those);
      }
    }
    k.add(std::move(node));
  }

  std::set<std::string, std::less<>> left_in_use(std::string_view node) const {
    auto it = left_.find(node);
    return it == left_.end() ? std::set<std::string, std::less<>>() : it->second;
  }

  // Whether what nobody wants there any more may be taken from the node.
  bool may_go(const json::value* node, bool mounted, const std::string& attachment, const moment& now, plan& p) {
    auto since = unwanted_since_.try_emplace(attachment, now.now).first->second;
    if (!mounted || (node && has_taint(*node, out_of_service))) return true;
    const bool ready = node && condition_status(*node, "Ready") == "True";
    if (ready || !forces_) return false;
    const auto waited = now.now - since;
    if (waited > unmount_longest) return true;
    p.look_after(unmount_longest - waited + std::chrono::milliseconds(1));
    return false;
  }

  static void report(plan& p, const json::value& node, const std::set<std::string, std::less<>>& wanted) {
    json::array next;
    auto left = wanted;
    auto& list = node["status"]["volumesAttached"];
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto name = list[i]["name"].as_string();
      auto here = left.find(name);
      if (here == left.end() && name.starts_with("kubernetes.io/csi/")) continue;
      if (here != left.end()) left.erase(here);
      next.push_back(list[i]);
    }
    for (auto& name : left) next.push_back(json::object{{"name", name}, {"devicePath", ""}});
    if (next.size() == list.size() && left.empty()) return;
    auto changed = node;
    if (next.empty())
      changed.member("status").erase("volumesAttached");
    else
      changed.member("status").set("volumesAttached", std::move(next));
    p.write(update_of(nodes, std::move(changed), "status"));
  }

  void bring(const view& cluster, plan& p, const std::string& name, const wanted_volume& w, const json::value& node) {
    auto node_name = std::string(node["metadata"]["name"].as_string());
    auto volume_name = std::string((*w.volume)["metadata"]["name"].as_string());
    auto& csi = (*w.volume)["spec"]["csi"];
    if (auto attachment = cluster.get(attachments, {}, name)) {
      tell_progress(p, *attachment, name, volume_name, name_in_status(csi), w, node);
      return;
    }
    bool elsewhere = false;
    if (!may_be_on_many(*w.volume))
      each_attachment(cluster, api::attachments_by_volume, volume_name, [&](const json::value&) { elsewhere = true; });
    if (elsewhere) {
      if (waiting_[volume_name].insert(node_name).second)
        for (auto& pod : w.pods) p.tell(pod, "FailedAttachVolume", elsewhere_text(cluster, *w.volume, node_name), true);
      return;
    }
    p.write(creation(attachments, {},
                     json::object{{"kind", "VolumeAttachment"},
                                  {"apiVersion", "storage.k8s.io/v1"},
                                  {"metadata", json::object{{"name", name}}},
                                  {"spec", json::object{{"attacher", csi["driver"]},
                                                        {"source", json::object{{"persistentVolumeName", volume_name}}},
                                                        {"nodeName", node_name}}}}));
  }

  // That it is there, when the node's status gets it; and why not, each reason once.
  void tell_progress(plan& p, const json::value& attachment, const std::string& name, const std::string& volume,
                     std::string_view in_status, const wanted_volume& w, const json::value& node) {
    auto& status = attachment["status"];
    std::string message;
    bool wrong = false;
    if (is_deleting(attachment)) return;
    if (status["attached"].as_bool()) {
      auto& list = node["status"]["volumesAttached"];
      for (std::size_t i = 0; i < list.size(); ++i)
        if (list[i]["name"].as_string() == in_status) return;
      message = fmt::format("AttachVolume.Attach succeeded for volume {} ", quote(volume));
    } else if (auto& error = status["attachError"]; error.is_object()) {
      wrong = true;
      message =
          fmt::format("AttachVolume.Attach failed for volume {} : {}", quote(volume), error["message"].as_string());
    } else {
      return;
    }
    auto& told = told_[name];
    if (wrong && told == message) return;
    told = wrong ? message : std::string();
    for (auto& pod : w.pods) p.tell(pod, wrong ? "FailedAttachVolume" : "SuccessfulAttachVolume", message, wrong);
  }

  const bool forces_;
  std::set<std::string, std::less<>> concerned_;                       // nodes that have or had attachments
  std::map<std::string, std::set<std::string>, std::less<>> waiting_;  // nodes, by the volume that another one has
  std::map<std::string, std::set<std::string, std::less<>>, std::less<>> left_;  // in use on nodes that are gone
  std::map<std::string, time_point, std::less<>> unwanted_since_;                // by attachment
  std::map<std::string, std::string, std::less<>> told_;                         // errors, by attachment
};

}  // namespace

std::unique_ptr<controller> make_attacher(const settings& s) { return std::make_unique<attacher>(s); }

}  // namespace kedge::control
