// pod_garbage.cc: removes pods that nobody else will (pod-garbage-collector-controller):
//
//   its node is gone for 40 s               ─▶ Failed, condition DisruptionTarget, deleted at once
//   being deleted and bound to no node      ─▶ deleted at once
//   being deleted on a node that isn't ready and has the taint out-of-service ─▶ Failed, deleted at once
//   finished, more than --terminated-pod-gc-threshold of them ─▶ the evicted and the oldest are deleted
//
// Every 20 s, as kube-controller-manager; what is to be looked at then is gathered from the events, so that nothing
// goes over all pods.
#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "control/controllers.h"
#include "control/limits.h"
#include "control/nodes/node_state.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/settings.h"

namespace kedge::control {

namespace {

const std::string round_key = "round";
constexpr auto period = std::chrono::seconds(20);
constexpr auto quarantine = std::chrono::seconds(40);

// As kube-controller-manager: what is neither pending, running nor unknown.
bool is_terminated(std::string_view phase) { return phase != "Pending" && phase != "Running" && phase != "Unknown"; }

// Failed first, so that who counts it sees that it ended: there is no kubelet to say so.
plan end_of(const json::value& pod, const std::optional<condition>& why, const moment& now) {
  plan p;
  if (!is_finished(pod)) {
    auto next = pod;
    auto& status = next.member("status");
    status.set("phase", "Failed");
    if (auto& generation = pod["metadata"]["generation"]; generation.is_integer())
      status.set("observedGeneration", generation.as_integer());
    if (why) set_condition(next, *why, now.wall);
    p.write(update_of(pods, std::move(next), "status"));
  }
  return p.write(removal_of_any_version(pods, pod, {.grace_seconds = 0}));
}

class pod_garbage final : public controller {
 public:
  explicit pod_garbage(const settings& s) : threshold_(s.terminated_pod_gc_threshold) {}

  std::vector<source> sources() override {
    return {{pods, [this](const seen& s, keys&) { pod_changed(s); }},
            {nodes, [this](const seen& s, keys&) { node_changed(s); }}};
  }
  void begin(keys& k) override { k.add(round_key); }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (key != round_key) co_return co_await s.look_and_write(key);
    s.queue().add_after(round_key, period);
    auto latest = co_await s.store().latest();
    if (!latest) co_return api::fail(api::from_error(latest.error()));
    for (auto& pod : find(view(*std::move(latest), s.client().resources()), s.when().now)) s.queue().add(pod);
    co_return api::api_result<void>();
  }

  // A pod that a round has found.
  plan look(const view& cluster, const std::string& name, const moment& now) override {
    auto pod = cluster.get(pods, name);
    if (!pod) return {};
    auto node = node_of(*pod);
    if (is_deleting(*pod) && node.empty()) return end_of(*pod, std::nullopt, now);
    if (is_deleting(*pod) && is_out_of_service(cluster, node)) return end_of(*pod, std::nullopt, now);
    if (too_many_.erase(name) && is_terminated(phase_of(*pod))) return end_of(*pod, std::nullopt, now);
    auto gone = missing_.find(node);
    if (gone == missing_.end() || now.now - gone->second < quarantine || cluster.get(nodes, {}, node)) return {};
    log::info("deleting pod {}: its node {} no longer exists", name, node);
    condition why{"DisruptionTarget", "True", "DeletionByPodGC", "PodGC: node no longer exists"};
    if (auto& generation = (*pod)["metadata"]["generation"]; generation.is_integer())
      why.observed_generation = generation.as_integer();
    return end_of(*pod, why, now);
  }

 private:
  // In the order in which they go: evicted ones, then by age.
  struct ended {
    bool evicted;
    std::string created, name;
    friend auto operator<=>(const ended& a, const ended& b) {
      if (a.evicted != b.evicted) return a.evicted ? std::strong_ordering::less : std::strong_ordering::greater;
      if (a.created != b.created) return a.created <=> b.created;
      return a.name <=> b.name;
    }
  };

  void pod_changed(const seen& s) {
    auto name = std::string(s.name());
    forget(name);
    if (s.deleted()) return;
    auto& pod = s.value();
    if (threshold_ > 0 && is_terminated(phase_of(pod))) {
      ended e{phase_of(pod) == "Failed" && pod["status"]["reason"].as_string() == "Evicted",
              std::string(pod["metadata"]["creationTimestamp"].as_string()), name};
      ended_.insert(e);
      ended_by_name_[name] = std::move(e);
    }
    auto node = node_of(pod);
    if (is_deleting(pod)) deleting_.insert(name);
    if (!node.empty() && !living_.contains(node)) suspects_.insert(std::string(node));
  }

  void forget(const std::string& name) {
    if (auto it = ended_by_name_.find(name); it != ended_by_name_.end()) {
      ended_.erase(it->second);
      ended_by_name_.erase(it);
    }
    deleting_.erase(name);
    too_many_.erase(name);
  }

  void node_changed(const seen& s) {
    if (s.deleted()) {
      living_.erase(std::string(s.name()));
      suspects_.insert(std::string(s.name()));
    } else {
      living_.insert(std::string(s.name()));
    }
  }

  static bool is_out_of_service(const view& cluster, std::string_view node) {
    auto n = node.empty() ? nullptr : cluster.get(nodes, {}, node);
    if (!n || condition_status(*n, "Ready") == "True") return false;
    auto& taints = (*n)["spec"]["taints"];
    for (std::size_t i = 0; i < taints.size(); ++i)
      if (taints[i]["key"].as_string() == taint_out_of_service) return true;
    return false;
  }

  // The pods whose time has come.
  std::vector<std::string> find(const view& cluster, time_point now) {
    std::vector<std::string> out;
    auto prefix = cluster.prefix(pods);
    auto names_on = [&](std::string_view node) {
      cluster.cluster().scan(api::pods_by_node, node, prefix, {}, [&](const store::object_ref& o) {
        out.emplace_back(name_under(prefix, o->key()));
        return true;
      });
    };
    for (auto& node : std::exchange(suspects_, {}))
      if (!cluster.get(nodes, {}, node) && cluster.cluster().count(api::pods_by_node, node) > 0)
        missing_.try_emplace(node, now);
    for (auto it = missing_.begin(); it != missing_.end();) {
      auto& [node, since] = *it;
      bool gone = !cluster.get(nodes, {}, node) && cluster.cluster().count(api::pods_by_node, node) > 0;
      if (gone && now - since >= quarantine) names_on(node);
      it = gone ? std::next(it) : missing_.erase(it);
    }
    out.insert(out.end(), deleting_.begin(), deleting_.end());
    auto extra = static_cast<std::int64_t>(ended_.size()) - threshold_;
    if (threshold_ > 0 && extra > 0) log::info("pod-garbage-collector-controller: deleting {} finished pods", extra);
    for (auto it = ended_.begin(); threshold_ > 0 && extra > 0; --extra, ++it) {
      too_many_.insert(it->name);
      out.push_back(it->name);
    }
    return out;
  }

  const std::int64_t threshold_;
  std::set<ended> ended_;
  std::map<std::string, ended> ended_by_name_;
  std::set<std::string> deleting_;                          // pods that are being deleted
  std::set<std::string> too_many_;                          // of a round: finished beyond the threshold
  std::set<std::string, std::less<>> living_;               // nodes
  std::set<std::string> suspects_;                          // nodes that pods are bound to and that I don't know
  std::map<std::string, time_point, std::less<>> missing_;  // nodes that are gone, since when
};

}  // namespace

std::unique_ptr<controller> make_pod_garbage(const settings& s) { return std::make_unique<pod_garbage>(s); }

}  // namespace kedge::control
