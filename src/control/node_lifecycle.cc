// node_lifecycle.cc: notices nodes that fell silent, and taints nodes by their conditions (kube-controller-manager's
// node-lifecycle and taint-eviction controllers).
//
//   Lease or status changes ─▶ "I saw it alive at" (monotonic, my own clock: no two machines' clocks are compared)
//   every 5 s: silent for longer than the grace period ─▶ conditions Unknown, pods not ready
//   conditions ─▶ taints not-ready, unreachable (NoSchedule and NoExecute), pressures (NoSchedule)
//   NoExecute taints ─▶ pods without a toleration are deleted, those with tolerationSeconds when these have passed
#include <map>
#include <optional>

#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "control/event_recorder.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::control {

namespace {

const api::resource_id nodes{"", "v1", "nodes"};
const api::resource_id pods{"", "v1", "pods"};
const api::resource_id leases{"coordination.k8s.io", "v1", "leases"};

constexpr std::string_view not_ready = "node.kubernetes.io/not-ready";
constexpr std::string_view unreachable = "node.kubernetes.io/unreachable";
constexpr std::string_view node_monitored[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};

std::string_view condition(const json::value& node, std::string_view type) {
  auto& list = node["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return list[i]["status"].as_string();
  return {};
}

struct taint {
  std::string_view key, effect;
  friend bool operator==(const taint&, const taint&) = default;
};

// The taints that follow from conditions. Others on the node are left alone.
std::vector<taint> wanted_taints(const json::value& node) {
  std::vector<taint> out;
  auto ready = condition(node, "Ready");
  if (ready == "False" || ready.empty()) {
    out.push_back({not_ready, "NoSchedule"});
    if (ready == "False") out.push_back({not_ready, "NoExecute"});
  } else if (ready == "Unknown") {
    out.push_back({unreachable, "NoSchedule"});
    out.push_back({unreachable, "NoExecute"});
  }
  if (condition(node, "MemoryPressure") == "True") out.push_back({"node.kubernetes.io/memory-pressure", "NoSchedule"});
  if (condition(node, "DiskPressure") == "True") out.push_back({"node.kubernetes.io/disk-pressure", "NoSchedule"});
  if (condition(node, "PIDPressure") == "True") out.push_back({"node.kubernetes.io/pid-pressure", "NoSchedule"});
  if (condition(node, "NetworkUnavailable") == "True") out.push_back({"node.kubernetes.io/network-unavailable", "NoSchedule"});
  if (node["spec"]["unschedulable"].as_bool()) out.push_back({"node.kubernetes.io/unschedulable", "NoSchedule"});
  return out;
}

bool managed(std::string_view key) {
  constexpr std::string_view all[] = {not_ready, unreachable, "node.kubernetes.io/memory-pressure", "node.kubernetes.io/disk-pressure",
                                      "node.kubernetes.io/pid-pressure", "node.kubernetes.io/network-unavailable",
                                      "node.kubernetes.io/unschedulable"};
  for (auto k : all)
    if (k == key) return true;
  return false;
}

// Brings spec.taints to what the conditions want; false when they are so already.
bool apply_taints(json::value& node, wall_time now) {
  auto wanted = wanted_taints(node);
  json::array kept;
  bool changed = false;
  auto& list = node["spec"]["taints"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    taint t{list[i]["key"].as_string(), list[i]["effect"].as_string()};
    if (managed(t.key)) {
      auto it = std::find(wanted.begin(), wanted.end(), t);
      if (it == wanted.end()) {
        changed = true;
        continue;
      }
      wanted.erase(it);
    }
    kept.push_back(list[i]);
  }
  for (auto& t : wanted) {
    json::object added{{"key", std::string(t.key)}, {"effect", std::string(t.effect)}};
    if (t.effect == "NoExecute") added.set("timeAdded", format_rfc3339(now));
    kept.push_back(std::move(added));
    changed = true;
  }
  if (!changed) return false;
  if (kept.empty())
    node.member("spec").erase("taints");
  else
    node.member("spec").set("taints", std::move(kept));
  return true;
}

bool tolerates(const json::value& toleration, const json::value& t) {
  auto effect = toleration["effect"].as_string();
  if (!effect.empty() && effect != t["effect"].as_string()) return false;
  auto key = toleration["key"].as_string();
  if (!key.empty() && key != t["key"].as_string()) return false;
  if (toleration["operator"].as_string("Equal") == "Exists") return true;
  return !key.empty() && toleration["value"].as_string() == t["value"].as_string();
}

// How long a pod may stay beside the node's NoExecute taints: nullopt: for ever; zero: not at all.
std::optional<duration> stay(const json::value& pod, const std::vector<json::value>& taints) {
  std::optional<duration> least;
  for (auto& t : taints) {
    bool tolerated = false;
    auto& list = pod["spec"]["tolerations"];
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (!tolerates(list[i], t)) continue;
      tolerated = true;
      if (auto* s = list[i].find("tolerationSeconds"); s && s->is_integer())
        least = std::min(least.value_or(duration::max()), std::max(duration(0), duration(std::chrono::seconds(s->as_integer()))));
    }
    if (!tolerated) return duration(0);
  }
  return least;
}

class lifecycle {
 public:
  explicit lifecycle(context& c) : c_(c), events_(c.objects, "node-controller") {}

  task<void> run() {
    auto& s = c_.objects.objects_store();
    node_prefix_ = c_.objects.prefix(nodes);
    lease_prefix_ = c_.objects.prefix(leases, "kube-node-lease");
    pod_prefix_ = c_.objects.prefix(pods);
    reactor::scope tasks;
    tasks.spawn(follow(s, node_prefix_, [this](const store::event& e) { node_changed(e); }));
    tasks.spawn(follow(s, lease_prefix_, [this](const store::event& e) {
      if (e.type != store::event_type::deleted) alive(std::string(name_under(lease_prefix_, e.object->key())));
    }));
    tasks.spawn(follow(s, pod_prefix_, [this](const store::event& e) { pod_changed(e); }));
    tasks.spawn(work("node-lifecycle", queue_, 4, [this](std::string name) { return reconcile(std::move(name)); }));
    tasks.spawn(work("taint-eviction", evictions_, 4, [this](std::string key) { return evict(std::move(key)); }));
    for (;;) {
      co_await reactor::sleep_for(c_.node_monitor_period);
      for (auto& [name, n] : nodes_) queue_.add(name);
    }
  }

 private:
  struct seen {
    time_point alive;          // when I last saw a sign of life
    std::string heartbeat;     // the Ready condition's lastHeartbeatTime that I saw
    std::vector<json::value> no_execute;
    std::map<std::string, time_point> since;  // taint → when I first saw it
    bool registered = false;
  };

  void alive(const std::string& name) {
    if (auto it = nodes_.find(name); it != nodes_.end()) it->second.alive = reactor::loop::current().now();
  }

  void node_changed(const store::event& e) {
    auto name = std::string(name_under(node_prefix_, e.object->key()));
    if (e.type == store::event_type::deleted) {
      nodes_.erase(name);
      return;
    }
    auto node = json::parse(e.object->bytes());
    if (!node) return;
    auto [it, fresh] = nodes_.try_emplace(name);
    auto& n = it->second;
    if (fresh) n.alive = reactor::loop::current().now();
    auto& list = (*node)["status"]["conditions"];
    for (std::size_t i = 0; i < list.size(); ++i)
      if (list[i]["type"].as_string() == "Ready") {
        auto beat = list[i]["lastHeartbeatTime"].as_string();
        if (beat != n.heartbeat && list[i]["status"].as_string() != "Unknown") {
          n.heartbeat = beat;
          n.alive = reactor::loop::current().now();
        }
      }
    n.no_execute.clear();
    std::map<std::string, time_point> since;
    auto& taints = (*node)["spec"]["taints"];
    for (std::size_t i = 0; i < taints.size(); ++i)
      if (taints[i]["effect"].as_string() == "NoExecute") {
        auto key = std::string(taints[i]["key"].as_string());
        auto before = n.since.find(key);
        since[key] = before == n.since.end() ? reactor::loop::current().now() : before->second;
        n.no_execute.push_back(taints[i]);
      }
    n.since = std::move(since);
    queue_.add(name);
    // Pods of this node are looked at again: taints came or went.
    c_.objects.objects_store().current().scan(pod_prefix_, "", [&](const store::object_ref& pod) {
      if (pod->bytes().find("\"nodeName\":\"" + name + "\"") != std::string_view::npos) evictions_.add(std::string(pod->key()));
      return true;
    });
  }

  void pod_changed(const store::event& e) {
    if (e.type != store::event_type::deleted) evictions_.add(std::string(e.object->key()));
  }

  task<api::api_result<void>> reconcile(std::string name) {
    auto it = nodes_.find(name);
    if (it == nodes_.end()) co_return api::api_result<void>();
    auto& loop = reactor::loop::current();
    auto current = c_.objects.get(nodes, "", name);
    if (!current) co_return api::fail(current.error());
    if (!it->second.registered) {
      it->second.registered = true;
      co_await events_.record(*current, "Normal", "RegisteredNode", "Node " + name + " event: Registered Node " + name + " in Controller");
    }
    auto ready = std::string(condition(*current, "Ready"));
    auto silent = loop.now() - it->second.alive;
    auto grace = ready.empty() ? c_.node_startup_grace_period : c_.node_monitor_grace_period;
    if (silent > grace && ready != "Unknown") {
      log::warning("node {} has not reported for {}: marking it Unknown", name, format_duration(std::chrono::floor<std::chrono::seconds>(silent)));
      auto done = co_await mark_unknown(name, ready.empty());
      if (!done) co_return api::fail(done.error());
      co_await events_.record(*done, "Normal", "NodeNotReady", "Node " + name + " status is now: NodeNotReady");
      co_await mark_pods(name);
    }
    auto tainted = co_await c_.objects.modify(nodes, "", name, [&](json::value& n) { return apply_taints(n, loop.wall_now()); });
    if (!tainted) co_return api::fail(tainted.error());
    co_return api::api_result<void>();
  }

  task<api::api_result<json::value>> mark_unknown(std::string name, bool never) {
    auto now = format_rfc3339(reactor::loop::current().wall_now());
    co_return co_await c_.objects.modify(
        nodes, "", name,
        [&](json::value& n) {
          auto& list = n.member("status").member("conditions").make_array();
          for (auto type : node_monitored) {
            json::value* found = nullptr;
            for (auto& existing : list)
              if (existing["type"].as_string() == type) found = &existing;
            if (!found) {
              list.push_back(json::object{{"type", std::string(type)}, {"lastHeartbeatTime", std::string(n["metadata"]["creationTimestamp"].as_string())}});
              found = &list.back();
            }
            if ((*found)["status"].as_string() == "Unknown") continue;
            found->set("status", "Unknown");
            found->set("reason", never ? "NodeStatusNeverUpdated" : "NodeStatusUnknown");
            found->set("message", never ? "Kubelet never posted node status." : "Kubelet stopped posting node status.");
            found->set("lastTransitionTime", now);
          }
          return true;
        },
        "status");
  }

  // Pods of a silent node are no longer ready: endpoints must not send to them.
  task<void> mark_pods(std::string node) {
    auto now = format_rfc3339(reactor::loop::current().wall_now());
    for (auto& pod : c_.objects.list(pods)) {
      if (pod["spec"]["nodeName"].as_string() != node) continue;
      (void)co_await c_.objects.modify(
          pods, std::string(pod["metadata"]["namespace"].as_string()), std::string(pod["metadata"]["name"].as_string()),
          [&](json::value& p) {
            auto* list = p.member("status").member("conditions").array();
            if (!list) return false;
            for (auto& existing : *list)
              if (existing["type"].as_string() == "Ready" && existing["status"].as_string() == "True") {
                existing.set("status", "False");
                existing.set("lastTransitionTime", now);
                return true;
              }
            return false;
          },
          "status");
    }
  }

  task<api::api_result<void>> evict(std::string key) {
    auto object = c_.objects.objects_store().current().find(key);
    if (!object) co_return api::api_result<void>();
    auto pod = json::parse(object->bytes());
    if (!pod || (*pod)["metadata"].find("deletionTimestamp")) co_return api::api_result<void>();
    auto it = nodes_.find(std::string((*pod)["spec"]["nodeName"].as_string()));
    if (it == nodes_.end() || it->second.no_execute.empty()) co_return api::api_result<void>();
    auto wait = stay(*pod, it->second.no_execute);
    if (!wait) co_return api::api_result<void>();
    auto first = time_point::max();
    for (auto& [k, since] : it->second.since) first = std::min(first, since);
    auto& loop = reactor::loop::current();
    if (first + *wait > loop.now()) {
      evictions_.add_at(key, first + *wait);
      co_return api::api_result<void>();
    }
    auto ns = std::string((*pod)["metadata"]["namespace"].as_string());
    auto name = std::string((*pod)["metadata"]["name"].as_string());
    log::info("deleting pod {}/{}: it does not tolerate the taints of node {}", ns, name, it->first);
    auto now = format_rfc3339(loop.wall_now());
    (void)co_await c_.objects.modify(
        pods, ns, name,
        [&](json::value& p) {
          p.member("status").member("conditions").push_back(json::object{{"type", "DisruptionTarget"}, {"status", "True"}, {"reason", "DeletionByTaintManager"},
              {"message", "Taint manager: deleting due to NoExecute taint"}, {"lastTransitionTime", now}});
          return true;
        },
        "status");
    co_return co_await c_.objects.remove(pods, ns, name, {.uid = std::string((*pod)["metadata"]["uid"].as_string())});
  }

  context& c_;
  event_recorder events_;
  std::string node_prefix_, lease_prefix_, pod_prefix_;
  std::map<std::string, seen> nodes_;
  work_queue queue_, evictions_;
};

}  // namespace

task<void> run_node_lifecycle(context& c) {
  lifecycle l(c);
  co_await l.run();
}

}  // namespace kedge::control
