// taint_eviction.cc: deletes pods from nodes with a NoExecute taint that they don't tolerate, those that tolerate it
// for some time when that has passed (taint-eviction-controller).
//
//   node's taints changed, pod came or changed ─▶ stay(): for ever | some time | not at all ─▶ scheduled ─▶ its time ─▶
//   condition DisruptionTarget, and deleted. The taint goes before that: cancelled.
//
// The time counts from when this server saw the taint first, as kube-controller-manager's does: no clocks are compared,
// and a new leader gives the whole time once more.
#include <algorithm>
#include <map>
#include <optional>

#include "control/controllers.h"
#include "control/eviction_metrics.h"
#include "control/nodes/node_state.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/settings.h"
#include "control/tolerations.h"

namespace kedge::control {

namespace {

constexpr std::string_view node_prefix = "node/", pod_prefix = "pod/";

// How long a pod may stay beside these taints: nullopt: for ever; zero: not at all.
std::optional<duration> stay(const json::value& pod, const json::array& taints) {
  std::optional<duration> least;
  for (auto& t : taints) {
    auto used = toleration_of(pod, t);
    if (!used) return duration(0);
    if (auto* s = used->find("tolerationSeconds"); s && s->is_integer())
      least = std::min(least.value_or(duration::max()),
                       std::max(duration(0), duration(std::chrono::seconds(s->as_integer()))));
  }
  return least;
}

json::array no_execute_taints(const json::value& node) {
  json::array out;
  auto& list = node["spec"]["taints"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["effect"].as_string() == no_execute) out.push_back(list[i]);
  return out;
}

class taint_eviction final : public controller {
 public:
  explicit taint_eviction(const settings& s)
      : measures_(s.measures, "TaintEvictionController", "taint_eviction_controller",
                  "taint effect has been activated for the Pod and its") {}

  std::vector<source> sources() override {
    return {{nodes, [this](const seen& s, keys& k) { node_changed(s, k); }},
            {pods, [this](const seen& s, keys& k) { pod_changed(s, k); }}};
  }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    auto cluster = s.now();
    auto p = look(cluster, key, s.when());
    bool last = !p.steps.empty();
    auto done = co_await s.write(std::move(p), key);
    // It had its turn. What couldn't be written keeps its time, and is tried again.
    if (auto it = scheduled_.find(key.substr(pod_prefix.size())); done && last && it != scheduled_.end()) {
      measures_.deleted(s.when().now - it->second);
      scheduled_.erase(it);
    }
    if (key.starts_with(node_prefix))
      for (auto& pod : std::exchange(to_look_at_, {})) s.queue().add(pod);
    co_return done;
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    if (key.starts_with(node_prefix)) return look_at_node(cluster, key.substr(node_prefix.size()), now);
    return look_at_pod(cluster, key.substr(pod_prefix.size()), now);
  }

 private:
  void node_changed(const seen& s, keys& k) {
    auto name = std::string(s.name());
    auto taints = s.deleted() ? json::array() : no_execute_taints(s.value());
    auto had = tainted_.find(name);
    if (taints.empty() ? had == tainted_.end() : had != tainted_.end() && had->second == taints) return;
    if (taints.empty())
      tainted_.erase(had);
    else
      tainted_[name] = std::move(taints);
    // The pods of a node that is gone are the pod garbage collector's; what was scheduled for them stays.
    if (!s.deleted()) k.add(std::string(node_prefix) + name);
  }

  // Of a hundred thousand pods nearly none is on a tainted node: while there is no such node, none is looked into.
  void pod_changed(const seen& s, keys& k) {
    if (tainted_.empty() && scheduled_.empty()) return;
    auto name = std::string(s.name());
    bool concerns = scheduled_.contains(name);
    if (!s.deleted() && !concerns) {
      auto& pod = s.value();
      auto same = [&] {
        return node_of(s.value_before()) == node_of(pod) &&
               s.value_before()["spec"]["tolerations"] == pod["spec"]["tolerations"];
      };
      concerns = tainted_.contains(std::string(node_of(pod))) && (!s.previous() || !same());
    }
    if (concerns) k.add(std::string(pod_prefix) + name);
  }

  // Each pod of it gets a look, which schedules or cancels.
  plan look_at_node(const view& cluster, const std::string& name, const moment&) {
    cluster.cluster().scan(api::pods_by_node, name, cluster.prefix(pods), {}, [&](const store::object_ref& o) {
      to_look_at_.push_back(std::string(pod_prefix) + std::string(name_under(cluster.prefix(pods), o->key())));
      return true;
    });
    return {};
  }

  plan look_at_pod(const view& cluster, const std::string& name, const moment& now) {
    plan p;
    auto pod = cluster.get(pods, name);
    auto taints = pod ? tainted_.find(std::string(node_of(*pod))) : tainted_.end();
    auto time = taints == tainted_.end() ? std::nullopt : stay(*pod, taints->second);
    // A node that is gone lets nobody stay.
    bool keeps_time = pod && scheduled_.contains(name) && !cluster.get(nodes, {}, node_of(*pod));
    if (!time && !keeps_time) {
      if (scheduled_.erase(name))
        p.tell(reference_of(name), "TaintManagerEviction", "Cancelling deletion of Pod " + name);
      return p;
    }
    // What is scheduled keeps its time, unless the pod may not stay at all any more.
    auto& due = scheduled_.try_emplace(name, now.now + time.value_or(duration(0))).first->second;
    if (time == duration(0)) due = now.now;
    if (due > now.now) return p.look_after(due - now.now);
    auto mark =
        disruption_target(*pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", now);
    if (!mark && is_deleting(*pod)) return p;  // done
    p.tell(reference_of(name), "TaintManagerEviction", "Marking for deletion Pod " + name);
    if (mark) p.write(*std::move(mark));
    return p.write(removal_of_any_version(pods, *pod));
  }

  static reference reference_of(const std::string& name) {
    auto place = split_name(name);
    return {"v1", "Pod", std::string(place.ns), std::string(place.name), ""};
  }

  std::map<std::string, json::array> tainted_;   // node → its NoExecute taints
  std::map<std::string, time_point> scheduled_;  // pod → when it is to go
  std::vector<std::string> to_look_at_;          // of a look at a node
  eviction_metrics measures_;
};

}  // namespace

std::unique_ptr<controller> make_taint_eviction(const settings& s) { return std::make_unique<taint_eviction>(s); }

}  // namespace kedge::control
