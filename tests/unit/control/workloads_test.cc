// What the controllers of workloads plan, from what they see.
#include <algorithm>
#include <utility>

#include "at_work.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "control/endpoints/subsets.h"
#include "control/finalizers.h"
#include "control/owners.h"
#include "control/workloads/history.h"
#include "control/workloads/indexes.h"
#include "control/workloads/job_policy.h"
#include "control/workloads/replicas.h"
#include "control/workloads/rollout.h"

using namespace kedge;
using namespace kedge::control;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view pod_spec = "{containers: [{name: c, image: i}], terminationGracePeriodSeconds: 30}";

json::value workload(std::string_view kind, std::string_view name, std::string_view spec, std::string_view more = "") {
  return yaml(fmt::format(
      "{{kind: {}, apiVersion: {}, metadata: {{name: {}, namespace: default, generation: 1{}}}, spec: {{{}, "
      "template: {{metadata: {{labels: {{app: {}}}}}, spec: {}}}}}}}",
      kind,
      kind == "Job"                     ? "batch/v1"
      : kind == "ReplicationController" ? "v1"
                                        : "apps/v1",
      name, more, spec, name, pod_spec));
}

// A pod of the owner, running and ready unless `status` says otherwise.
json::value pod_of(const json::value& owner, std::string_view name, std::string_view labels,
                   std::string_view status = "phase: Running, conditions: [{type: Ready, status: 'True'}]") {
  auto pod =
      yaml(fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: {}, namespace: default, labels: {{{}}}}}, spec: "
                       "{{nodeName: a, containers: [{{name: c, image: i}}]}}, status: {{{}}}}}",
                       name, labels, status));
  if (owner.is_object()) {
    auto uid = owner["metadata"]["uid"].as_string();
    pod.member("metadata")
        .set("ownerReferences",
             json::array{json::object{
                 {"apiVersion", owner["apiVersion"]},
                 {"kind", owner["kind"]},
                 {"name", owner["metadata"]["name"]},
                 {"uid", uid.empty() ? "uid-" + std::string(owner["metadata"]["name"].as_string()) : std::string(uid)},
                 {"controller", true}}});
  }
  return pod;
}

json::value status_of(const plan& p) {
  for (auto& s : p.steps)
    for (auto& c : s.changes)
      if (c.subresource == "status") return c.object["status"];
  return {};
}

std::size_t creations(const plan& p, std::string_view plural) {
  std::size_t n = 0;
  for (auto& s : p.steps)
    for (auto& c : s.changes) n += c.kind == change::what::create && c.resource.plural == plural;
  return n;
}
std::vector<std::string> removals(const plan& p) {
  std::vector<std::string> out;
  for (auto& s : p.steps)
    for (auto& c : s.changes)
      if (c.kind == change::what::remove) out.push_back(c.name);
  std::ranges::sort(out);
  return out;
}

}  // namespace

TEST_CASE("replicaset-controller: as many pods as are asked for, and each once") {
  at_work w("replicaset");
  auto set = workload("ReplicaSet", "web", "replicas: 3, selector: {matchLabels: {app: web}}");
  w.put(set);
  w.put(pod_of(set, "p1", "app: web"));
  w.put(pod_of({}, "orphan", "app: web"));
  w.put(pod_of({}, "other", "app: other"));
  CHECK(w.named() == text{"default/web", "orphan:default/orphan", "orphan:default/other"});
  CHECK(lines(w.look("default/web", at())) == text{"update pods default/orphan", "again 0s"});
  CHECK(w.work("orphan:default/orphan") == "");
  CHECK(w.named() == text{"default/web"});
  CHECK(w.work("default/web") == "");
  auto p = w.look("default/web", at());
  CHECK(creations(p, "pods") == 1);
  CHECK(status_of(p)["replicas"] == json::value(2));
  CHECK(w.work("default/web") == "");
  CHECK(creations(w.look("default/web", at()), "pods") == 0);
  set.member("spec").set("replicas", 0);
  w.put(set);
  CHECK(removals(w.look("default/web", at())).size() == 3);
  set.member("metadata").set("deletionTimestamp", "2026-01-01T00:00:00Z");
  w.put(set);
  CHECK(removals(w.look("default/web", at())).empty());
}

TEST_CASE("replicaset-controller: who goes first") {
  std::vector<json::value> pods{
      pod_of({}, "well", ""), pod_of({}, "unready", "", "phase: Running, conditions: [{type: Ready, status: 'False'}]"),
      pod_of({}, "pending", "", "phase: Pending"), pod_of({}, "unplaced", "", "phase: Pending"),
      pod_of({}, "cheap", "")};
  pods[3].member("spec").erase("nodeName");
  pods[4].member("metadata").set("annotations", yaml("{controller.kubernetes.io/pod-deletion-cost: '-1'}"));
  std::vector<const json::value*> all;
  for (auto& p : pods) all.push_back(&p);
  text order;
  for (std::size_t n = 1; n < all.size(); ++n)
    order.emplace_back(name_of(*to_delete(all, {}, n, *parse_rfc3339("2026-01-01T12:00:00Z")).back()));
  CHECK(order == text{"unplaced", "pending", "unready", "cheap"});
}

TEST_CASE("replicationcontroller-controller: pods by a map of labels, and a refusal is told") {
  at_work w("replicationcontroller");
  auto rc = workload("ReplicationController", "web", "replicas: 2, selector: {app: web}");
  w.put(rc);
  w.put(pod_of(rc, "p1", "app: web"));
  CHECK(creations(w.look("default/web", at()), "pods") == 1);
  api::status refused{.code = 403, .reason = "Forbidden", .message = "no more"};
  auto m = at();
  m.refused = &refused;
  auto p = w.look("default/web", m);
  CHECK(creations(p, "pods") == 0);
  CHECK(status_of(p)["conditions"][0]["reason"].as_string() == "FailedCreate");
  CHECK(status_of(p)["conditions"][0]["message"].as_string() == "no more");
}

TEST_CASE("deployment-controller: surge, percentages, proportions") {
  auto limits = [](std::string_view spec) { return limits_of(yaml(fmt::format("{{spec: {{{}}}}}", spec))); };
  auto l = limits("replicas: 10, strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}");
  CHECK(l.surge == 3);
  CHECK(l.unavailable == 2);
  CHECK(limits("replicas: 3, strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 0, maxUnavailable: 1%}}")
            .unavailable == 1);
  CHECK(limits("replicas: 3, strategy: {type: Recreate}").surge == 0);
  rollout_set old{.uid = "o", .name = "o", .replicas = 10, .available = 10}, fresh{.uid = "n", .name = "n"};
  CHECK(new_set_replicas(l, {old, fresh}, 0) == 3);
  CHECK(old_set_replicas(l, {old}, {.replicas = 3}) == std::vector<std::int64_t>{8});
  // What doesn't work goes before what does.
  rollout_set broken{.uid = "b", .created = "2", .name = "b", .replicas = 2};
  CHECK(old_set_replicas(l, {old, broken}, {.replicas = 1}) == std::vector<std::int64_t>{8, 0});
}

TEST_CASE("deployment-controller: a set for the template, its revision, and nothing twice") {
  at_work w("deployment");
  w.put(workload(
      "Deployment", "web",
      "replicas: 2, progressDeadlineSeconds: 600, revisionHistoryLimit: 10, selector: {matchLabels: {app: web}}, "
      "strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"));
  CHECK(w.named() == text{"default/web"});
  CHECK(creations(w.look("default/web", at()), "replicasets") == 1);
  CHECK(w.work("default/web") == "");
  auto sets = w.keys_under("/registry/replicasets/default/");
  REQUIRE(sets.size() == 1);
  auto set = w.get("/registry/replicasets/default/" + sets[0]);
  CHECK(set["spec"]["replicas"] == json::value(2));
  CHECK(set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_string() == "1");
  CHECK(creations(w.look("default/web", at()), "replicasets") == 0);
  // Another template is another set, made with the surge only.
  auto d = w.get("/registry/deployments/default/web");
  d.member("spec").member("template").member("spec").set("containers", yaml("[{name: c, image: j}]"));
  w.put(d);
  CHECK(w.work("default/web") == "");
  CHECK(w.keys_under("/registry/replicasets/default/").size() == 2);
}

TEST_CASE("statefulset-controller: one after the other, the last first") {
  at_work w("statefulset");
  auto set = workload("StatefulSet", "db",
                      "replicas: 3, serviceName: db, podManagementPolicy: OrderedReady, revisionHistoryLimit: 10, "
                      "selector: {matchLabels: {app: db}}, "
                      "updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}");
  w.create(set);
  CHECK(w.work("default/db") == "");
  CHECK(w.keys_under("/registry/pods/default/") == text{"db-0"});
  auto revisions = w.keys_under("/registry/controllerrevisions/default/");
  REQUIRE(revisions.size() == 1);
  CHECK(w.work("default/db") == "");
  CHECK(w.keys_under("/registry/pods/default/") == text{"db-0"});  // it waits until the first is ready
  auto ready = [&](std::string_view name) {
    auto pod = w.get(fmt::format("/registry/pods/default/{}", name));
    pod.set("status", yaml("{phase: Running, conditions: [{type: Ready, status: 'True'}]}"));
    w.put(pod);
  };
  for (auto name : {"db-0", "db-1", "db-2"}) {
    ready(name);
    CHECK(w.work("default/db") == "");
  }
  CHECK(w.keys_under("/registry/pods/default/") == text{"db-0", "db-1", "db-2"});
  auto pod = w.get("/registry/pods/default/db-1");
  CHECK(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"].as_string() == "1");
  CHECK(pod["spec"]["hostname"].as_string() == "db-1");
  CHECK(pod["metadata"]["labels"][revision_hash_label].as_string() == revisions[0]);
  set = w.get("/registry/statefulsets/default/db");
  set.member("spec").member("template").member("spec").set("containers", yaml("[{name: c, image: j}]"));
  w.put(set);
  CHECK(removals(w.look("default/db", at())) == text{"db-2"});
  set.member("spec").set("replicas", 1);
  w.put(set);
  CHECK(removals(w.look("default/db", at())) == text{"db-2"});
  set.member("spec").set("podManagementPolicy", "Parallel");
  w.put(set);
  CHECK(removals(w.look("default/db", at())) == text{"db-0", "db-1", "db-2"});
}

TEST_CASE("statefulset-controller: claims are there before the pod, and their owners follow the policy") {
  at_work w("statefulset");
  auto set = workload(
      "StatefulSet", "db",
      "replicas: 1, serviceName: db, selector: {matchLabels: {app: db}}, updateStrategy: {type: RollingUpdate}, "
      "persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}, "
      "volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: "
      "{storage: 1Gi}}}}]");
  w.create(set);
  CHECK(w.work("default/db") == "");
  CHECK(w.work("default/db") == "");
  auto claim = w.get("/registry/persistentvolumeclaims/default/data-db-0");
  CHECK(claim["metadata"]["ownerReferences"][0]["kind"].as_string() == "StatefulSet");
  CHECK(w.get("/registry/pods/default/db-0")["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"].as_string() ==
        "data-db-0");
  set = w.get("/registry/statefulsets/default/db");
  set.member("spec").set("replicas", 0);
  w.put(set);
  CHECK(w.work("default/db") == "");
  claim = w.get("/registry/persistentvolumeclaims/default/data-db-0");
  REQUIRE(claim["metadata"]["ownerReferences"].size() == 1);
  CHECK(claim["metadata"]["ownerReferences"][0]["kind"].as_string() == "Pod");
}

TEST_CASE("daemonset-controller: one on each node that fits, and none elsewhere") {
  at_work w("daemonset");
  auto node = [&](std::string_view name, std::string_view more = "") {
    w.put(fmt::format("{{kind: Node, apiVersion: v1, metadata: {{name: {}}}, spec: {{{}}}}}", name, more));
  };
  node("a");
  node("b");
  node("tainted", "taints: [{key: k, effect: NoSchedule}]");
  node("cordoned", "taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]");
  auto set = workload("DaemonSet", "agent",
                      "revisionHistoryLimit: 10, selector: {matchLabels: {app: agent}}, updateStrategy: {type: "
                      "RollingUpdate, rollingUpdate: {maxUnavailable: 1}}");
  w.put(set);
  w.named();
  CHECK(creations(w.look("default/agent", at()), "pods") == 3);
  CHECK(w.work("default/agent") == "");
  // kubectl compares its bytes with what Go makes of the template: members in the order of their names.
  auto revisions = w.keys_under("/registry/controllerrevisions/default/");
  REQUIRE(revisions.size() == 1);
  auto data = w.get("/registry/controllerrevisions/default/" + revisions[0])["data"];
  auto in_order = [](auto& self, const json::value& v) -> bool {
    std::string_view last;
    if (auto* members = v.object())
      for (auto& [name, member] : *members)
        if (name <= std::exchange(last, name) || !self(self, member)) return false;
    if (auto* list = v.array()) return std::ranges::all_of(*list, [&](auto& e) { return self(self, e); });
    return true;
  };
  CHECK(data["spec"]["template"]["$patch"].as_string() == "replace");
  CHECK(in_order(in_order, data));
  auto p = w.look("default/agent", at());
  CHECK(creations(p, "pods") == 0);
  CHECK(status_of(p)["desiredNumberScheduled"] == json::value(3));
  node("tainted");
  CHECK(w.named() == text{"node:tainted"});
  CHECK(w.work("node:tainted") == "");
  CHECK(w.named() == text{"default/agent"});
  CHECK(creations(w.look("default/agent", at()), "pods") == 1);
  node("b", "taints: [{key: k, effect: NoExecute}]");
  CHECK(removals(w.look("default/agent", at())).size() == 1);
}

TEST_CASE("job-controller: each pod is counted once, whoever stops in between") {
  at_work w("job");
  auto job = workload("Job", "work",
                      "completions: 2, parallelism: 2, backoffLimit: 6, completionMode: NonIndexed, selector: "
                      "{matchLabels: {app: work}}");
  w.put(job);
  CHECK(creations(w.look("default/work", at()), "pods") == 2);
  for (auto name : {"p1", "p2"}) {
    auto pod = pod_of(job, name, "app: work", "phase: Succeeded");
    pod.member("metadata").set("finalizers", yaml("[batch.kubernetes.io/job-tracking]"));
    w.put(pod);
  }
  auto p = w.look("default/work", at());
  // First the status has their uids, then they lose the finalizer.
  REQUIRE(p.steps.size() == 2);
  CHECK(p.steps[0].changes[0].subresource == "status");
  CHECK(status_of(p)["uncountedTerminatedPods"]["succeeded"] == yaml("[uid-p1, uid-p2]"));
  CHECK(counted(status_of(p)["succeeded"]) == 0);
  // As if the leader stopped right after the status.
  job.set("status", status_of(p));
  w.put(job);
  p = w.look("default/work", at());
  CHECK(p.steps.size() == 1);
  CHECK(p.steps[0].changes.size() == 2);
  auto pod = w.get("/registry/pods/default/p1");
  pod.member("metadata").erase("finalizers");
  w.put(pod);
  p = w.look("default/work", at());
  CHECK(status_of(p)["succeeded"] == json::value(1));
  CHECK(status_of(p)["uncountedTerminatedPods"]["succeeded"] == yaml("[uid-p2]"));
  job.set("status", status_of(p));
  w.put(job);
  w.erase("/registry/pods/default/p1");
  w.erase("/registry/pods/default/p2");
  p = w.look("default/work", at());
  CHECK(status_of(p)["succeeded"] == json::value(2));
  CHECK(condition_status(json::object{{"status", status_of(p)}}, "Complete") == "True");
}

TEST_CASE("job-controller: a pod whose Job is gone keeps no finalizer") {
  at_work w("job");
  auto job =
      workload("Job", "work", "completions: 1, parallelism: 1, backoffLimit: 6, selector: {matchLabels: {app: work}}");
  auto pod = pod_of(job, "p1", "app: work");
  pod.member("metadata").set("finalizers", yaml("[batch.kubernetes.io/job-tracking, example.org/mine]"));
  w.put(pod);
  CHECK(w.work("pod:default/p1") == "");
  CHECK(w.get("/registry/pods/default/p1")["metadata"]["finalizers"] == yaml("[example.org/mine]"));
}

TEST_CASE("job-controller: sets of indexes") {
  auto read = [](std::string_view text) { return index_set::parse(text, 100).text(); };
  CHECK(read("1,3-5,7") == "1,3-5,7");
  CHECK(read("1,2,3,4") == "1-4");
  CHECK(read("98-200") == "98,99");
  CHECK(read("x,5-,7") == "7");
  auto s = index_set::parse("0-2,5", 10);
  CHECK(s.missing(10, 3) == std::vector<std::int64_t>{3, 4, 6});
  CHECK(s.in_common(index_set::parse("2-5", 10)) == 2);
  s.add(3), s.add(4);
  CHECK(s.text() == "0-5");
  CHECK((s.has(5) && !s.has(6)));
}

TEST_CASE("job-controller: the next try waits longer and longer") {
  auto t = *parse_rfc3339("2026-01-01T12:00:00Z");
  CHECK(wait_after(0, t, t) == 0s);
  CHECK(wait_after(1, t, t) == 10s);
  CHECK(wait_after(3, t, t + 5s) == 35s);
  CHECK(wait_after(30, t, t) == 10min);
  CHECK(wait_after(2, t, t + 1h) == 0s);
}

TEST_CASE("job-controller: which failures count") {
  auto job = yaml(
      "{spec: {podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "
      "'True'}]}, "
      "{action: FailIndex, onExitCodes: {operator: In, values: [3]}}, {action: FailJob, onExitCodes: {containerName: "
      "c, operator: NotIn, values: [1, 2]}}]}}}");
  auto failed = [](std::string_view code, std::string_view more = "") {
    return yaml(
        fmt::format("{{metadata: {{name: p, namespace: default}}, status: {{phase: Failed, containerStatuses: [{{name: "
                    "c, state: {{terminated: {{exitCode: {}}}}}}}]{}}}}}",
                    code, more));
  };
  CHECK(!judge_failure(job, failed("1", ", conditions: [{type: DisruptionTarget, status: 'True'}]")).counts);
  CHECK(judge_failure(job, failed("3")).fails_index);
  CHECK(!judge_failure(job, failed("1")).fails_job);
  CHECK(judge_failure(job, failed("42")).fails_job ==
        "Container c for pod default/p failed with exit code 42 matching FailJob rule at index 2");
}

TEST_CASE("cronjob-controller: a Job at its time, by its name") {
  at_work w("cronjob");
  auto cron = yaml(
      "{kind: CronJob, apiVersion: batch/v1, metadata: {name: tick, namespace: default, creationTimestamp: "
      "'2026-01-01T11:59:30Z'}, spec: {schedule: '* * * * *', concurrencyPolicy: Forbid, "
      "successfulJobsHistoryLimit: 1, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: "
      "c, image: i}]}}}}}}");
  w.put(cron);
  CHECK(lines(w.look("default/tick", at("2026-01-01T11:59:40Z"))) == text{"again 20.1s"});
  auto p = w.look("default/tick", at("2026-01-01T12:00:01Z"));
  CHECK(lines(p)[0] == "create jobs default/tick-29454480");
  auto job = yaml(
      "{kind: Job, apiVersion: batch/v1, metadata: {name: tick-29454480, namespace: default, annotations: "
      "{batch.kubernetes.io/cronjob-scheduled-timestamp: '2026-01-01T12:00:00Z'}, "
      "ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: tick, uid: uid-tick, controller: true}]}, spec: "
      "{}}");
  w.put(job);
  p = w.look("default/tick", at("2026-01-01T12:00:01Z"));
  CHECK(creations(p, "jobs") == 0);
  CHECK(status_of(p)["lastScheduleTime"].as_string() == "2026-01-01T12:00:00Z");
  REQUIRE(status_of(p)["active"].size() == 1);
  cron.set("status", status_of(p));
  w.put(cron);
  p = w.look("default/tick", at("2026-01-01T12:01:01Z"));
  CHECK(creations(p, "jobs") == 0);
  CHECK(p.notices.at(0).reason == "JobAlreadyActive");
  job.set("status", yaml("{completionTime: '2026-01-01T12:01:30Z', conditions: [{type: Complete, status: 'True'}]}"));
  w.put(job);
  p = w.look("default/tick", at("2026-01-01T12:01:40Z"));
  CHECK(creations(p, "jobs") == 1);  // late, and not too late
  CHECK(status_of(p)["active"].is_null());
  CHECK(status_of(p)["lastSuccessfulTime"].as_string() == "2026-01-01T12:01:30Z");
}

TEST_CASE("ttl-after-finished-controller: a Job goes so long after its end") {
  at_work w("ttl-after-finished");
  auto job = workload("Job", "work", "ttlSecondsAfterFinished: 60");
  w.put(job);
  CHECK(w.named().empty());
  job.set("status", yaml("{conditions: [{type: Failed, status: 'True', lastTransitionTime: '2026-01-01T12:00:00Z'}]}"));
  w.put(job);
  CHECK(w.named() == text{"default/work"});
  CHECK(lines(w.look("default/work", at("2026-01-01T12:00:10Z"))) == text{"again 50s"});
  CHECK(removals(w.look("default/work", at("2026-01-01T12:01:00Z"))) == text{"work"});
}

TEST_CASE("endpointslice-controller: who serves, and how well") {
  at_work w("endpointslice");
  w.put("{kind: Node, apiVersion: v1, metadata: {name: a, labels: {topology.kubernetes.io/zone: z}}}");
  w.put(
      "{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: {selector: {app: web}, "
      "clusterIP: 10.43.0.9, ipFamilies: [IPv4], "
      "ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]}}");
  auto pod = [&](std::string_view name, std::string_view ip, std::string_view ready) {
    w.put(pod_of(
        {}, name, "app: web",
        fmt::format("phase: Running, podIPs: [{{ip: {}}}], conditions: [{{type: Ready, status: '{}'}}]", ip, ready)));
  };
  pod("p1", "10.1.0.1", "True");
  pod("p2", "10.1.0.2", "False");
  w.named();
  auto slice = updated(w.look("default/web", at()));
  REQUIRE(slice["endpoints"].size() == 2);
  CHECK(slice["endpoints"][0]["conditions"] == yaml("{ready: true, serving: true, terminating: false}"));
  CHECK(slice["endpoints"][1]["conditions"] == yaml("{ready: false, serving: false, terminating: false}"));
  CHECK(slice["endpoints"][0]["zone"].as_string() == "z");
  CHECK(slice["ports"] == yaml("[{name: http, protocol: TCP, port: 8080}]"));
  CHECK(w.work("default/web") == "");
  CHECK(lines(w.look("default/web", at())).empty());
  // What doesn't concern it names nothing.
  w.named();
  auto other = w.get("/registry/pods/default/p1");
  other.member("metadata").set("annotations", yaml("{a: b}"));
  w.put(other);
  CHECK(w.named().empty());
  pod("p2", "10.1.0.2", "True");
  CHECK(w.named() == text{"default/web"});
  CHECK(updated(w.look("default/web", at()))["endpoints"][1]["conditions"]["ready"] == json::value(true));
}

TEST_CASE("endpointslice-controller: slices are as large, and changes of pods wait as long, as flags say") {
  at_work w("endpointslice", {.max_endpoints_per_slice = 2, .endpointslice_updates_batch_period = 1h});
  w.put("{kind: Node, apiVersion: v1, metadata: {name: a}}");
  w.put(
      "{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: {selector: {app: web}, "
      "clusterIP: 10.43.0.9, ipFamilies: [IPv4], ports: [{port: 80, protocol: TCP}]}}");
  CHECK(w.named() == text{"default/web"});
  for (int i = 1; i <= 5; ++i)
    w.put(pod_of({}, fmt::format("p{}", i), "app: web", fmt::format("phase: Running, podIPs: [{{ip: 10.1.0.{}}}]", i)));
  CHECK(w.named().empty());
  CHECK(w.queue().size() == 1);  // later, once for all
  CHECK(creations(w.look("default/web", at()), "endpointslices") == 3);
}

TEST_CASE("endpoints-controller: who serves, in as few subsets as can be") {
  at_work w("endpoint");
  w.put(
      "{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: {selector: {app: web}, "
      "clusterIP: 10.43.0.9, ipFamilies: [IPv4], "
      "ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}, {name: more, port: 81, protocol: TCP, "
      "targetPort: 81}]}}");
  auto pod = [&](std::string_view name, std::string_view ip, std::string_view ready) {
    w.put(pod_of(
        {}, name, "app: web",
        fmt::format("phase: Running, podIPs: [{{ip: {}}}], conditions: [{{type: Ready, status: '{}'}}]", ip, ready)));
  };
  pod("p1", "10.1.0.1", "True");
  pod("p2", "10.1.0.2", "False");
  CHECK(w.named() == text{"default/web"});
  auto made = updated(w.look("default/web", at()));
  REQUIRE(made["subsets"].size() == 1);
  CHECK(made["subsets"][0]["addresses"][0]["ip"].as_string() == "10.1.0.1");
  CHECK(made["subsets"][0]["notReadyAddresses"][0]["ip"].as_string() == "10.1.0.2");
  CHECK(made["subsets"][0]["ports"].size() == 2);
  CHECK(w.work("default/web") == "");
  CHECK(lines(w.look("default/web", at())).empty());
  w.erase("/registry/services/specs/default/web");
  CHECK(removals(w.look("default/web", at())) == text{"web"});
}

TEST_CASE("endpoints-controller: changes of pods wait as long as the flag says, a Service's don't") {
  at_work w("endpoint", {.endpoint_updates_batch_period = 1h});
  w.put(
      "{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: {selector: {app: web}, "
      "clusterIP: 10.43.0.9, ipFamilies: [IPv4], ports: [{port: 80, protocol: TCP}]}}");
  CHECK(w.named() == text{"default/web"});
  w.put(pod_of({}, "p", "app: web", "phase: Running, podIPs: [{ip: 10.1.0.1}]"));
  CHECK(w.named().empty());
  CHECK(w.queue().size() == 1);
}

TEST_CASE("endpoints-controller: subsets") {
  auto subsets = yaml(
      "[{addresses: [{ip: a}], ports: [{port: 1}]}, {addresses: [{ip: b}], ports: [{port: 1}]}, {notReadyAddresses: "
      "[{ip: a}], ports: [{port: 1}]}, "
      "{addresses: [{ip: b}], ports: [{port: 2}]}]");
  CHECK(json::value(repacked(subsets)) == yaml("[{addresses: [{ip: b}], notReadyAddresses: [{ip: a}], ports: [{port: "
                                               "1}]}, {addresses: [{ip: b}], ports: [{port: 2}]}]"));
  CHECK(json::value(repacked(yaml("[{addresses: [{ip: a}]}]"))) == yaml("[{addresses: [{ip: a}]}]"));
  auto many =
      *yaml("[{addresses: [{ip: a}, {ip: b}], notReadyAddresses: [{ip: c}]}, {addresses: [{ip: d}, {ip: e}]}]").array();
  auto all = many;
  CHECK(!shorten(all, 5));
  CHECK(shorten(all, 4));
  CHECK(all[0]["notReadyAddresses"].is_null());
  CHECK(shorten(many, 2));
  CHECK(json::value(many) == yaml("[{addresses: [{ip: a}]}, {addresses: [{ip: d}]}]"));
}

TEST_CASE("endpointslice-mirroring-controller: what others write is mirrored, and gone with it") {
  at_work w("endpointslicemirroring");
  w.put("{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: {ports: [{port: 80}]}}");
  w.put(
      "{kind: Endpoints, apiVersion: v1, metadata: {name: web, namespace: default, annotations: {a: b}}, subsets: "
      "[{addresses: [{ip: 10.9.9.9}, {ip: 'fd00::1'}], ports: [{port: 80, protocol: TCP}]}]}");
  CHECK(w.named() == text{"default/web"});
  CHECK(creations(w.look("default/web", at()), "endpointslices") == 2);
  CHECK(w.work("default/web") == "");
  CHECK(lines(w.look("default/web", at())).empty());
  w.put(
      "{kind: Endpoints, apiVersion: v1, metadata: {name: web, namespace: default}, subsets: [{addresses: [{ip: "
      "10.9.9.9}], ports: [{port: 80, protocol: TCP}]}]}");
  auto p = w.look("default/web", at());
  CHECK(removals(p).size() == 1);
  w.put(
      "{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: {selector: {app: web}, ports: "
      "[{port: 80}]}}");
  CHECK(removals(w.look("default/web", at())).size() == 2);
}

TEST_CASE("endpointslice-mirroring-controller: no more of a subset is mirrored than the flag says") {
  at_work w("endpointslicemirroring", {.mirroring_max_endpoints_per_subset = 2});
  w.put("{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default}, spec: {ports: [{port: 80}]}}");
  w.put(
      "{kind: Endpoints, apiVersion: v1, metadata: {name: web, namespace: default}, subsets: [{addresses: [{ip: "
      "10.9.9.1}, {ip: 10.9.9.2}, {ip: 10.9.9.3}], ports: [{port: 80, protocol: TCP}]}]}");
  auto p = w.look("default/web", at());
  CHECK(updated(p)["endpoints"].size() == 2);
  CHECK(p.notices.at(0).message ==
        "A max of 2 addresses can be mirrored to EndpointSlices per Endpoints subset. 1 addresses were skipped");
}
