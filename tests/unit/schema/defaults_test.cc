#include "schema/defaults.h"

#include <doctest/doctest.h>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "k3s_rows.h"
#include "schema/bootstrap.h"
#include "schema/decode.h"
#include "schema/protobuf.h"

using namespace kedge;
using namespace kedge::schema;

namespace {
std::string defaulted(std::string_view api_version, std::string_view kind, std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v, text);
  auto type = find_kind(api_version, kind);
  auto decoded = decode(*type, *v);
  REQUIRE_MESSAGE(decoded, decoded.error().message);
  apply_defaults(*type, *v);
  auto once = json::write(*v);
  apply_defaults(*type, *v);
  CHECK(json::write(*v) == once);
  return once;
}
}  // namespace

TEST_CASE("what the user leaves out is filled in as the kind says") {
  struct {
    std::string_view api_version, kind, given, result;
  } cases
      [] =
          {
              {"v1", "Pod",
               R"({"spec":{"containers":[{"name":"c","image":"busybox","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1"}},"livenessProbe":{"httpGet":{"port":80}}}],"volumes":[{"name":"v"},{"name":"s","secret":{}}]}})",
               R"({"metadata":{},"spec":{"volumes":[{"name":"v","emptyDir":{}},{"name":"s","secret":{"defaultMode":420}}],"containers":[{"name":"c","image":"busybox","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"1"},"requests":{"cpu":"1"}},"livenessProbe":{"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler","enableServiceLinks":true},"status":{}})"},
              {"v1", "Pod",
               R"({"spec":{"hostNetwork":true,"containers":[{"name":"c","image":"r/i:1","ports":[{"containerPort":80}],"resources":{"requests":{"cpu":"100u"}}}],"terminationGracePeriodSeconds":0,"serviceAccountName":"x"}})",
               R"({"metadata":{},"spec":{"containers":[{"name":"c","image":"r/i:1","ports":[{"hostPort":80,"containerPort":80,"protocol":"TCP"}],"resources":{"requests":{"cpu":"1m"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":0,"dnsPolicy":"ClusterFirst","serviceAccountName":"x","serviceAccount":"x","hostNetwork":true,"securityContext":{},"schedulerName":"default-scheduler","enableServiceLinks":true},"status":{}})"},
              {"apps/v1",
               "Deployment", R"({"spec":{"selector":{},"template":{"spec":{"containers":[]}}}})", R"({"metadata":{},"spec":{"replicas":1,"selector":{},"template":{"metadata":{},"spec":{"containers":[],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"}},"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"25%","maxSurge":"25%"}},"revisionHistoryLimit":10,"progressDeadlineSeconds":600},"status":{}})"},
              {"v1", "Service", R"({"spec":{"ports":[{"port":80}],"sessionAffinityConfig":{}}})",
               R"({"metadata":{},"spec":{"ports":[{"protocol":"TCP","port":80,"targetPort":80}],"type":"ClusterIP","sessionAffinity":"None","internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}})"},
              {"v1", "Service",
               R"({"spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP","ports":[{"port":80,"targetPort":"web"}]}})",
               R"({"metadata":{},"spec":{"ports":[{"protocol":"TCP","port":80,"targetPort":"web"}],"type":"LoadBalancer","sessionAffinity":"ClientIP","externalTrafficPolicy":"Cluster","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}},"allocateLoadBalancerNodePorts":true,"internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}})"},
              {"v1", "Namespace", R"({"metadata":{"name":"n"}})",
               R"({"metadata":{"name":"n","labels":{"kubernetes.io/metadata.name":"n"}},"spec":{},"status":{"phase":"Active"}})"},
              {"v1", "Secret", "{}", R"({"metadata":{},"type":"Opaque"})"},
              {"batch/v1", "Job",
               R"({"spec":{"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":null}}}})",
               R"({"metadata":{"labels":{"a":"b"}},"spec":{"parallelism":1,"completions":1,"backoffLimit":6,"manualSelector":false,"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":null,"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"}},"completionMode":"NonIndexed","suspend":false,"podReplacementPolicy":"TerminatingOrFailed"},"status":{}})"},
              {"rbac.authorization.k8s.io/v1", "RoleBinding",
               R"({"subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s"}],"roleRef":{"kind":"Role","name":"r"}})",
               R"({"metadata":{},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"u"},{"kind":"ServiceAccount","name":"s"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"}})"},
              {"apiextensions.k8s.io/v1", "CustomResourceDefinition",
               R"({"spec":{"group":"g","scope":"Namespaced","names":{"plural":"foos","kind":"Foo"},"versions":[{"name":"v1","served":true,"storage":true}]}})",
               R"({"metadata":{},"spec":{"group":"g","names":{"plural":"foos","singular":"foo","kind":"Foo","listKind":"FooList"},"scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true}],"conversion":{"strategy":"None"}},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":["v1"]}})"},
              {"networking.k8s.io/v1", "NetworkPolicy",
               R"({"spec":{"podSelector":{},"egress":[{"ports":[{"port":53}]}]}})",
               R"({"metadata":{},"spec":{"podSelector":{},"egress":[{"ports":[{"protocol":"TCP","port":53}]}],"policyTypes":["Ingress","Egress"]}})"},
              {"coordination.k8s.io/v1", "Lease", "{}", R"({"metadata":{},"spec":{}})"},
          };
  for (auto& c : cases) {
    CAPTURE(c.given);
    CHECK(defaulted(c.api_version, c.kind, c.given) == c.result);
  }
}

TEST_CASE("image names decide the pull policy") {
  for (auto [image, policy] : {std::pair("busybox", "Always"),
                               {"busybox:latest", "Always"},
                               {"busybox:1.36", "IfNotPresent"},
                               {"localhost:5000/x", "Always"},
                               {"localhost:5000/x:2", "IfNotPresent"},
                               {"x@sha256:00", "IfNotPresent"},
                               {"", "IfNotPresent"},
                               {"X", "IfNotPresent"}}) {
    auto v = *json::parse(defaulted(
        "v1", "Pod", "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"" + std::string(image) + "\"}]}}"));
    CAPTURE(image);
    CHECK(v["spec"]["containers"][0]["imagePullPolicy"].as_string() == policy);
  }
}

TEST_CASE("objects that a real server defaulted stay as they are") {
  for (auto& row : k3s_rows) {
    CAPTURE(row.key);
    auto v = *decode_object(*unbase64(row.base64));
    auto before = json::write(v);
    apply_defaults(*find_kind(v["apiVersion"].as_string(), v["kind"].as_string()), v);
    CHECK(json::write(v) == before);
  }
}

TEST_CASE("a wrongly typed object is refused before its defaults are asked for, and they bear it all the same") {
  const auto pod = *json::parse(R"({"spec":{"containers":"x","volumes":[1,null]},"metadata":3})"),
             service = *json::parse(R"({"spec":"x"})");
  auto v = pod;
  CHECK_FALSE(decode(*find_kind("v1", "Pod"), v));
  v = pod;
  apply_defaults(*find_kind("v1", "Pod"), v);
  CHECK(v["spec"]["containers"] == "x");
  CHECK(v["spec"]["volumes"][0] == 1);
  CHECK(v["metadata"] == 3);
  v = service;
  CHECK_FALSE(decode(*find_kind("v1", "Service"), v));
  v = service;
  apply_defaults(*find_kind("v1", "Service"), v);
}

TEST_CASE("bootstrap objects decode") {
  for (auto& c : bootstrap_categories()) {
    auto list = *json::parse(c.json);
    for (auto& o : *list.array()) {
      unknown_list unknown;
      auto r = decode(*find_kind(c.api_version, c.kind), o, &unknown);
      CHECK(r);
      CHECK(unknown.empty());
      apply_defaults(*find_kind(c.api_version, c.kind), o);
    }
  }
}
