// Controllers of workloads as they run: two leaders at a time, which stop between any two writes; kubelets that run
// what is bound.
//
// What always holds: no pod is made twice for one place, identities are unique, each ended pod is counted once; and in
// the end there is what was asked for.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "control_world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

const api::resource_id pods{"", "v1", "pods"};
const api::resource_id nodes{"", "v1", "nodes"};
const api::resource_id services{"", "v1", "services"};
const api::resource_id jobs{"batch", "v1", "jobs"};
const api::resource_id cron_jobs{"batch", "v1", "cronjobs"};
const api::resource_id deployments{"apps", "v1", "deployments"};
const api::resource_id replica_sets{"apps", "v1", "replicasets"};
const api::resource_id replication_controllers{"", "v1", "replicationcontrollers"};
const api::resource_id stateful_sets{"apps", "v1", "statefulsets"};
const api::resource_id daemon_sets{"apps", "v1", "daemonsets"};

constexpr std::string_view pod_prefix = "/registry/pods/default/";

json::value workload(std::string_view kind, std::string_view name, std::string_view spec,
                     std::string_view pod = "containers: [{name: c, image: i}]") {
  auto version = kind == "Job" ? "batch/v1" : kind == "ReplicationController" ? "v1" : "apps/v1";
  return yaml(
      fmt::format("{{kind: {}, apiVersion: {}, metadata: {{name: {}, namespace: default}}, spec: {{{}, template: "
                  "{{metadata: {{labels: {{app: {}}}}}, spec: {{{}}}}}}}}}",
                  kind, version, name, spec, name, pod));
}

// What scheduler and kubelets do, as far as these controllers see it.
class kubelets {
 public:
  explicit kubelets(control_world& c) : c_(c) {}

  // `ends`: pods end well once they have run.
  void turn(bool ends = false) {
    for (auto& [key, pod] : c_.all(pod_prefix)) {
      std::string name(pod["metadata"]["name"].as_string());
      auto phase = pod["status"]["phase"].as_string();
      if (!pod["metadata"]["deletionTimestamp"].is_null()) {
        c_.remove(pods, "default", name, {.grace_seconds = 0});
      } else if (phase == "Pending" || (ends && phase == "Running")) {
        if (pod["spec"]["nodeName"].is_null()) bind(pod);
        c_.set_status(pods, "default", name, [&, ended = phase == "Running"](json::value& p) {
          auto& status = p.member("status");
          status.set("phase", ended ? "Succeeded" : "Running");
          status.set("conditions", json::array{json::object{{"type", "Ready"}, {"status", ended ? "False" : "True"}}});
          auto ip = fmt::format("10.1.0.{}", ++addresses_ % 250 + 1);
          if (status["podIPs"].empty())
            status.set("podIP", ip), status.set("podIPs", json::array{json::object{{"ip", ip}}});
        });
      }
    }
  }
  // Until it holds, a turn each 200 ms.
  bool until(const std::function<bool()>& done, bool ends = false, duration limit = 10min) {
    for (auto end = c_.w.now() + limit; c_.w.now() < end;) {
      turn(ends);
      if (c_.until(done, 200ms)) return true;
    }
    return false;
  }

 private:
  void bind(const json::value& pod) {
    auto& m = pod["metadata"];
    auto& fields = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                      ["nodeSelectorTerms"][0]["matchFields"];
    std::string node(fields.empty() ? "a" : fields[0]["values"][0].as_string());
    CHECK(c_.act([&](api::objects& o) -> task<std::string> {
      auto done = co_await o.bind(std::string(m["namespace"].as_string()), std::string(m["name"].as_string()),
                                  std::string(m["uid"].as_string()), node);
      co_return done || done.error().code == 409 || done.error().code == 404 ? "" : done.error().message;
    }) == "");
  }
  control_world& c_;
  int addresses_ = 0;
};

std::size_t running(const control_world& c, std::string_view image = "i") {
  std::size_t n = 0;
  for (auto& [_, p] : c.all(pod_prefix))
    n += p["metadata"]["deletionTimestamp"].is_null() && p["status"]["phase"].as_string() == "Running" &&
         p["spec"]["containers"][0]["image"].as_string() == image;
  return n;
}
std::size_t living(const control_world& c) {
  std::size_t n = 0;
  for (auto& [_, p] : c.all(pod_prefix)) n += p["metadata"]["deletionTimestamp"].is_null();
  return n;
}
void use_image(json::value& o, std::string_view image) {
  o.member("spec").member("template").member("spec").member("containers").make_array()[0].set("image", image);
}

}  // namespace

TEST_CASE("replicaset-controller, replicationcontroller-controller: replicas converge, and stay") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"replicaset", "replicationcontroller"}});
    kubelets k(c);
    c.crash_between_writes(0.05);
    c.create(replica_sets, workload("ReplicaSet", "web", "replicas: 9, selector: {matchLabels: {app: web}}"));
    c.create(replication_controllers, workload("ReplicationController", "old", "replicas: 4, selector: {app: old}"));
    CHECK(k.until([&] { return running(c) == 13; }));
    c.change(replica_sets, "default", "web", [](json::value& v) { v.member("spec").set("replicas", 2); });
    CHECK(k.until([&] { return running(c) == 6 && c.count(pod_prefix) == 6; }));
    c.crash_between_writes(0);
    CHECK(k.until(
        [&] { return c.get("/registry/replicasets/default/web")["status"]["readyReplicas"].as_integer() == 2; }));
    c.run_for(1min);
    CHECK(c.count(pod_prefix) == 6);
    CHECK(c.get("/registry/controllers/default/old")["status"]["readyReplicas"].as_integer() == 4);
  }
}

TEST_CASE("deployment-controller: a rollout ends, keeps enough pods, and makes each set once") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"deployment", "replicaset"}});
    kubelets k(c);
    c.create(deployments, workload("Deployment", "web",
                                   "replicas: 6, selector: {matchLabels: {app: web}}, strategy: {type: RollingUpdate, "
                                   "rollingUpdate: {maxSurge: 2, maxUnavailable: 1}}"));
    CHECK(k.until([&] { return running(c) == 6; }));
    c.crash_between_writes(0.05);
    c.change(deployments, "default", "web", [](json::value& v) { use_image(v, "j"); });
    std::size_t least = 6;
    CHECK(k.until([&] {
      least = std::min(least, running(c) + running(c, "j"));
      return running(c, "j") == 6 && c.count(pod_prefix) == 6;
    }));
    CHECK(least >= 5);
    c.crash_between_writes(0);
    CHECK(k.until(
        [&] { return c.get("/registry/deployments/default/web")["status"]["availableReplicas"].as_integer() == 6; }));
    CHECK(c.count("/registry/replicasets/default/") == 2);
    c.run_for(1min);
    CHECK(running(c, "j") == 6);
  }
}

TEST_CASE("statefulset-controller: an identity is had by one pod at a time, and the order is kept") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"statefulset"}});
    kubelets k(c);
    c.crash_between_writes(0.05);
    c.create(stateful_sets,
             workload("StatefulSet", "db", "replicas: 4, serviceName: db, selector: {matchLabels: {app: db}}"));
    bool ordered = true;
    CHECK(k.until([&] {
      for (int i = 1; i < 4; ++i)
        if (c.exists(fmt::format("{}db-{}", pod_prefix, i)) && !c.exists(fmt::format("{}db-{}", pod_prefix, i - 1)))
          ordered = false;
      return running(c) == 4;
    }));
    CHECK(ordered);
    c.change(stateful_sets, "default", "db", [](json::value& v) { use_image(v, "j"); });
    CHECK(k.until([&] { return running(c, "j") == 4; }));
    CHECK(c.count("/registry/controllerrevisions/default/") == 2);
    c.change(stateful_sets, "default", "db", [](json::value& v) { v.member("spec").set("replicas", 1); });
    CHECK(k.until([&] { return c.count(pod_prefix) == 1 && c.exists(std::string(pod_prefix) + "db-0"); }));
    c.crash_between_writes(0);
    CHECK(k.until(
        [&] { return c.get("/registry/statefulsets/default/db")["status"]["readyReplicas"].as_integer() == 1; }));
  }
}

TEST_CASE("daemonset-controller: each node has one, and only while it fits") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"daemonset"}});
    kubelets k(c);
    auto node = [&](int i) {
      c.create(nodes, yaml(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: n{}}}}}", i)));
      c.change(nodes, "", fmt::format("n{}", i),
               [](json::value& v) { v.member("spec").erase("taints"); });  // it is ready
    };
    for (int i = 0; i < 5; ++i) node(i);
    c.crash_between_writes(0.05);
    c.create(daemon_sets, workload("DaemonSet", "agent", "selector: {matchLabels: {app: agent}}"));
    auto each_has_one = [&](std::size_t n) {
      std::map<std::string, int> on;
      for (auto& [_, p] : c.all(pod_prefix))
        if (p["status"]["phase"].as_string() == "Running") ++on[std::string(p["spec"]["nodeName"].as_string())];
      return on.size() == n && living(c) == n && std::ranges::all_of(on, [](auto& x) { return x.second == 1; });
    };
    CHECK(k.until([&] { return each_has_one(5); }));
    node(5);
    CHECK(k.until([&] { return each_has_one(6); }));
    c.change(nodes, "", "n0",
             [](json::value& v) { v.member("spec").set("taints", yaml("[{key: k, effect: NoExecute}]")); });
    CHECK(k.until([&] { return each_has_one(5); }));
    c.change(daemon_sets, "default", "agent", [](json::value& v) { use_image(v, "j"); });
    CHECK(k.until([&] { return running(c, "j") == 5 && living(c) == 5; }));
  }
}

TEST_CASE("job-controller, ttl-after-finished-controller: each pod is counted once, and the Job goes in the end") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"job", "ttl-after-finished", "garbagecollector"}});
    kubelets k(c);
    c.crash_between_writes(0.05);
    c.create(jobs, workload("Job", "work", "completions: 7, parallelism: 3, ttlSecondsAfterFinished: 300",
                            "restartPolicy: Never, containers: [{name: c, image: i}]"));
    c.create(jobs, workload("Job", "numbered", "completions: 5, parallelism: 5, completionMode: Indexed",
                            "restartPolicy: Never, containers: [{name: c, image: i}]"));
    std::set<std::string> ended;
    auto status = [&](const char* name) { return c.get(fmt::format("/registry/jobs/default/{}", name))["status"]; };
    auto complete = [&](const json::value& s) {
      for (std::size_t i = 0; i < s["conditions"].size(); ++i)
        if (s["conditions"][i]["type"].as_string() == "Complete") return true;
      return false;
    };
    CHECK(k.until(
        [&] {
          for (auto& [_, p] : c.all(pod_prefix))
            if (p["metadata"]["labels"]["app"].as_string() == "work" && p["status"]["phase"].as_string() == "Succeeded")
              ended.emplace(p["metadata"]["uid"].as_string());
          return complete(status("work")) && complete(status("numbered"));
        },
        true));
    CHECK(status("work")["succeeded"].as_integer() == static_cast<std::int64_t>(ended.size()));
    CHECK(status("work")["failed"].as_integer() == 0);
    CHECK(status("numbered")["completedIndexes"].as_string() == "0-4");
    c.crash_between_writes(0);
    CHECK(c.until([&] {
      for (auto& [_, p] : c.all(pod_prefix))
        if (!p["metadata"]["finalizers"].empty()) return false;
      return true;
    }));
    CHECK(c.until([&] { return !c.exists("/registry/jobs/default/work"); }, 10min));
  }
}

TEST_CASE("cronjob-controller: one Job at each time, whoever leads") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"cronjob"}});
    c.crash_between_writes(0.05);
    c.create(
        cron_jobs,
        yaml("{kind: CronJob, apiVersion: batch/v1, metadata: {name: tick, namespace: default}, spec: {schedule: '*/2 "
             "* * * *', concurrencyPolicy: Allow, "
             "jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}}"));
    c.run_for(20min + 30s);
    auto made = c.count("/registry/jobs/default/");
    CHECK((made == 10 || made == 11));
    c.crash_between_writes(0);
    CHECK(c.until([&] { return c.get("/registry/cronjobs/default/tick")["status"]["active"].size() >= made; }));
  }
}

TEST_CASE("endpoints-controller, endpointslice-mirroring-controller: the addresses of those that serve, each once") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"endpoint", "endpointslicemirroring", "replicaset"}});
    kubelets k(c);
    c.crash_between_writes(0.05);
    c.create(services, yaml("{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: "
                            "{selector: {app: web}, clusterIP: None, ports: [{port: 80}]}}"));
    c.create(services, yaml("{kind: Service, apiVersion: v1, metadata: {name: own, namespace: default}, spec: "
                            "{clusterIP: None, ports: [{port: 80}]}}"));
    c.create({"", "v1", "endpoints"}, yaml("{kind: Endpoints, apiVersion: v1, metadata: {name: own, namespace: "
                                           "default}, subsets: [{addresses: [{ip: 10.9.9.9}], ports: [{port: 80}]}]}"));
    c.create(replica_sets, workload("ReplicaSet", "web", "replicas: 6, selector: {matchLabels: {app: web}}"));
    auto addresses = [&] {
      return c.get("/registry/services/endpoints/default/web")["subsets"][0]["addresses"].size();
    };
    CHECK(k.until([&] { return addresses() == 6; }));
    c.change(replica_sets, "default", "web", [](json::value& v) { v.member("spec").set("replicas", 2); });
    CHECK(k.until([&] { return addresses() == 2; }));
    c.crash_between_writes(0);
    CHECK(c.until([&] { return c.count("/registry/endpointslices/default/own-") == 1; }));
    c.remove({"", "v1", "endpoints"}, "default", "own");
    CHECK(c.until([&] { return c.count("/registry/endpointslices/default/own-") == 0; }));
  }
}

TEST_CASE("endpointslice-controller: a slice has each pod that serves, once") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"endpointslice", "replicaset"}});
    kubelets k(c);
    c.create(nodes, yaml("{kind: Node, apiVersion: v1, metadata: {name: a}}"));
    c.crash_between_writes(0.05);
    c.create(services, yaml("{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: "
                            "{selector: {app: web}, clusterIP: None, ports: [{port: 80}]}}"));
    c.create(replica_sets, workload("ReplicaSet", "web", "replicas: 8, selector: {matchLabels: {app: web}}"));
    auto serves = [&](std::size_t n) {
      std::set<std::string> uids;
      std::size_t all = 0;
      for (auto& [_, slice] : c.all("/registry/endpointslices/default/"))
        for (std::size_t i = 0; i < slice["endpoints"].size(); ++i)
          if (slice["endpoints"][i]["conditions"]["ready"].as_bool())
            ++all, uids.emplace(slice["endpoints"][i]["targetRef"]["uid"].as_string());
      return uids.size() == n && all == n;
    };
    CHECK(k.until([&] { return serves(8); }));
    c.change(replica_sets, "default", "web", [](json::value& v) { v.member("spec").set("replicas", 3); });
    CHECK(k.until([&] { return serves(3) && living(c) == 3; }));
  }
}

TEST_CASE("horizontal-pod-autoscaler-controller: a target comes into its bounds, and is scaled by what is measured") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"horizontalpodautoscaling"}});
    c.crash_between_writes(0.05);
    c.create(deployments, workload("Deployment", "web", "replicas: 1, selector: {matchLabels: {app: web}}"));
    c.create({"autoscaling", "v2", "horizontalpodautoscalers"},
             yaml("{kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, metadata: {name: web, namespace: "
                  "default}, spec: {minReplicas: 3, maxReplicas: 5, "
                  "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}"));
    auto replicas = [&] { return c.get("/registry/deployments/default/web")["spec"]["replicas"].as_integer(); };
    CHECK(c.until([&] { return replicas() == 3; }));
    c.change(deployments, "default", "web", [](json::value& v) { v.member("spec").set("replicas", 9); });
    CHECK(c.until([&] { return replicas() == 5; }));
    c.run_for(2min);
    CHECK(replicas() == 5);
  }
}
