// How many replicas an autoscaler wants, and what it is allowed.
#include "at_work.h"
#include "control/conditions.h"
#include "control/workloads/metrics.h"
#include "control/workloads/scaling.h"

using namespace kedge;
using namespace kedge::control;
using namespace std::chrono_literals;

namespace {

json::value pod(std::string_view name, std::string_view status =
                                           "phase: Running, startTime: '2026-01-01T00:00:00Z', conditions: [{type: "
                                           "Ready, status: 'True', lastTransitionTime: '2026-01-01T00:00:10Z'}]") {
  return yaml(
      fmt::format("{{metadata: {{name: {}}}, spec: {{containers: [{{name: c, resources: {{requests: {{cpu: "
                  "100m}}}}}}]}}, status: {{{}}}}}",
                  name, status));
}

struct table {
  std::vector<json::value> pods;
  usages metrics;
  proposal of(usage_target t, std::int64_t current) const {
    std::vector<const json::value*> all;
    for (auto& p : pods) all.push_back(&p);
    return propose(all, metrics, t, current, {}, {}, at().wall);
  }
};
usages used(std::initializer_list<std::pair<const char*, std::int64_t>> list) {
  usages out;
  for (auto [name, milli] : list) out[name] = {milli, at().wall};
  return out;
}
const usage_target half_of_cpu{.resource = "cpu", .container = {}, .utilization = 50};

}  // namespace

TEST_CASE("horizontal-pod-autoscaler-controller: from usage to replicas") {
  table two{{pod("a"), pod("b")}, used({{"a", 100}, {"b", 80}})};
  auto p = two.of(half_of_cpu, 2);
  CHECK(p.utilization == 90);
  CHECK(p.replicas == 4);
  CHECK(table{two.pods, used({{"a", 52}, {"b", 50}})}.of(half_of_cpu, 2).replicas == 2);  // within the tolerance
  CHECK(table{two.pods, used({{"a", 10}, {"b", 10}})}.of(half_of_cpu, 2).replicas == 1);
  // One without a metric is idle where more are wanted, and busy where fewer are.
  CHECK(table{two.pods, used({{"a", 100}})}.of(half_of_cpu, 2).replicas == 2);
  CHECK(table{two.pods, used({{"a", 10}})}.of(half_of_cpu, 2).replicas == 2);
  // Those that begin don't count yet.
  table beginning{{pod("a"), pod("b", "phase: Pending")}, used({{"a", 200}})};
  CHECK(beginning.of(half_of_cpu, 1).replicas == 4);
  CHECK(table{{}, {}}.of(half_of_cpu, 1).error == "no pods returned by selector while calculating replica count");
  CHECK(table{two.pods, {}}.of(half_of_cpu, 1).error ==
        "did not receive metrics for targeted pods (pods might be unready)");
  auto without = pod("a");
  without.member("spec").member("containers").make_array()[0].erase("resources");
  CHECK(table{{without}, used({{"a", 1}})}.of(half_of_cpu, 1).error ==
        "missing request for cpu in container c of Pod a");
  CHECK(table{two.pods, used({{"a", 300}, {"b", 100}})}
            .of({.resource = "memory", .container = {}, .utilization = {}, .average_milli = 100}, 2)
            .replicas == 4);
}

TEST_CASE(
    "horizontal-pod-autoscaler-controller: without a behavior, twice as many at most, and down only after a while") {
  scale_history h;
  scale_limits l{.least = 1, .most = 100};
  auto t = time_point(1h);
  auto a = allow(h, {}, l, 10, 50, t);
  CHECK(a.replicas == 20);
  CHECK(a.limit_reason == "ScaleUpLimit");
  CHECK(allow(h, {}, l, 1, 3, t).replicas == 4);  // what was wanted a moment ago still counts
  scale_history calm;
  CHECK(allow(calm, {}, l, 10, 8, t).replicas == 8);
  CHECK(allow(calm, {}, l, 8, 2, t + 1min).replicas == 8);
  CHECK(allow(calm, {}, l, 8, 2, t + 1min).able_reason == "ScaleDownStabilized");
  CHECK(allow(calm, {}, l, 8, 2, t + 10min).replicas == 2);
  CHECK(allow(calm, {}, {.least = 3, .most = 5}, 4, 1, t + 30min).limit_reason == "TooFewReplicas");
  CHECK(allow(calm, {}, {.least = 3, .most = 5}, 4, 9, t + 60min).limit_reason == "TooManyReplicas");
}

TEST_CASE("horizontal-pod-autoscaler-controller: a behavior's policies") {
  auto behavior = yaml(
      "{scaleUp: {stabilizationWindowSeconds: 0, selectPolicy: Max, policies: [{type: Pods, value: 4, periodSeconds: "
      "60}, {type: Percent, value: 10, periodSeconds: 60}]}, "
      "scaleDown: {stabilizationWindowSeconds: 0, selectPolicy: Min, policies: [{type: Pods, value: 1, periodSeconds: "
      "60}, {type: Percent, value: 50, periodSeconds: 60}]}}");
  scale_limits l{.least = 1, .most = 100};
  auto t = time_point(1h);
  scale_history h;
  CHECK(allow(h, behavior, l, 10, 50, t).replicas == 14);
  h.scaled(10, 14, behavior, t);
  CHECK(allow(h, behavior, l, 14, 50, t + 30s).replicas == 14);
  CHECK(allow(h, behavior, l, 14, 50, t + 2min).replicas == 18);
  CHECK(allow(h, behavior, l, 10, 1, t + 10min).replicas == 9);
  auto closed = behavior;
  closed.member("scaleDown").set("selectPolicy", "Disabled");
  CHECK(allow(h, closed, l, 10, 1, t + 20min).replicas == 10);
}

TEST_CASE("horizontal-pod-autoscaler-controller: into its bounds without metrics, and what is missing is said") {
  at_work w("horizontalpodautoscaling");
  w.put(
      "{kind: Deployment, apiVersion: apps/v1, metadata: {name: web, namespace: default}, spec: {replicas: 1, "
      "selector: {matchLabels: {app: web}}}, status: {replicas: 1}}");
  auto hpa = [&](int least) {
    w.put(
        fmt::format("{{kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, metadata: {{name: web, namespace: "
                    "default}}, spec: {{minReplicas: {}, maxReplicas: 5, "
                    "scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}, metrics: [{{type: Resource, "
                    "resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}}}]}}}}",
                    least));
  };
  hpa(2);
  auto p = w.look("default/web", at());
  REQUIRE(p.steps.size() == 1);
  REQUIRE(p.steps[0].changes.size() == 2);
  CHECK(p.steps[0].changes[0].subresource == "scale");
  CHECK(p.steps[0].changes[0].object["spec"]["replicas"] == json::value(2));
  CHECK(p.steps[0].changes[0].on_done->message ==
        "New size: 2; reason: Current number of replicas below Spec.MinReplicas");
  hpa(1);
  p = w.look("default/web", at());
  auto next = updated(p);
  CHECK(condition_of(next, "ScalingActive")["reason"].as_string() == "FailedGetResourceMetric");
  CHECK(condition_of(next, "AbleToScale")["status"].as_string() == "True");
  CHECK(p.again == 15s);
}

TEST_CASE("horizontal-pod-autoscaler-controller: a metric that names nothing is told, and ends nothing") {
  for (auto [metric, reason] :
       {std::pair{"{type: Resource}", "FailedGetResourceMetric"},
        {"{type: ContainerResource}", "FailedGetContainerResourceMetric"},
        {"{type: Pods}", "FailedGetPodsMetric"},
        {"{type: Object}", "FailedGetObjectMetric"},
        {"{type: External}", "FailedGetExternalMetric"},
        {"{type: Resource, resource: {name: cpu, target: {type: Utilization}}}", "FailedGetResourceMetric"}}) {
    CAPTURE(metric);
    at_work w("horizontalpodautoscaling");
    w.put(
        "{kind: Deployment, apiVersion: apps/v1, metadata: {name: web, namespace: default}, spec: {replicas: 1, "
        "selector: {matchLabels: {app: web}}}}");
    w.put(
        fmt::format("{{kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, metadata: {{name: web, namespace: "
                    "default}}, spec: {{maxReplicas: 5, "
                    "scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}, metrics: [{}]}}}}",
                    metric));
    auto next = updated(w.look("default/web", at()));
    CHECK(condition_of(next, "ScalingActive")["status"].as_string() == "False");
    CHECK(condition_of(next, "ScalingActive")["reason"].as_string() == reason);
    CHECK(next["status"]["desiredReplicas"].as_integer() == 0);
  }
}

TEST_CASE("horizontal-pod-autoscaler-controller: two that go by the same pods are told so, and scale nothing") {
  at_work w("horizontalpodautoscaling");
  w.put(
      "{kind: Deployment, apiVersion: apps/v1, metadata: {name: web, namespace: default}, spec: {replicas: 2, "
      "selector: {matchLabels: {app: web}}}}");
  w.put("{kind: Pod, apiVersion: v1, metadata: {name: a, namespace: default, labels: {app: web}}, spec: {}}");
  for (auto name : {"one", "two"})
    w.put(
        fmt::format("{{kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, metadata: {{name: {}, namespace: "
                    "default}}, spec: {{maxReplicas: 5, "
                    "scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}, metrics: [{{type: Resource, "
                    "resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}}}]}}}}",
                    name));
  auto reason = [&](const char* key) {
    auto next = updated(w.look(key, at()));
    CHECK(condition_of(next, "ScalingActive")["status"].as_string() == "False");
    return std::string(condition_of(next, "ScalingActive")["reason"].as_string());
  };
  CHECK(w.named() == text{"default/one", "default/two"});
  CHECK(reason("default/one") == "FailedGetResourceMetric");  // nobody knows of the other yet
  CHECK(reason("default/two") == "AmbiguousSelector");
  auto p = w.look("default/one", at());
  CHECK(condition_of(updated(p), "ScalingActive")["message"].as_string() ==
        "pods by selector app=web are controlled by more than one HPA (e.g. [{one default} {two default}])");
  w.erase("/registry/horizontalpodautoscalers/default/two");
  w.named();
  CHECK(reason("default/one") == "FailedGetResourceMetric");
}

TEST_CASE("horizontal-pod-autoscaler-controller: who was scaled to none by hand stays so") {
  for (auto [least, condition, reason] : {std::tuple{0, "'False'", "ScalingDisabled"},
                                          {1, "'False'", "ScalingDisabled"},
                                          {0, "'True'", "FailedGetExternalMetric"},
                                          {1, "'True'", "FailedGetExternalMetric"}}) {
    CAPTURE(least);
    CAPTURE(condition);
    at_work w("horizontalpodautoscaling");
    w.put(
        "{kind: Deployment, apiVersion: apps/v1, metadata: {name: web, namespace: default}, spec: {replicas: 0, "
        "selector: {matchLabels: {app: web}}}}");
    w.put(fmt::format(
        "{{kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, metadata: {{name: web, namespace: default}}, "
        "spec: {{minReplicas: {}, maxReplicas: 5, scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: "
        "web}}, "
        "metrics: [{{type: External, external: {{metric: {{name: waiting}}, target: {{type: Value, value: "
        "'3'}}}}}}]}}, "
        "status: {{conditions: [{{type: ScaledToZero, status: {}}}]}}}}",
        least, condition));
    auto next = updated(w.look("default/web", at()));
    CHECK(condition_of(next, "ScalingActive")["reason"].as_string() == reason);
  }
}

TEST_CASE("horizontal-pod-autoscaler-controller: absurd amounts are as many as there can be, or as few") {
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  table two{{pod("a"), pod("b")}, used({{"a", most}, {"b", most}})};
  CHECK(two.of(half_of_cpu, 2).replicas > 1'000'000);
  CHECK(two.of({.resource = "memory", .container = {}, .utilization = {}, .average_milli = 1}, 2).replicas ==
        std::numeric_limits<std::int32_t>::max());
  CHECK(table{two.pods, used({{"a", -most}, {"b", -1}})}.of(half_of_cpu, 2).replicas == 0);
}

TEST_CASE("horizontal-pod-autoscaler-controller: what its pods use is asked of the API, as any client does") {
  result<api::raw_answer> answer = api::raw_answer{200, R"({"kind":"PodMetricsList","items":[
    {"metadata":{"name":"a"},"timestamp":"2026-01-01T00:10:00Z","window":"30s","containers":[{"name":"c","usage":{"cpu":"100m","memory":"1Mi"}}]},
    {"metadata":{"name":"b"},"timestamp":"2026-01-01T00:10:00Z","window":"30s","containers":[{"name":"c","usage":{"cpu":"80m"}}]}]})"};
  std::vector<std::string> asked;
  at_work w("horizontalpodautoscaling", {}, [&](api::user_ref, api::raw_request q) -> task<result<api::raw_answer>> {
    asked.push_back(std::move(q.path));
    co_return answer;
  });
  w.create(
      yaml("{kind: Deployment, apiVersion: apps/v1, metadata: {name: web, namespace: default}, spec: {replicas: 2, "
           "selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: "
           "c, image: i}]}}}}"));
  for (auto name : {"a", "b"}) {
    auto one = pod(name);
    one.set("kind", "Pod");
    one.set("apiVersion", "v1");
    one.member("metadata").set("namespace", "default");
    one.member("metadata").set("labels", yaml("{app: web}"));
    w.put(one);
  }
  w.create(yaml(
      "{kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, metadata: {name: web, namespace: default}, "
      "spec: {maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, metrics: [{type: "
      "Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}}"));
  auto hpa = [&] { return w.get("/registry/horizontalpodautoscalers/default/web"); };
  CHECK(w.work("default/web") == "");
  CHECK(asked == text{"/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Dweb"});
  CHECK(w.get("/registry/deployments/default/web")["spec"]["replicas"] == json::value(4));
  CHECK(hpa()["status"]["currentMetrics"][0]["resource"]["current"] ==
        yaml("{averageUtilization: 90, averageValue: 90m}"));
  CHECK(condition_of(hpa(), "ScalingActive")["reason"].as_string() == "ValidMetricFound");
  auto missing = [&](result<api::raw_answer> a) {
    answer = std::move(a);
    CHECK(w.work("default/web") == "");
    CHECK(condition_of(hpa(), "ScalingActive")["reason"].as_string() == "FailedGetResourceMetric");
    auto message = std::string(condition_of(hpa(), "ScalingActive")["message"].as_string());
    constexpr std::string_view begin =
        "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for "
        "resource cpu: ";
    CHECK(message.starts_with(begin));
    return message.substr(begin.size());
  };
  constexpr auto from = "unable to fetch metrics from resource metrics API: ";
  CHECK(missing(api::raw_answer{404, "404 page not found\n"}) ==
        from + std::string("the server could not find the requested resource (get pods.metrics.k8s.io)"));
  CHECK(missing(api::raw_answer{503, ""}) ==
        from + std::string("the server is currently unable to handle the request (get pods.metrics.k8s.io)"));
  CHECK(missing(api::raw_answer{403, R"({"kind":"Status","message":"not you"})"}) == from + std::string("not you"));
  CHECK(missing(fail(errc::closed, "refused")) == from + std::string("refused"));
  CHECK(missing(api::raw_answer{200, "{"}).starts_with(from));
  CHECK(missing(api::raw_answer{200, R"({"items":[]})"}) == "no metrics returned from resource metrics API");
}

TEST_CASE("horizontal-pod-autoscaler-controller: a pod's use is known when all of its containers tell") {
  auto list = yaml(
      "{items: [{metadata: {name: whole}, containers: [{name: c, usage: {cpu: 100m}}, {name: d, usage: {cpu: '1'}}]}, "
      "{metadata: {name: part}, containers: [{name: c, usage: {cpu: 100m}}, {name: d, usage: {memory: 1Mi}}]}, "
      "{metadata: {name: none}, containers: []}]}");
  auto whole = usages_in(list, "cpu", "");
  REQUIRE(whole.size() == 1);
  CHECK(whole.at("whole").milli == 1100);
  auto one = usages_in(list, "cpu", "c");
  CHECK(one.size() == 2);
  CHECK(one.at("part").milli == 100);
  CHECK(usages_in(list, "cpu", "absent").empty());
}

TEST_CASE("horizontal-pod-autoscaler-controller: from a metric that isn't its pods' to replicas") {
  const auto ready = pod("a"), beginning = pod("b", "phase: Pending");
  const std::vector<const json::value*> both{&ready, &beginning};
  auto in_all = [&](std::int64_t milli, std::int64_t spec) {
    return propose(both, {.milli = milli, .target_milli = 1000}, {spec, spec}, {});
  };
  CHECK(in_all(3000, 2).replicas == 3);  // three times as many as are ready
  CHECK(in_all(1050, 2).replicas == 2);  // within the tolerance
  CHECK(in_all(2500, 0).replicas == 3);  // none runs: one for each target's worth
  CHECK(in_all(0, 0).replicas == 0);
  CHECK(propose({}, {.milli = 3000, .target_milli = 1000}, {2, 2}, {}).error ==
        "unable to calculate ready pods: no pods returned by selector while calculating replica count");
  auto by_pod = [&](std::int64_t milli, std::int64_t status) {
    return propose(both, {.milli = milli, .target_milli = 1000, .by_pod = true}, {status, status}, {});
  };
  CHECK(by_pod(5000, 2).replicas == 5);
  CHECK(by_pod(5001, 2).average_milli == 2501);
  CHECK(by_pod(2100, 2).replicas == 2);
  CHECK(by_pod(2000, 0).replicas == 2);
  CHECK(by_pod(std::numeric_limits<std::int64_t>::max(), 1).replicas == std::numeric_limits<std::int32_t>::max());
  CHECK(by_pod(0, 0).average_milli == std::numeric_limits<std::int64_t>::min());
}

namespace {

// An autoscaler of two pods and one metric; what adapters answer by path, and what was asked.
struct measured {
  std::map<std::string, api::raw_answer, std::less<>> answers;
  std::vector<std::string> asked;
  at_work w;

  explicit measured(std::string_view metric, std::string_view replicas = "2")
      : w("horizontalpodautoscaling", {}, [this](api::user_ref, api::raw_request q) -> task<result<api::raw_answer>> {
          asked.push_back(q.path);
          auto found = answers.find(q.path);
          co_return found == answers.end() ? api::raw_answer{404, "404 page not found\n"} : found->second;
        }) {
    w.create(yaml(
        fmt::format("{{kind: Deployment, apiVersion: apps/v1, metadata: {{name: web, namespace: default}}, spec: "
                    "{{replicas: {}, selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: "
                    "web}}}}, spec: {{containers: [{{name: c, image: i}}]}}}}}}}}",
                    replicas)));
    for (auto name : {"a", "b"}) {
      auto one = pod(name);
      one.set("kind", "Pod");
      one.set("apiVersion", "v1");
      one.member("metadata").set("namespace", "default");
      one.member("metadata").set("labels", yaml("{app: web}"));
      w.put(one);
    }
    w.create(yaml(
        fmt::format("{{kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, metadata: {{name: web, namespace: "
                    "default}}, spec: {{maxReplicas: 9, scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: "
                    "web}}, metrics: [{}]}}}}",
                    metric)));
    answers["/apis/custom.metrics.k8s.io"] = {
        200,
        R"({"kind":"APIGroup","name":"custom.metrics.k8s.io","versions":[{"version":"v1beta1"},{"version":"v1beta2"}],
                 "preferredVersion":{"version":"v1beta1"}})"};
  }
  void answer(std::string path, std::string_view items) {
    answers[std::move(path)] = {200, fmt::format("{{\"items\":[{}]}}", items)};
  }
  std::int64_t replicas() {
    CHECK(w.work("default/web") == "");
    return w.get("/registry/deployments/default/web")["spec"]["replicas"].as_integer();
  }
  json::value hpa() { return w.get("/registry/horizontalpodautoscalers/default/web"); }
  std::string why() { return std::string(condition_of(hpa(), "ScalingActive")["message"].as_string()); }
};

}  // namespace

TEST_CASE(
    "horizontal-pod-autoscaler-controller: metrics of pods, of objects and from elsewhere are asked of their APIs") {
  SUBCASE("pods") {
    measured m(
        "{type: Pods, pods: {metric: {name: requests, selector: {matchLabels: {path: /a}}}, target: {type: "
        "AverageValue, averageValue: '10'}}}");
    m.answer(
        "/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/pods/%2A/"
        "requests?labelSelector=app%3Dweb&metricLabelSelector=path%3D%2Fa",
        R"({"describedObject":{"name":"a"},"value":"20"},{"describedObject":{"name":"b"},"value":"14500m"})");
    CHECK(m.replicas() == 4);
    CHECK(condition_of(m.hpa(), "ScalingActive")["message"].as_string() ==
          "the HPA was able to successfully calculate a replica count from pods metric requests");
    CHECK(m.hpa()["status"]["currentMetrics"][0]["pods"] ==
          yaml("{metric: {name: requests, selector: {matchLabels: {path: /a}}}, current: {averageValue: 17250m}}"));
  }
  SUBCASE("an object") {
    measured m(
        "{type: Object, object: {describedObject: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: front}, "
        "metric: {name: hits}, target: {type: Value, value: 2k}}}");
    m.answer("/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/ingresses.networking.k8s.io/front/hits",
             R"({"describedObject":{"name":"front"},"value":"3k"})");
    CHECK(m.replicas() == 3);
    CHECK(m.hpa()["status"]["currentMetrics"][0]["object"]["current"] == yaml("{value: 3k}"));
  }
  SUBCASE("its namespace, shared") {
    measured m(
        "{type: Object, object: {describedObject: {apiVersion: v1, kind: Namespace, name: default}, metric: {name: "
        "jobs}, target: {type: AverageValue, averageValue: '5'}}}");
    m.answer("/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/metrics/jobs", R"({"value":"20"})");
    CHECK(m.replicas() == 4);
  }
  SUBCASE("elsewhere") {
    measured m(
        "{type: External, external: {metric: {name: waiting, selector: {matchLabels: {queue: q}}}, target: {type: "
        "AverageValue, averageValue: '10'}}}");
    m.answer("/apis/external.metrics.k8s.io/v1beta1/namespaces/default/waiting?labelSelector=queue%3Dq",
             R"({"metricName":"waiting","value":"12500m"},{"metricName":"waiting","value":"17500m"})");
    CHECK(m.replicas() == 3);
  }
}

TEST_CASE("horizontal-pod-autoscaler-controller: adapters that are missing, refuse or tell too much are said") {
  constexpr std::string_view unable = "the HPA was unable to compute the replica count: ";
  measured object(
      "{type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: s}, metric: {name: hits}, "
      "target: {type: Value, value: '2'}}}");
  auto why = [&](measured& m) {
    CHECK(m.replicas() == 2);
    auto message = m.why();
    CHECK(message.starts_with(unable));
    return message.substr(std::min(unable.size(), message.size()));
  };
  constexpr auto from =
      "unable to get metric hits on Service default/s: unable to fetch metrics from custom metrics API: ";
  CHECK(why(object) ==
        from + std::string("the server could not find the requested resource (get services.custom.metrics.k8s.io s)"));
  const std::string path = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/services/s/hits";
  object.answer(path, "");
  CHECK(why(object) ==
        from + std::string("the custom metrics API server returned 0 results when we asked for exactly one"));
  object.answer(path, R"({"value":"1"},{"value":"2"})");
  CHECK(why(object) ==
        from + std::string("the custom metrics API server returned 2 results when we asked for exactly one"));
  object.answers[path] = {403, R"({"kind":"Status","message":"not you"})"};
  CHECK(why(object) == from + std::string("not you"));
  object.answers[path] = {200, "{"};
  CHECK(why(object).starts_with(from));
  object.answers["/apis/custom.metrics.k8s.io"] = {200, R"({"versions":[{"version":"v9"}]})"};
  CHECK(why(object) == from + std::string("no known available metric versions found"));
  object.answers.erase("/apis/custom.metrics.k8s.io");
  CHECK(why(object) == from + std::string("no custom metrics API (custom.metrics.k8s.io) registered"));
  measured external("{type: External, external: {metric: {name: waiting}, target: {type: Value, value: '2'}}}");
  external.answer("/apis/external.metrics.k8s.io/v1beta1/namespaces/default/waiting", "");
  CHECK(why(external) ==
        "unable to get external metric default/waiting/nil: no metrics returned from external metrics API");
}
