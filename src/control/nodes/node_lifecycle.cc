// node_lifecycle.cc: notices nodes that fell silent, and taints nodes by their conditions (node-lifecycle-controller).
//
//   round, every --node-monitor-period: Leases and statuses that changed ─▶ "I saw it alive at" (monotonic, my own
//   clock: no two
//     machines' clocks are compared) ─▶ silent for longer than the grace period ─▶ conditions Unknown, its pods not
//     ready
//       ─▶ zones (zones.h): how fast NoExecute taints come, and whether at all ─▶ taint-eviction deletes the pods
//   clones/…: two Nodes of one machine-id (machine_clones.h) ─▶ Events of both
//   node/…: conditions ─▶ taints NoSchedule, at once        pod/…: given to a node that isn't ready ─▶ not ready
//
// While the database is away, or this server slept, nobody's silence says anything: then all begin anew.
#include <fmt/format.h>

#include <map>

#include "base/log.h"
#include "control/conditions.h"
#include "control/controllers.h"
#include "control/limits.h"
#include "control/nodes/machine_clones.h"
#include "control/nodes/node_state.h"
#include "control/nodes/zones.h"
#include "control/owners.h"
#include "control/pods.h"
#include "control/resources.h"
#include "control/settings.h"

namespace kedge::control {

namespace {

const std::string round_key = "round", taints_key = "taints";
constexpr std::string_view node_prefix = "node/", pods_prefix = "pods/", pod_prefix = "pod/", clones_prefix = "clones/";
// A taint that couldn't be written is tried again: kube-controller-manager's pause.
constexpr auto taint_retry = std::chrono::milliseconds(50);
// After a boot of their machine, agents side by side have told of it by then.
constexpr auto boot_told_within = std::chrono::seconds(30);

constexpr taint not_ready{taint_not_ready, no_execute};
constexpr taint unreachable{taint_unreachable, no_execute};
constexpr taint both[] = {unreachable, not_ready};

reference reference_of_node(const std::string& name, const std::string& uid) { return {"v1", "Node", "", name, uid}; }

// One pod's Ready condition is no longer true: endpoints must not send to it.
std::optional<change> pod_not_ready(const json::value& pod, const moment& now) {
  if (condition_status(pod, "Ready") != "True") return std::nullopt;
  auto next = pod;
  for (auto& c : *next.member("status").member("conditions").array())
    if (c["type"].as_string() == "Ready") {
      c.set("status", "False");
      c.set("lastTransitionTime", format_rfc3339(now.wall));
    }
  auto c = update_of(pods, std::move(next), "status");
  c.on_done = notice{reference_to(pod), true, "NodeNotReady", "Node is not ready"};
  return c;
}

class node_lifecycle final : public controller {
 public:
  explicit node_lifecycle(const settings& s)
      : period_(s.node_monitor_period),
        grace_(s.node_monitor_grace_period),
        startup_grace_(s.node_startup_grace_period),
        zones_({s.node_eviction_rate, s.secondary_node_eviction_rate, s.large_cluster_size_threshold,
                s.unhealthy_zone_threshold}) {}

  std::vector<source> sources() override {
    return {{nodes,
             [this](const seen& s, keys& k) {
               node_changed(s, k);
               if (!s.deleted()) k.add(std::string(node_prefix) + std::string(s.name()));
             }},
            {pods, [this](const seen& s, keys& k) { pod_changed(s, k); }}};
  }
  void begin(keys& k) override { k.add(round_key); }

  task<api::api_result<void>> work(shell& s, std::string key) override {
    if (key == round_key) return round(s);
    if (key == taints_key) return taint_next(s);
    return s.look_and_write(key);
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    auto name = std::string_view(key);
    if (name.starts_with(node_prefix)) return look_at_node(cluster, name.substr(node_prefix.size()), now);
    if (name.starts_with(clones_prefix)) return look_at_clones(cluster, name.substr(clones_prefix.size()));
    if (name.starts_with(pods_prefix)) return look_at_pods_of(cluster, name.substr(pods_prefix.size()), now);
    return look_at_pod(cluster, name.substr(pod_prefix.size()), now);
  }

 private:
  // What the rounds remember of a node.
  struct known {
    std::string uid, zone;
    std::string ready;      // of the Ready condition; empty without one
    std::string heartbeat;  // the condition's lastHeartbeatTime
    std::string renewed;    // the Lease's renewTime
    store::revision node_at = 0, lease_at = 0;
    bool excluded = false, has_not_ready = false, has_unreachable = false;
    bool stuck = false;  // couldn't be marked in this round: it counts for nothing
    time_point alive{};  // when I last saw a sign of life
    std::uint64_t round = 0;
  };

  static plan look_at_node(const view& cluster, std::string_view name, const moment& now) {
    plan p;
    if (auto node = cluster.get(nodes, {}, name))
      if (auto next = settled_node(*node, now.wall)) p.write(update_of(nodes, *std::move(next)));
    return p;
  }

  // Once for each boot, and again from who leads next.
  void node_changed(const seen& s, keys& k) {
    if (s.deleted()) return clones_.gone(s.name(), s.value());
    if (s.previous()) {
      if (s.value_before()["status"]["nodeInfo"] == s.value()["status"]["nodeInfo"]) return;
      clones_.gone(s.name(), s.value_before());
    }
    if (auto other = clones_.saw(s.name(), s.value()); !other.empty())
      k.add_after(fmt::format("{}{}/{}", clones_prefix, other, s.name()), boot_told_within);
  }

  static plan look_at_clones(const view& cluster, std::string_view names) {
    plan p;
    const auto slash = names.find('/');
    const std::string_view one = names.substr(0, slash), other = names.substr(slash + 1);
    auto first = cluster.get(nodes, {}, one), second = cluster.get(nodes, {}, other);
    if (!first || !second || !are_clones(*first, *second)) return p;
    const auto text = clones_text(one, other);
    log::warning("{}", text);
    for (auto [name, node] : {std::pair(one, first), std::pair(other, second)})
      p.tell(reference_of_node(std::string(name), std::string((*node)["metadata"]["uid"].as_string())),
             "DuplicateMachineID", text, true);
    return p;
  }

  static bool is_down(const view& cluster, std::string_view node) {
    auto n = cluster.get(nodes, {}, node);
    auto ready = n ? condition_status(*n, "Ready") : std::string_view();
    return !ready.empty() && ready != "True";
  }

  static plan look_at_pods_of(const view& cluster, std::string_view node, const moment& now) {
    plan p;
    if (!is_down(cluster, node)) return p;
    std::vector<change> changes;
    each_pod_on(cluster, node, [&](const json::value& pod) {
      if (auto c = pod_not_ready(pod, now)) changes.push_back(*std::move(c));
      return changes.size() < writes_at_once;
    });
    if (changes.size() == writes_at_once) p.look_after(duration(0));
    return p.write(pace::together, std::move(changes));
  }

  static plan look_at_pod(const view& cluster, std::string_view key, const moment& now) {
    plan p;
    auto pod = cluster.get(pods, key);
    if (!pod || !is_down(cluster, (*pod)["spec"]["nodeName"].as_string())) return p;
    if (auto c = pod_not_ready(*pod, now)) p.write(*std::move(c));
    return p;
  }

  // Only those given to a node just now, and only while there are nodes that aren't ready: else they aren't looked
  // into.
  void pod_changed(const seen& s, keys& k) {
    if (s.deleted() || down_ == 0) return;
    auto node = s.value()["spec"]["nodeName"].as_string();
    if (node.empty() || (s.previous() && s.value_before()["spec"]["nodeName"].as_string() == node)) return;
    auto it = nodes_.find(node);
    if (it != nodes_.end() && !it->second.ready.empty() && it->second.ready != "True")
      k.add(std::string(pod_prefix) + std::string(s.name()));
  }

  // ---- a round

  task<api::api_result<void>> round(shell& s) {
    auto began = s.when().now;
    s.queue().add_after(round_key, period_);
    // A round that comes far too late, or finds the database away, knows nothing of who was silent meanwhile.
    bool blind = !s.store().healthy() || (last_round_ != time_point{} && began - last_round_ > period_ + grace_ / 2);
    last_round_ = began;
    ++round_;
    co_await read_nodes(s);
    if (blind) {
      begin_anew(began);
      co_return api::api_result<void>();
    }
    co_await mark_silent(s);
    co_await settle_taints(s);
    auto turn = zones_.judge(count(), s.when().now);
    if (turn == zones::turn::stop_all) co_await stop_evictions(s);
    if (turn == zones::turn::resume) {
      log::info("node-lifecycle-controller: some nodes are ready again: evictions go on");
      begin_anew(s.when().now);
    }
    if (auto next = zones_.next(s.when().now)) s.queue().add_at(taints_key, *next);
    co_return api::api_result<void>();
  }

  void begin_anew(time_point now) {
    for (auto& [name, n] : nodes_) n.alive = now;
  }

  // Brings what is remembered to what is there.
  task<void> read_nodes(shell& s) {
    auto cluster = s.now();
    auto prefix = cluster.prefix(nodes);
    std::vector<store::object_ref> all;
    cluster.cluster().scan(prefix, {}, [&](const store::object_ref& o) {
      all.push_back(o);
      return true;
    });
    std::vector<std::string> added;
    for (auto& o : all) {
      auto name = std::string(name_under(prefix, o->key()));
      if (read_node(s, name, o)) added.push_back(name);
      read_lease(s, name);
      co_await reactor::maybe_yield();
    }
    for (auto it = nodes_.begin(); it != nodes_.end();) {
      if (it->second.round == round_) {
        ++it;
        continue;
      }
      s.recorder().tell({reference_of_node(it->first, it->second.uid), false, "RemovingNode",
                         "Node " + it->first + " event: Removing Node " + it->first + " from Controller"});
      zones_.remove(it->second.zone, it->first);
      it = nodes_.erase(it);
    }
    count_down();
    // Taints from before this server led: the round says anew whether a node shall have them, and when.
    co_await take_taints_off(s, std::move(added));
  }

  // True for one that wasn't there before.
  bool read_node(shell& s, const std::string& name, const store::object_ref& o) {
    auto [it, fresh] = nodes_.try_emplace(name);
    auto& n = it->second;
    n.round = round_;
    n.stuck = false;
    if (n.node_at == o->mod()) return false;
    n.node_at = o->mod();
    auto parsed = value_of(o);
    if (!parsed) return false;
    auto& node = *parsed;
    if (!fresh && n.uid != uid_of(node)) {  // another of the same name
      zones_.remove(n.zone, name);
      n = known{.node_at = o->mod(), .round = round_};
      fresh = true;
    }
    auto now = s.when().now;
    auto& ready = condition_of(node, "Ready");
    auto status = ready["status"].as_string(), heartbeat = ready["lastHeartbeatTime"].as_string();
    if (fresh || n.ready.empty() != status.empty() || n.heartbeat != heartbeat) n.alive = now;
    n.ready = status;
    n.heartbeat = heartbeat;
    auto zone = zone_of(node);
    if (zone != n.zone && !fresh) zones_.remove(n.zone, name);
    n.zone = std::move(zone);
    n.excluded = node["metadata"]["labels"].find("node.kubernetes.io/exclude-disruption") != nullptr;
    n.has_not_ready = has_taint(node, not_ready);
    n.has_unreachable = has_taint(node, unreachable);
    if (!fresh) return false;
    n.uid = uid_of(node);
    zones_.know(n.zone, now);
    s.recorder().tell({reference_of_node(name, n.uid), false, "RegisteredNode",
                       "Node " + name + " event: Registered Node " + name + " in Controller"});
    if (!n.ready.empty() && n.ready != "True") s.queue().add(std::string(pods_prefix) + name);
    return true;
  }

  void read_lease(shell& s, const std::string& name) {
    auto& n = nodes_.at(name);
    auto cluster = s.now();
    auto lease = cluster.cluster().find(cluster.prefix(leases, "kube-node-lease") + name);
    if (!lease || lease->mod() == n.lease_at) return;
    n.lease_at = lease->mod();
    auto parsed = value_of(lease);
    auto renewed = parsed ? (*parsed)["spec"]["renewTime"].as_string() : std::string_view();
    if (renewed.empty() || renewed == n.renewed) return;
    n.renewed = renewed;
    n.alive = s.when().now;
  }

  void count_down() {
    down_ = 0;
    for (auto& [name, n] : nodes_) down_ += !n.ready.empty() && n.ready != "True";
  }

  std::vector<std::string> silent(time_point now) const {
    std::vector<std::string> out;
    for (auto& [name, n] : nodes_)
      if (n.ready != "Unknown" && now - n.alive > (n.ready.empty() ? startup_grace_ : grace_)) out.push_back(name);
    return out;
  }

  task<void> mark_silent(shell& s) {
    auto names = silent(s.when().now);
    if (names.empty()) co_return;
    // What this server hasn't heard yet may be a sign of life.
    if (!co_await s.store().latest()) {
      for (auto& name : names) nodes_.at(name).stuck = true;
      co_return;
    }
    for (auto& name : names) read_lease(s, name);
    names = silent(s.when().now);
    auto now = s.when();
    auto marked = co_await each_node(s, names, [&](const json::value& node) -> std::optional<change> {
      auto next = node;
      if (!mark_unknown(next, now.wall)) return std::nullopt;
      return update_of(nodes, std::move(next), "status");
    });
    for (auto& name : names) {
      auto it = nodes_.find(name);
      if (it == nodes_.end()) continue;
      auto& n = it->second;
      if (!marked.contains(name)) {
        n.stuck = true;
        continue;
      }
      log::warning("node {} has not reported for {}: marked Unknown", name,
                   format_duration(std::chrono::floor<std::chrono::seconds>(now.now - n.alive)));
      if (std::exchange(n.ready, "Unknown") != "True") continue;
      s.recorder().tell(
          {reference_of_node(name, n.uid), false, "NodeNotReady", "Node " + name + " status is now: NodeNotReady"});
      s.queue().add(std::string(pods_prefix) + name);
    }
    count_down();
  }

  // NoExecute taints: those of nodes that are ready go, the one for the other gets exchanged at once, new ones wait for
  // their turn.
  task<void> settle_taints(shell& s) {
    std::vector<std::string> off, exchange;
    auto now = s.when();
    for (auto& [name, n] : nodes_) {
      if (n.stuck || n.ready.empty()) continue;
      if (n.ready == "True") {
        zones_.remove(n.zone, name);
        if (n.has_not_ready || n.has_unreachable) off.push_back(name);
        continue;
      }
      bool unknown = n.ready == "Unknown";
      bool has = unknown ? n.has_unreachable : n.has_not_ready,
           has_other = unknown ? n.has_not_ready : n.has_unreachable;
      if (has_other)
        exchange.push_back(name);
      else if (has)
        zones_.queue(n.zone, name, now.now);
      else
        zones_.queue_again(n.zone, name, now.now);
    }
    co_await take_taints_off(s, std::move(off));
    (void)co_await each_node(s, exchange, [&](const json::value& node) { return tainted(node, now); });
  }

  // The NoExecute taint that its Ready condition calls for; nullopt when it has that.
  static std::optional<change> tainted(const json::value& node, const moment& now) {
    auto ready = condition_status(node, "Ready");
    if (ready != "False" && ready != "Unknown") return std::nullopt;
    auto next = ready == "Unknown" ? with_taints(node, {&unreachable, 1}, {&not_ready, 1}, now.wall)
                                   : with_taints(node, {&not_ready, 1}, {&unreachable, 1}, now.wall);
    if (!next) return std::nullopt;
    return update_of(nodes, *std::move(next));
  }

  task<void> take_taints_off(shell& s, std::vector<std::string> names) {
    std::erase_if(names,
                  [&](auto& name) { return !nodes_.at(name).has_not_ready && !nodes_.at(name).has_unreachable; });
    auto now = s.when();
    auto done = co_await each_node(s, names, [&](const json::value& node) -> std::optional<change> {
      auto next = with_taints(node, {}, both, now.wall);
      if (!next) return std::nullopt;
      return update_of(nodes, *std::move(next));
    });
    for (auto& name : done)
      if (auto it = nodes_.find(name); it != nodes_.end())
        it->second.has_not_ready = it->second.has_unreachable = false;
  }

  std::map<std::string, zones::count> count() const {
    std::map<std::string, zones::count> out;
    for (auto& [name, n] : nodes_) {
      if (n.stuck || n.excluded) continue;
      auto& c = out[n.zone];
      ++(n.ready == "True" ? c.ready : c.not_ready);
    }
    return out;
  }

  task<void> stop_evictions(shell& s) {
    log::warning("node-lifecycle-controller: no node is ready; nobody is evicted until one is");
    std::vector<std::string> names;
    for (auto& [name, n] : nodes_) {
      zones_.remove(n.zone, name);
      names.push_back(name);
    }
    co_await take_taints_off(s, std::move(names));
  }

  // ---- NoExecute, one after the other

  task<api::api_result<void>> taint_next(shell& s) {
    for (auto& zone : zones_.names())
      while (auto name = zones_.take(zone, s.when().now)) {
        auto done = co_await each_node(s, {*name}, [&](const json::value& node) { return tainted(node, s.when()); });
        if (done.empty() && nodes_.contains(*name)) zones_.retry(zone, *name, s.when().now + taint_retry);
      }
    if (auto next = zones_.next(s.when().now)) s.queue().add_at(taints_key, *next);
    co_return api::api_result<void>();
  }

  // Changes nodes as they are now, some at a time. The names of those for which it is so now.
  task<std::set<std::string>> each_node(shell& s, std::vector<std::string> names,
                                        std::function<std::optional<change>(const json::value&)> how) {
    std::set<std::string> done;
    for (std::size_t i = 0; i < names.size();) {
      std::vector<std::string> group;
      std::vector<change> changes;
      {
        auto cluster = s.now();
        for (; i < names.size() && changes.size() < writes_at_once; ++i) {
          auto node = cluster.get(nodes, {}, names[i]);
          if (!node) continue;
          if (auto c = how(*node)) {
            changes.push_back(*std::move(c));
            group.push_back(names[i]);
          } else {
            done.insert(names[i]);
          }
        }
      }
      auto answers = co_await s.write_group(std::move(changes));
      for (std::size_t n = 0; n < group.size(); ++n) {
        if (answers[n])
          done.insert(group[n]);
        else if (answers[n].error().code != 409 && answers[n].error().code != 404)
          log::warning("node-lifecycle-controller: {}: {}", group[n], answers[n].error().message);
      }
    }
    co_return done;
  }

  const duration period_, grace_, startup_grace_;
  zones zones_;
  machine_clones clones_;
  std::map<std::string, known, std::less<>> nodes_;
  std::uint64_t round_ = 0;
  std::size_t down_ = 0;  // nodes whose Ready isn't true
  time_point last_round_{};
};

}  // namespace

std::unique_ptr<controller> make_node_lifecycle(const settings& s) { return std::make_unique<node_lifecycle>(s); }

}  // namespace kedge::control
