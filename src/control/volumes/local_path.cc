// local_path.cc: claims of classes with provisioner rancher.io/local-path get a folder on the disk of the node that
// their pod is for (local-path-provisioner), as K3s's provisioner gives them, without its pods.
//
//   claim, selected-node ─▶ the node makes the folder (node/pods/local_volumes.h) ─▶ volume, bound to the claim
//   claim that wants more ─▶ the volume's capacity, then the claim's: a folder has what its disk has
//   volume Released, reclaim policy Delete ─▶ the node removes the folder ─▶ the volume goes
//
// Names, folders, volumes, annotations and words are those of rancher/local-path-provisioner and of the library that it
// stands on, so the claims of a K3s cluster go on. A node that isn't Kedge's makes no folder when it is asked; its
// kubelet makes one for a volume of type hostPath.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/settings.h"
#include "control/volumes/local_path_config.h"
#include "json/write.h"
#include "schema/quantity.h"

namespace kedge::control {
namespace {

using json::array;
using json::object;
using json::value;

const api::resource_id storage_classes{"storage.k8s.io", "v1", "storageclasses"};
constexpr std::string_view provisioner = "rancher.io/local-path";
constexpr std::string_view asked_of[] = {"volume.kubernetes.io/storage-provisioner",
                                         "volume.beta.kubernetes.io/storage-provisioner"};
constexpr std::string_view provisioned_by = "pv.kubernetes.io/provisioned-by";
constexpr std::string_view selected_node = "volume.kubernetes.io/selected-node";
constexpr std::string_view made_on = "local.path.provisioner/selected-node";
constexpr std::string_view class_note = "volume.beta.kubernetes.io/storage-class";
constexpr std::string_view volume_mark = "volume:", growth_mark = "grown:";
// After a failure; the library's begins with as much.
constexpr auto retry_time = std::chrono::seconds(15);

const value& note(const value& o, std::string_view name) { return o["metadata"]["annotations"][name]; }
std::string text(const value& v) { return std::string(v.as_string()); }
std::string name_of(const value& o) { return text(o["metadata"]["name"]); }

bool is_asked(const value& claim) {
  return std::ranges::any_of(asked_of, [&](auto name) { return note(claim, name).as_string() == provisioner; });
}
std::string class_of(const value& claim) {
  auto& noted = note(claim, class_note);
  return text(noted.is_string() ? noted : claim["spec"]["storageClassName"]);
}
schema::quantity amount(const value& v) { return schema::quantity::parse(v.as_string()).value_or(schema::quantity()); }
const value& wanted_size(const value& claim) { return claim["spec"]["resources"]["requests"]["storage"]; }
bool is_grown(const value& claim) {
  auto& phase = claim["status"]["phase"];
  return phase.as_string() == "Bound" && amount(claim["status"]["capacity"]["storage"]) < amount(wanted_size(claim));
}

const value& source_of(const value& volume) {
  auto& local = volume["spec"]["local"];
  return local.is_object() ? local : volume["spec"]["hostPath"];
}

// "{{ .PVC.Namespace }}/{{ .PVC.Name }}/x": a Go template of fields alone.
result<std::string> from_pattern(std::string_view pattern, const std::string& volume, const value& claim) {
  std::string out;
  for (;;) {
    auto open = pattern.find("{{");
    out += pattern.substr(0, open);
    if (open == pattern.npos) return out;
    auto close = pattern.find("}}", open);
    auto field = close == pattern.npos ? std::string_view() : trim(pattern.substr(open + 2, close - open - 2));
    auto& m = claim["metadata"];
    constexpr std::string_view labels = ".PVC.Labels.", notes = ".PVC.Annotations.";
    if (field == ".PVName")
      out += volume;
    else if (field == ".PVC.Namespace" || field == ".PVC.namespace")
      out += m["namespace"].as_string();
    else if (field == ".PVC.Name" || field == ".PVC.name")
      out += m["name"].as_string();
    else if (field.starts_with(labels))
      out += m["labels"][field.substr(labels.size())].as_string();
    else if (field.starts_with(notes))
      out += m["annotations"][field.substr(notes.size())].as_string();
    else
      return fail(errc::unsupported,
                  fmt::format("{} in pathPattern isn't understood: it may name .PVName, .PVC.Namespace, .PVC.Name, "
                              ".PVC.Labels.x and .PVC.Annotations.x",
                              quote(field)));
    pattern.remove_prefix(close + 2);
  }
}

// What a volume is to be.
struct wanted_volume {
  std::string node, base, folder, type;
  bool shared = false;
  std::string affinity_key, affinity_value;
  std::string path() const { return base + "/" + folder; }
};

result<std::string> folder_of(const value& claim, const value& storage_class, const std::string& volume) {
  auto ns = text(claim["metadata"]["namespace"]), name = name_of(claim);
  auto& pattern = storage_class["parameters"]["pathPattern"];
  if (!pattern.is_string()) return fmt::format("{}_{}_{}", volume, ns, name);
  KEDGE_TRY(auto folder, from_pattern(pattern.as_string(), volume, claim));
  if (!folder.starts_with(ns + "/" + name + "/"))
    return fail(errc::invalid, fmt::format("failed to create path from pattern {}: pathPattern must start with {{{{ "
                                           ".PVC.Namespace }}}}/{{{{ .PVC.Name }}}}/: {}",
                                           pattern.as_string(), folder));
  while (folder.ends_with('/')) folder.pop_back();
  for (auto part : split(folder, '/'))
    if (part.empty() || part == "." || part == "..")
      return fail(errc::invalid, "folder path contains invalid references: " + folder);
  return folder;
}

// The refusals are the provisioner's, but for what only Kedge refuses.
result<wanted_volume> want(const value& claim, const value& storage_class, const value* node,
                           const local_path_config& config, const std::string& volume) {
  KEDGE_TRY(auto places, config.places(name_of(storage_class)));
  wanted_volume out;
  out.shared = !places.shared.empty();
  if (!out.shared) {
    if (claim["spec"]["selector"].is_object()) return fail(errc::unsupported, "claim.Spec.Selector is not supported");
    if (auto* modes = claim["spec"]["accessModes"].array())
      for (auto& m : *modes)
        if (m.as_string() != "ReadWriteOnce" && m.as_string() != "ReadWriteOncePod")
          return fail(errc::unsupported,
                      "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes");
  }
  if (!node) return fail(errc::invalid, "configuration error, no node was specified");
  auto& parameters = storage_class["parameters"];
  for (auto* pattern : {"userPattern", "groupPattern", "permPattern"})
    if (parameters[pattern].is_string() || note(storage_class, pattern).is_string())
      return fail(errc::unsupported,
                  fmt::format("{} isn't honoured: a volume's folder is root's, and all may write in it", pattern));
  out.node = name_of(*node);
  KEDGE_TRY(auto paths, places.on(out.node));
  if (auto asked = parameters["nodePath"].as_string(); !asked.empty()) {
    if (std::ranges::find(paths, asked) == paths.end())
      return fail(errc::not_found, fmt::format("config doesn't contain path {} on node {}", asked, out.node));
    out.base = asked;
  } else {
    out.base = paths[reactor::loop::current().random().below(paths.size())];
  }
  KEDGE_TRY(out.folder, folder_of(claim, storage_class, volume));
  auto& of_class = note(storage_class, "defaultVolumeType");
  auto& of_claim = note(claim, "volumeType");
  out.type = lower(of_claim.is_string() ? of_claim.as_string() : of_class.as_string("hostPath"));
  if (out.type != "local" && out.type != "hostpath")
    return fail(errc::invalid, fmt::format("{} is not a recognised volume type", quote(out.type)));
  auto key = parameters["nodeAffinityKey"].as_string();
  out.affinity_key = key.empty() ? "kubernetes.io/hostname" : key;
  out.affinity_value = (*node)["metadata"]["labels"][out.affinity_key].as_string(out.node);
  return out;
}

value volume_of(const value& claim, const value& storage_class, const wanted_volume& w, const std::string& name) {
  auto& m = claim["metadata"];
  object spec{{"accessModes", claim["spec"]["accessModes"]},
              {"capacity", object{{"storage", claim["spec"]["resources"]["requests"]["storage"]}}},
              {"claimRef", object{{"apiVersion", "v1"},
                                  {"kind", "PersistentVolumeClaim"},
                                  {"name", m["name"]},
                                  {"namespace", m["namespace"]},
                                  {"resourceVersion", m["resourceVersion"]},
                                  {"uid", m["uid"]}}},
              {"persistentVolumeReclaimPolicy", storage_class["reclaimPolicy"].as_string("Delete")},
              {"storageClassName", class_of(claim)},
              {"volumeMode", "Filesystem"}};
  if (w.type == "local")
    spec.set("local", object{{"path", w.path()}});
  else
    spec.set("hostPath", object{{"path", w.path()}, {"type", "DirectoryOrCreate"}});
  if (!w.shared)
    spec.set(
        "nodeAffinity",
        object{{"required",
                object{{"nodeSelectorTerms",
                        array{object{{"matchExpressions", array{object{{"key", w.affinity_key},
                                                                       {"operator", "In"},
                                                                       {"values", array{w.affinity_value}}}}}}}}}}});
  return object{
      {"apiVersion", "v1"},
      {"kind", "PersistentVolume"},
      {"metadata",
       object{{"name", name},
              {"annotations", object{{std::string(made_on), w.node}, {std::string(provisioned_by), provisioner}}}}},
      {"spec", std::move(spec)}};
}

class local_path final : public controller {
 public:
  explicit local_path(const settings& s)
      : settings_(s.local_storage), config_(local_path_config::of(s.local_storage.default_path)) {}

  std::vector<source> sources() override {
    return {{claims,
             [](const seen& s, keys& k) {
               if (s.deleted() || !is_asked(s.value())) return;
               if (s.value()["spec"]["volumeName"].as_string().empty())
                 own_key(s, k);
               else if (is_grown(s.value()))
                 k.add(std::string(growth_mark) + std::string(s.name()));
             }},
            {volumes, [](const seen& s, keys& k) {
               if (!s.deleted() && note(s.value(), provisioned_by).as_string() == provisioner)
                 k.add(std::string(volume_mark) + std::string(s.name()));
             }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (key.starts_with(volume_mark)) co_return co_await remove(s, key, key.substr(volume_mark.size()));
    if (key.starts_with(growth_mark)) co_return co_await grow(s, key.substr(growth_mark.size()));
    co_return co_await provision(s, key);
  }

 private:
  // An invalid configuration keeps the one before.
  void read_config(const view& now) {
    auto* map = now.get(config_maps, "kube-system", "local-path-config");
    auto text = map ? (*map)["data"]["config.json"].as_string() : std::string_view();
    if (text == config_text_) return;
    config_text_ = text;
    if (text.empty()) {
      config_ = local_path_config::of(settings_.default_path);
    } else if (auto read = local_path_config::parse(text)) {
      config_ = *std::move(read);
    } else {
      log::warning("ConfigMap kube-system/local-path-config is not taken over: {}", read.error().message);
    }
  }

  struct answer {
    bool done = false;
    bool unknown = false;  // the node isn't Kedge's
    std::string why;
  };
  task<answer> ask(std::string node, std::string what, std::string base, std::string folder) {
    if (!settings_.post_to_node) co_return answer{.why = "nodes can't be reached"};
    auto body = json::write(object{{"base", std::move(base)}, {"folder", std::move(folder)}});
    auto got = co_await settings_.post_to_node(node, "/localVolumes/" + what, std::move(body));
    if (!got) co_return answer{.why = fmt::format("node {} can't be asked: {}", node, got.error().message)};
    if (got->code == 200) co_return answer{.done = true};
    co_return answer{.unknown = got->code == 404 || got->code == 405,
                     .why = fmt::format("node {}: {}", node, got->body.substr(0, 512))};
  }

  static api::api_result<void> later(shell& s, const std::string& key) {
    s.queue().add_after(key, retry_time);
    return {};
  }

  task<api::api_result<void>> provision(shell& s, const std::string& key) {
    const auto now = s.now();
    auto* found = now.get(claims, key);
    if (!found || is_deleting(*found) || !is_asked(*found) || !(*found)["spec"]["volumeName"].as_string().empty())
      co_return api::api_result<void>();
    const value claim = *found;
    const auto name = "pvc-" + std::string(uid_of(claim)), storage_class = class_of(claim);
    if (now.get(volumes, {}, name)) co_return api::api_result<void>();
    auto* of = now.get(storage_classes, {}, storage_class);
    if (!of) co_return later(s, key);
    if ((*of)["provisioner"].as_string() != provisioner) co_return api::api_result<void>();
    const value kind = *of;
    const bool waits = kind["volumeBindingMode"].as_string() == "WaitForFirstConsumer";
    auto asked = note(claim, selected_node).as_string();
    if (waits && asked.empty()) co_return api::api_result<void>();
    auto about = reference_to(claim);
    if (claim["spec"]["volumeMode"].as_string() == "Block") {
      s.recorder().tell({about, true, "ProvisioningFailed",
                         std::string(provisioner) + " does not support block volume provisioning"});
      co_return api::api_result<void>();
    }
    auto* node = asked.empty() ? nullptr : now.get(nodes, {}, asked);
    if (!asked.empty() && !node) {
      s.recorder().tell({about, true, "ProvisioningFailed", fmt::format("node {} not found", quote(asked))});
      co_return co_await choose_again(s, claim);
    }
    s.recorder().tell({about, false, "Provisioning",
                       fmt::format("External provisioner is provisioning volume for claim {}", quote(key))});
    read_config(now);
    auto refuse = [&](std::string_view why) {
      s.recorder().tell(
          {about, true, "ProvisioningFailed",
           fmt::format("failed to provision volume with StorageClass {}: {}", quote(storage_class), why)});
      return later(s, key);
    };
    auto wanted = want(claim, kind, node, config_, name);
    if (!wanted) co_return refuse(wanted.error().message);
    auto made = co_await ask(wanted->node, "make", wanted->base, wanted->folder);
    if (made.unknown) wanted->type = "hostpath";
    if (!made.done && !made.unknown) co_return refuse(made.why);
    auto written = co_await s.client().create(volumes, {}, volume_of(claim, kind, *wanted, name));
    if (!written && written.error().code != 409) co_return refuse(written.error().message);
    if (written) s.recorder().tell({about, false, "ProvisioningSucceeded", "Successfully provisioned volume " + name});
    co_return api::api_result<void>();
  }

  // What the class allows the API has asked already.
  task<api::api_result<void>> grow(shell& s, const std::string& of) {
    const auto now = s.now();
    auto* found = now.get(claims, of);
    if (!found || is_deleting(*found) || !is_asked(*found) || !is_grown(*found)) co_return api::api_result<void>();
    const value claim = *found;
    auto name = text(claim["spec"]["volumeName"]);
    auto* bound = now.get(volumes, {}, name);
    if (!bound || is_deleting(*bound) || note(*bound, provisioned_by).as_string() != provisioner ||
        (*bound)["spec"]["claimRef"]["uid"].as_string() != uid_of(claim))
      co_return api::api_result<void>();
    const value size = wanted_size(claim);
    auto changed = co_await s.client().modify(volumes, {}, name, [&](value& v) {
      v.member("spec").member("capacity").set("storage", size);
      return true;
    });
    if (!changed) co_return api::fail(std::move(changed).error());
    auto told = co_await s.client().modify(
        claims, text(claim["metadata"]["namespace"]), name_of(claim),
        [&](value& c) {
          if (uid_of(c) != uid_of(claim)) return false;
          auto& status = c.member("status");
          status.member("capacity").set("storage", size);
          for (auto* member : {"allocatedResources", "allocatedResourceStatuses"})
            if (auto* all = status.find(member)) all->erase("storage");
          if (auto* all = status.member("conditions").array())
            std::erase_if(*all, [](auto& one) {
              auto type = one["type"].as_string();
              return type == "Resizing" || type == "FileSystemResizePending";
            });
          return true;
        },
        "status");
    if (!told) co_return api::fail(std::move(told).error());
    s.recorder().tell({reference_to(claim), false, "VolumeResizeSuccessful", "Resize volume succeeded"});
    co_return api::api_result<void>();
  }

  // The scheduler chooses another node when none is named any more.
  static task<api::api_result<void>> choose_again(shell& s, value claim) {
    claim.member("metadata").member("annotations").erase(selected_node);
    auto ns = text(claim["metadata"]["namespace"]);
    auto done = co_await s.client().update(claims, std::move(ns), std::move(claim));
    if (!done) co_return api::fail(std::move(done).error());
    co_return api::api_result<void>();
  }

  // Where the volume lies, as base and folder: below what the configuration names, or as the provisioner names it.
  // Nothing else is ever removed. The node follows links to the base alone: what lies below may be another volume's, in
  // which a pod has put what it likes.
  std::optional<std::pair<std::string, std::string>> place_of(const value& volume) const {
    auto path = source_of(volume)["path"].as_string();
    if (auto base = config_.base_of(path); !base.empty())
      return std::pair(base, std::string(path.substr(base.size() + 1)));
    auto slash = path.rfind('/');
    if (slash == path.npos || slash == 0) return std::nullopt;
    auto& claim = volume["spec"]["claimRef"];
    auto usual = fmt::format("{}_{}_{}", name_of(volume), claim["namespace"].as_string(), claim["name"].as_string());
    if (path.substr(slash + 1) != usual) return std::nullopt;
    return std::pair(std::string(path.substr(0, slash)), std::string(path.substr(slash + 1)));
  }

  // Volumes of old provisioners say it by their affinity alone.
  static std::string node_of(const value& volume) {
    if (auto noted = note(volume, made_on).as_string(); !noted.empty()) return std::string(noted);
    return text(volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"][0]);
  }

  task<api::api_result<void>> remove(shell& s, const std::string& key, const std::string& name) {
    const auto now = s.now();
    auto* found = now.get(volumes, {}, name);
    if (!found || is_deleting(*found) || (*found)["status"]["phase"].as_string() != "Released" ||
        (*found)["spec"]["persistentVolumeReclaimPolicy"].as_string() != "Delete" ||
        note(*found, provisioned_by).as_string() != provisioner)
      co_return api::api_result<void>();
    const value volume = *found;
    read_config(now);
    auto refuse = [&](std::string_view why) {
      s.recorder().tell(
          {reference_to(volume), true, "VolumeFailedDelete", fmt::format("failed to delete volume {}: {}", name, why)});
      return later(s, key);
    };
    auto node = node_of(volume);
    if (!node.empty() && now.get(nodes, {}, node)) {
      auto place = place_of(volume);
      if (!place)
        co_return refuse(
            fmt::format("{} is neither named as volumes are nor below a path of local-path-config; remove "
                        "the folder and the volume by hand",
                        source_of(volume)["path"].as_string()));
      auto gone = co_await ask(node, "remove", place->first, place->second);
      if (gone.unknown)
        co_return refuse(
            fmt::format("node {} isn't Kedge's and can't be asked; remove the folder {} and the volume by "
                        "hand",
                        node, source_of(volume)["path"].as_string()));
      if (!gone.done) co_return refuse(gone.why);
    } else {
      log::info("node {} of volume {} does not exist: its folder is left to it", node, name);
    }
    auto done = co_await s.client().remove(volumes, {}, name, {.uid = std::string(uid_of(volume))});
    if (!done && done.error().code != 404) co_return done;
    co_return api::api_result<void>();
  }

  const local_storage_settings settings_;
  std::string config_text_;
  local_path_config config_;
};

}  // namespace

std::unique_ptr<controller> make_local_path(const settings& s) { return std::make_unique<local_path>(s); }

}  // namespace kedge::control
