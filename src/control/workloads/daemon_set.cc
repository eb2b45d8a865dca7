// daemon_set.cc: DaemonSets: a pod on each node that fits (daemonset-controller).
//
//   claim ─▶ revisions ─▶ each node: fits, none there ─▶ one is made for it │ fits no more ─▶ goes │ failed ─▶ goes,
//   later and later
//        ─▶ update: as many old ones go as may be away, or new ones come beside them first (surge) ─▶ status, old
//        revisions
//
// Pods are bound by the scheduler; their affinity names the node. What a node is like is kept from the events, so that
// a look parses none of them.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/strings.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/scheduler/placement.h"
#include "control/workloads/history.h"
#include "control/workloads/replicas.h"

namespace kedge::control {
namespace {

const api::resource_id daemon_sets{"apps", "v1", "daemonsets"};
constexpr owner_kind daemon_set_kind{"apps/v1", "DaemonSet"};
constexpr std::string_view generation_note = "deprecated.daemonset.template.generation";
constexpr std::string_view generation_label = "pod-template-generation";
constexpr std::string_view node_mark = "node:";

constexpr std::size_t burst_max = 250;  // pods made or deleted by one look, as kube-controller-manager's
// A daemon that fails is replaced at once, then after a second, two, four …
constexpr duration backoff_first = std::chrono::seconds(1), backoff_most = std::chrono::minutes(15);

// What a node is to DaemonSets.
struct node_facts {
  scheduler::label_set labels;
  std::vector<scheduler::taint> taints;
};
using node_map = std::map<std::string, node_facts, std::less<>>;

// What daemons stand beside what their template says.
json::array daemon_tolerations(const json::value& spec) {
  json::array out = spec["tolerations"].array() ? *spec["tolerations"].array() : json::array();
  auto add = [&](std::string_view key, std::string_view effect) {
    json::value t = json::object{{"key", key}, {"operator", "Exists"}, {"effect", effect}};
    for (auto& had : out)
      if (had["key"] == t["key"] && had["effect"] == t["effect"] && had["operator"] == t["operator"] &&
          had["value"].as_string().empty()) {
        had = t;
        return;
      }
    out.push_back(std::move(t));
  };
  add("node.kubernetes.io/not-ready", "NoExecute");
  add("node.kubernetes.io/unreachable", "NoExecute");
  add("node.kubernetes.io/disk-pressure", "NoSchedule");
  add("node.kubernetes.io/memory-pressure", "NoSchedule");
  add("node.kubernetes.io/pid-pressure", "NoSchedule");
  add("node.kubernetes.io/unschedulable", "NoSchedule");
  if (spec["hostNetwork"].as_bool()) add("node.kubernetes.io/network-unavailable", "NoSchedule");
  return out;
}

// Which nodes a set's pods may be on.
class demand {
 public:
  explicit demand(const json::value& set)
      : node_(set["spec"]["template"]["spec"]["nodeName"].as_string()),
        wanted_(scheduler::node_demand::of(set["spec"]["template"]["spec"])),
        tolerations_(scheduler::tolerations_of(daemon_tolerations(set["spec"]["template"]["spec"]))) {}

  struct verdict {
    bool run = false, stay = false;  // a pod may begin there; one that runs may go on
  };
  verdict of(std::string_view name, const node_facts& node) const {
    if (!node_.empty() && node_ != name) return {};
    if (!wanted_.matches(name, node.labels)) return {};
    if (!scheduler::untolerated(node.taints, tolerations_)) return {true, true};
    auto evicting = node.taints;
    std::erase_if(evicting, [](auto& t) { return t.effect != "NoExecute"; });
    return {false, !scheduler::untolerated(evicting, tolerations_)};
  }

 private:
  std::string_view node_;
  scheduler::node_demand wanted_;
  std::vector<scheduler::toleration> tolerations_;
};

// The node that a pod is on, or made for; empty: none.
std::string_view target_of(const json::value& pod) {
  if (!node_of(pod).empty()) return node_of(pod);
  auto& terms =
      pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
  for (std::size_t i = 0; i < terms.size(); ++i)
    for (std::size_t f = 0; f < terms[i]["matchFields"].size(); ++f) {
      auto& field = terms[i]["matchFields"][f];
      if (field["key"].as_string() == "metadata.name" && field["operator"].as_string() == "In" &&
          field["values"].size() == 1)
        return field["values"][0].as_string();
    }
  return {};
}

// Those with a node first, then the older ones.
bool matters_more(const json::value* a, const json::value* b) {
  if (node_of(*a).empty() != node_of(*b).empty()) return node_of(*b).empty();
  auto ca = (*a)["metadata"]["creationTimestamp"].as_string(), cb = (*b)["metadata"]["creationTimestamp"].as_string();
  return ca != cb ? ca < cb : name_of(*a) < name_of(*b);
}

// How long a node's failed daemons wait, by set, version and node. Lost with the lead.
class failures {
 public:
  // Zero: it may go now, and the next one waits longer.
  duration wait(const std::string& key, time_point now) {
    auto [it, fresh] = all_.try_emplace(key, entry{backoff_first, now});
    if (fresh) return forget(now), duration::zero();
    auto& e = it->second;
    if (auto left = e.since + e.length - now; left > duration::zero()) return left;
    e.length = now - e.since > 2 * backoff_most ? backoff_first : std::min(2 * e.length, backoff_most);
    e.since = now;
    return duration::zero();
  }

 private:
  struct entry {
    duration length;
    time_point since;
  };
  void forget(time_point now) {
    if (all_.size() < sweep_at_) return;
    std::erase_if(all_, [&](auto& e) { return now - e.second.since > 2 * backoff_most; });
    sweep_at_ = std::max<std::size_t>(1024, 2 * all_.size());
  }
  std::map<std::string, entry, std::less<>> all_;
  std::size_t sweep_at_ = 1024;
};

// One look at a set.
class daemon_look {
 public:
  daemon_look(const json::value& set, const std::vector<const json::value*>& mine, const history& revisions,
              const node_map& nodes, failures& failed, const moment& now)
      : set_(set),
        revisions_(revisions),
        nodes_(nodes),
        failed_(failed),
        now_(now),
        demand_(set),
        min_ready_(set["spec"]["minReadySeconds"].as_integer()),
        all_(mine) {
    for (auto pod : mine) {
      if (is_finished(*pod) && is_deleting(*pod)) continue;
      if (auto node = target_of(*pod); !node.empty()) by_node_[std::string(node)].push_back(pod);
    }
    for (auto& [_, pods_there] : by_node_) std::sort(pods_there.begin(), pods_there.end(), matters_more);
  }

  plan make() {
    for (auto& c : revisions_.changes()) plan_.write(std::move(c));
    if (!now_.refused) {
      manage();
      write();
      // What a look made or deleted is seen by the next one, which goes on with the update.
      if (!acted_ && set_["spec"]["updateStrategy"]["type"].as_string() != "OnDelete") roll(), write();
      forget();
    }
    tell_status();
    return std::move(plan_);
  }

 private:
  bool available(const json::value& pod) { return is_available(pod, min_ready_, now_.wall, &next_); }
  bool updated(const json::value& pod) const {
    auto& labels = pod["metadata"]["labels"];
    auto generation = set_["metadata"]["annotations"][generation_note].as_string();
    return labels[revision_hash_label].as_string() == revisions_.hash() ||
           (!generation.empty() && labels[generation_label].as_string() == generation);
  }
  std::int64_t surge(std::int64_t whole) const {
    auto& strategy = set_["spec"]["updateStrategy"];
    return strategy["type"].as_string() == "RollingUpdate"
               ? int_or_percent(strategy["rollingUpdate"]["maxSurge"], whole, true)
               : 0;
  }

  // ---- where pods must be

  void manage() {
    for (auto& [name, facts] : nodes_) {
      auto v = demand_.of(name, facts);
      auto there = by_node_.find(name);
      const bool any = there != by_node_.end();
      if (v.run && !any)
        made_.push_back(name);
      else if (v.stay && any)
        keep_one(name, there->second, v.run);
      else if (!v.stay && any)
        for (auto pod : there->second)
          if (!is_deleting(*pod)) gone_.push_back(pod);
    }
    // Waiting for nodes that are gone.
    for (auto& [name, pods_there] : by_node_)
      if (!nodes_.contains(name))
        for (auto pod : pods_there)
          if (node_of(*pod).empty() && !is_deleting(*pod)) gone_.push_back(pod);
  }

  void keep_one(const std::string& node, const std::vector<const json::value*>& there, bool may_begin) {
    std::vector<const json::value*> running;
    for (auto pod : there) {
      if (is_deleting(*pod)) continue;
      if (!is_finished(*pod))
        running.push_back(pod);
      else
        replace_ended(node, *pod);
    }
    if (surge(1) == 0) {
      for (std::size_t i = 1; i < running.size(); ++i) gone_.push_back(running[i]);
      return;
    }
    if (running.empty() && may_begin) made_.push_back(node);
    if (running.size() > 1) keep_old_and_new(running);
  }

  void replace_ended(const std::string& node, const json::value& pod) {
    const bool failed = phase_of(pod) == "Failed";
    if (failed) {
      auto wait = failed_.wait(
          fmt::format("{}/{}/{}", uid_of(set_), counted(set_["status"]["observedGeneration"]), node), now_.now);
      if (wait > duration::zero()) return void(plan_.look_after(wait));
    }
    auto m = fmt::format("Found {} daemon pod {}/{} on node {}, will try to {} it", failed ? "failed" : "succeeded",
                         pod["metadata"]["namespace"].as_string(), name_of(pod), node, failed ? "kill" : "delete");
    plan_.tell(reference_to(set_), failed ? "FailedDaemonPod" : "SucceededDaemonPod", std::move(m), failed);
    gone_.push_back(&pod);
  }

  // While a new one comes up the old one stays, until it isn't ready any more or the new one is available.
  void keep_old_and_new(const std::vector<const json::value*>& running) {
    const json::value *fresh = nullptr, *old = nullptr;
    for (auto pod : running) {
      auto& slot = (*pod)["metadata"]["labels"][revision_hash_label].as_string() == revisions_.hash() ? fresh : old;
      slot ? gone_.push_back(pod) : void(slot = pod);
    }
    if (fresh && old && (!is_ready(*old) || available(*fresh))) gone_.push_back(old);
  }

  // ---- update

  struct pair_on_node {
    const json::value *fresh = nullptr, *old = nullptr;
    bool fine = true;  // false: more than one of a kind
  };
  pair_on_node pair_of(const std::vector<const json::value*>& there) const {
    pair_on_node out;
    for (auto pod : there) {
      if (is_deleting(*pod)) continue;
      auto& slot = updated(*pod) ? out.fresh : out.old;
      if (slot) out.fine = false;
      slot = pod;
    }
    return out;
  }

  void roll() {
    std::int64_t wanted = 0;
    auto places = by_node_;
    for (auto& [name, facts] : nodes_)
      if (demand_.of(name, facts).run) ++wanted, places.try_emplace(name);
    auto& rolling = set_["spec"]["updateStrategy"]["rollingUpdate"];
    auto away = int_or_percent(rolling["maxUnavailable"], wanted, true);
    auto beside = surge(wanted);
    if (wanted > 0 && away == 0 && beside == 0) away = 1;
    beside == 0 ? roll_in_place(places, away) : roll_with_surge(places, beside, wanted);
  }

  using placed = std::map<std::string, std::vector<const json::value*>, std::less<>>;

  void roll_in_place(const placed& places, std::int64_t most_away) {
    std::int64_t away = 0;
    std::vector<const json::value*> broken, candidates;
    for (auto& [_, there] : places) {
      auto p = pair_of(there);
      if (!p.fine || !p.fresh == !p.old) {
        ++away;
      } else if (p.fresh) {
        away += !available(*p.fresh);
      } else if (!available(*p.old)) {
        broken.push_back(p.old);
        ++away;
      } else if (away < most_away) {
        candidates.push_back(p.old);
      }
    }
    auto room = std::clamp<std::int64_t>(most_away - away, 0, static_cast<std::int64_t>(candidates.size()));
    gone_ = std::move(broken);
    gone_.insert(gone_.end(), candidates.begin(), candidates.begin() + room);
  }

  void roll_with_surge(const placed& places, std::int64_t most_beside, std::int64_t wanted) {
    std::int64_t beside = 0, running = 0;
    std::vector<const json::value*> misplaced;
    std::vector<std::string> candidates;
    for (auto& [node, there] : places) {
      auto p = pair_of(there);
      if (!p.fine) {
        ++beside;
        continue;
      }
      auto counts = p.old ? p.old : p.fresh;
      running += counts && available(*counts);
      if (!p.old) continue;
      if (p.fresh) {
        available(*p.fresh) ? gone_.push_back(p.old) : void(++beside);
        continue;
      }
      auto facts = nodes_.find(node);
      const bool fits = facts != nodes_.end() && demand_.of(node, facts->second).run;
      if (!available(*p.old))
        fits ? made_.push_back(node) : gone_.push_back(p.old);
      else if (!fits)
        misplaced.push_back(p.old);
      else if (beside < most_beside)
        candidates.push_back(node);
    }
    auto spare = std::clamp<std::int64_t>(running - wanted, 0, static_cast<std::int64_t>(misplaced.size()));
    gone_.insert(gone_.end(), misplaced.begin(), misplaced.begin() + spare);
    auto room = std::clamp<std::int64_t>(most_beside - beside, 0, static_cast<std::int64_t>(candidates.size()));
    made_.insert(made_.end(), candidates.begin(), candidates.begin() + room);
  }

  void forget() {
    auto live = [&](const json::value& r) {
      auto hash = r["metadata"]["labels"][revision_hash_label].as_string();
      return std::ranges::any_of(
          all_, [&](auto pod) { return (*pod)["metadata"]["labels"][revision_hash_label].as_string() == hash; });
    };
    for (auto& c : revisions_.surplus(set_["spec"]["revisionHistoryLimit"].as_integer(10), true, live))
      plan_.write(std::move(c));
  }

  // ---- the plan

  json::value pod_for(const std::string& node) const {
    auto pod = pod_of_template(set_["spec"]["template"], daemon_set_kind, set_);
    auto& labels = pod.member("metadata").member("labels");
    if (auto generation = set_["metadata"]["annotations"][generation_note].as_string(); !generation.empty())
      labels.set(generation_label, generation);
    labels.set(revision_hash_label, revisions_.hash());
    auto& spec = pod.member("spec");
    spec.set("tolerations", daemon_tolerations(spec));
    json::value term = json::object{
        {"matchFields",
         json::array{json::object{{"key", "metadata.name"}, {"operator", "In"}, {"values", json::array{node}}}}}};
    spec.member("affinity")
        .member("nodeAffinity")
        .member("requiredDuringSchedulingIgnoredDuringExecution")
        .set("nodeSelectorTerms", json::array{std::move(term)});
    return pod;
  }

  void write() {
    auto about = reference_to(set_);
    if (made_.size() > burst_max) made_.resize(burst_max), plan_.look_after(duration::zero());
    if (gone_.size() > burst_max) gone_.resize(burst_max), plan_.look_after(duration::zero());
    std::vector<change> creations, removals;
    for (auto& node : made_) {
      auto c = creation(pods, std::string(set_["metadata"]["namespace"].as_string()), pod_for(node));
      c.on_done = notice{about, false, "SuccessfulCreate", "Created pod: "};
      c.on_refused = notice{about, true, "FailedCreate", "Error creating: "};
      creations.push_back(std::move(c));
    }
    for (auto pod : gone_) {
      auto c = removal_of_any_version(pods, *pod);
      c.on_done = notice{about, false, "SuccessfulDelete", "Deleted pod: " + std::string(name_of(*pod))};
      c.on_refused = notice{about, true, "FailedDelete", "Error deleting: "};
      removals.push_back(std::move(c));
    }
    acted_ = acted_ || !creations.empty() || !removals.empty();
    plan_.write(pace::slow_start, std::move(creations));
    plan_.write(pace::together, std::move(removals));
    made_.clear();
    gone_.clear();
  }

  void tell_status() {
    std::int64_t wanted = 0, current = 0, misplaced = 0, ready = 0, new_ones = 0, fine = 0;
    for (auto& [name, facts] : nodes_) {
      auto there = by_node_.find(name);
      const bool any = there != by_node_.end();
      if (!demand_.of(name, facts).run) {
        misplaced += any;
        continue;
      }
      ++wanted;
      if (!any) continue;
      ++current;
      auto& pod = *there->second.front();
      ready += is_ready(pod);
      fine += available(pod);
      new_ones += updated(pod);
    }
    auto next = set_;
    auto& status = next.member("status");
    auto count = [&](const char* name, std::int64_t n) { n ? status.set(name, n) : void(status.erase(name)); };
    status.set("currentNumberScheduled", current);
    status.set("numberMisscheduled", misplaced);
    status.set("desiredNumberScheduled", wanted);
    status.set("numberReady", ready);
    status.set("observedGeneration", set_["metadata"]["generation"]);
    count("updatedNumberScheduled", new_ones);
    count("numberAvailable", fine);
    count("numberUnavailable", wanted - fine);
    if (revisions_.collided()) status.set("collisionCount", revisions_.collisions());
    if (!(next["status"] == set_["status"])) plan_.write(update_of(daemon_sets, std::move(next), "status"));
    if (next_) plan_.look_after(*next_);
  }

  const json::value& set_;
  const history& revisions_;
  const node_map& nodes_;
  failures& failed_;
  const moment& now_;
  const demand demand_;
  const std::int64_t min_ready_;
  const std::vector<const json::value*>& all_;
  placed by_node_;
  std::vector<std::string> made_;  // nodes
  std::vector<const json::value*> gone_;
  bool acted_ = false;
  std::optional<duration> next_;
  plan plan_;
};

class daemon_set final : public pod_owner {
 public:
  daemon_set() : pod_owner(daemon_set_kind, daemon_sets) {}

  std::vector<source> sources() override {
    return {{daemon_sets, own_key},
            pod_source(),
            {controller_revisions, [this](const seen& s, keys&) { orphan_revisions_.see(s); }},
            {nodes, [this](const seen& s, keys& k) { node_changed(s, k); }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (!key.starts_with(node_mark)) co_return co_await pod_owner::work(s, std::move(key));
    name_sets(s, key.substr(node_mark.size()));
    co_return api::api_result<void>();
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    plan p;
    auto set = cluster.get(daemon_sets, key);
    if (!set || is_deleting(*set)) return p;
    auto selector = selector_of(*set);
    if (selector.everything()) {
      p.tell(reference_to(*set), "SelectingAll",
             "This daemon set is selecting all pods. A non-empty selector is required.", true);
      return p;
    }
    auto members = claim(cluster, pods, kind_, *set, selector, orphan_pods_);
    auto revisions = claim(cluster, controller_revisions, kind_, *set, selector, orphan_revisions_);
    for (auto& c : revisions.changes) members.changes.push_back(std::move(c));
    if (!members.changes.empty())
      return p.write(pace::together, std::move(members.changes)), p.look_after(duration::zero());
    history past(cluster, kind_, *set, std::move(revisions.mine), revision_hash_label);
    return daemon_look(*set, members.mine, past, nodes_, failed_, now).make();
  }

 private:
  void node_changed(const seen& s, keys& k) {
    auto name = std::string(s.name());
    if (s.deleted()) {
      nodes_.erase(name);
    } else {
      auto& node = s.value();
      if (s.modified() && node["metadata"]["labels"] == s.value_before()["metadata"]["labels"] &&
          node["spec"]["taints"] == s.value_before()["spec"]["taints"] && nodes_.contains(name))
        return;
      nodes_[name] = {scheduler::label_set::of(node["metadata"]["labels"]), scheduler::taints_of(node)};
    }
    k.add(std::string(node_mark) + name);
  }

  // The sets for which the node isn't as it was. One that is gone is counted no more at once; kube-controller-manager
  // waits until its pods go, too.
  void name_sets(shell& s, const std::string& name) {
    auto cluster = s.now();
    auto facts = nodes_.find(name);
    std::map<std::string, bool, std::less<>> there;  // uid of a set that has a pod on it
    each_pod_on(cluster, name, [&](const json::value& pod) {
      if (auto* owner = controller_of(pod); owner && (*owner)["kind"].as_string() == "DaemonSet")
        there[std::string((*owner)["uid"].as_string())] = true;
      return true;
    });
    auto prefix = cluster.prefix(daemon_sets);
    cluster.cluster().scan(prefix, {}, [&](const store::object_ref& o) {
      auto set = cluster.value(o);
      if (!set) return true;
      auto v = facts == nodes_.end() ? demand::verdict{} : demand(*set).of(name, facts->second);
      const bool scheduled = there.contains(uid_of(*set));
      if (facts == nodes_.end() || (v.run && !scheduled) || (!v.stay && scheduled) ||
          (scheduled && counted((*set)["status"]["numberMisscheduled"]) > 0))
        s.queue().add(std::string(name_under(prefix, o->key())));
      return true;
    });
  }

  orphans orphan_revisions_;
  node_map nodes_;
  failures failed_;
};

}  // namespace

std::unique_ptr<controller> make_daemon_set(const settings&) { return std::make_unique<daemon_set>(); }

}  // namespace kedge::control
