// replica_set.cc: ReplicaSets and ReplicationControllers: as many pods as they ask for (replicaset-controller,
// replicationcontroller-controller).
//
//   claim ─▶ too few: made, slowly at first │ too many: those that matter least go ─▶ status
#include <fmt/format.h>

#include <algorithm>

#include "api/registry/indexes.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/limits.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/workloads/replicas.h"

namespace kedge::control {
namespace {

// Of one look: what is more comes with the next (kube-controller-manager's BurstReplicas).
constexpr std::size_t burst_max = 500;

struct kind_of_set {
  owner_kind kind;
  api::resource_id resource;
  bool plain_selector;      // a map, as ReplicationControllers have
  bool counts_terminating;  // status.terminatingReplicas
};
const kind_of_set replica_set{{"apps/v1", "ReplicaSet"}, {"apps", "v1", "replicasets"}, false, true};
const kind_of_set replication_controller{
    {"v1", "ReplicationController"}, {"", "v1", "replicationcontrollers"}, true, false};

class replicas final : public pod_owner {
 public:
  explicit replicas(const kind_of_set& k) : pod_owner(k.kind, k.resource), k_(k) {}

  std::vector<source> sources() override { return {{k_.resource, own_key}, pod_source()}; }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    plan p;
    auto set = cluster.get(k_.resource, key);
    if (!set) return p;
    auto selector = selector_of(*set);
    // Ended ones are left to whoever made them; those that go are counted apart.
    auto c = claim(cluster, pods, k_.kind, *set, selector, orphan_pods_,
                   [](const json::value& pod) { return is_active(pod) || is_deleting(pod); });
    if (!c.changes.empty()) return p.write(pace::together, std::move(c.changes)), p.look_after(duration::zero());
    std::vector<const json::value*> active, going;
    for (auto pod : c.mine)
      if (!is_finished(*pod)) (is_active(*pod) ? active : going).push_back(pod);
    const auto wanted = (*set)["spec"]["replicas"].as_integer(1);
    const auto diff = static_cast<std::int64_t>(active.size()) - wanted;
    if (!is_deleting(*set) && !now.refused) {
      if (diff < 0) make(p, *set, std::min<std::size_t>(static_cast<std::size_t>(-diff), burst_max));
      if (diff > 0)
        remove(p, cluster, *set, active, std::min<std::size_t>(static_cast<std::size_t>(diff), burst_max), now);
    }
    tell_status(p, *set, active, going.size(), diff, now);
    return p;
  }

 private:
  api::label_selector selector_of(const json::value& set) const override {
    return k_.plain_selector ? api::label_selector::from_map(set["spec"]["selector"])
                             : api::label_selector::from_object(set["spec"]["selector"]);
  }

  void make(plan& p, const json::value& set, std::size_t n) const {
    std::vector<change> made;
    auto pod = pod_of_template(set["spec"]["template"], k_.kind, set);
    auto about = reference_to(set);
    for (std::size_t i = 0; i < n; ++i) {
      auto c = creation(pods, std::string(set["metadata"]["namespace"].as_string()), pod);
      c.on_done = notice{about, false, "SuccessfulCreate", "Created pod: "};
      c.on_refused = notice{about, true, "FailedCreate", "Error creating: "};
      made.push_back(std::move(c));
    }
    p.write(pace::slow_start, std::move(made));
  }

  void remove(plan& p, const view& cluster, const json::value& set, const std::vector<const json::value*>& active,
              std::size_t n, const moment& now) const {
    std::vector<change> gone;
    auto about = reference_to(set);
    for (auto pod : to_delete(active, related(cluster, set), n, now.wall)) {
      auto c = removal_of_any_version(pods, *pod);
      auto name = std::string((*pod)["metadata"]["name"].as_string());
      c.on_done = notice{about, false, "SuccessfulDelete", "Deleted pod: " + name};
      c.on_refused = notice{about, true, "FailedDelete", "Error deleting: "};
      gone.push_back(std::move(c));
    }
    p.write(pace::together, std::move(gone));
  }

  // The pods of all sets of the same controller (a Deployment's): where many of them are, one may go.
  std::vector<const json::value*> related(const view& cluster, const json::value& set) const {
    auto* above = controller_of(set);
    if (!above) return {};
    std::vector<const json::value*> out;
    auto ns = set["metadata"]["namespace"].as_string();
    auto pods_here = cluster.prefix(pods, ns);
    cluster.cluster().scan(api::objects_by_owner, (*above)["uid"].as_string(), cluster.prefix(k_.resource, ns), {},
                           [&](const store::object_ref& o) {
                             auto sibling = cluster.value(o);
                             if (!sibling) return true;
                             cluster.cluster().scan(api::objects_by_owner, uid_of(*sibling), pods_here, {},
                                                    [&](const store::object_ref& pod) {
                                                      if (auto v = cluster.value(pod)) out.push_back(v);
                                                      return true;
                                                    });
                             return true;
                           });
    return out;
  }

  void tell_status(plan& p, const json::value& set, const std::vector<const json::value*>& active, std::size_t going,
                   std::int64_t diff, const moment& now) const {
    auto like_template = api::label_selector::from_map(set["spec"]["template"]["metadata"]["labels"]);
    const auto min_ready = set["spec"]["minReadySeconds"].as_integer();
    std::int64_t labeled = 0, ready = 0, available = 0;
    std::optional<duration> next;
    for (auto pod : active) {
      labeled += like_template.matches((*pod)["metadata"]["labels"]);
      if (!is_ready(*pod)) continue;
      ++ready;
      available += is_available(*pod, min_ready, now.wall, &next);
    }
    auto changed = set;
    auto& status = changed.member("status");
    status.set("replicas", static_cast<std::int64_t>(active.size()));
    auto count = [&](const char* name, std::int64_t n) { n ? status.set(name, n) : void(status.erase(name)); };
    count("fullyLabeledReplicas", labeled);
    count("readyReplicas", ready);
    count("availableReplicas", available);
    if (k_.counts_terminating) status.set("terminatingReplicas", static_cast<std::int64_t>(going));
    status.set("observedGeneration", set["metadata"]["generation"]);
    set_failure(changed, diff, now);
    if (!(changed["status"] == set["status"])) p.write(update_of(k_.resource, std::move(changed), "status"));
    if (next) p.look_after(*next);
  }

  static void set_failure(json::value& set, std::int64_t diff, const moment& now) {
    if (now.refused && condition_of(set, "ReplicaFailure").is_null()) {
      set_condition(set, {"ReplicaFailure", "True", diff < 0 ? "FailedCreate" : "FailedDelete", now.refused->message},
                    now.wall);
    } else if (!now.refused) {
      auto& list = set.member("status").member("conditions").make_array();
      std::erase_if(list, [](auto& c) { return c["type"].as_string() == "ReplicaFailure"; });
      if (list.empty()) set.member("status").erase("conditions");
    }
  }

  const kind_of_set& k_;
};

}  // namespace

std::unique_ptr<controller> make_replica_set(const settings&) { return std::make_unique<replicas>(replica_set); }
std::unique_ptr<controller> make_replication_controller(const settings&) {
  return std::make_unique<replicas>(replication_controller);
}

}  // namespace kedge::control
