#include <fmt/format.h>

#include "../access_harness.h"

namespace kedge::api {
namespace {

using namespace testing;

TEST_CASE("a pod has its node's zone and region as labels") {
  cluster c;
  c.put(
      "{kind: Namespace, metadata: {name: default}, status: {phase: Active}}\n---\n"
      "{kind: ServiceAccount, metadata: {name: default, namespace: default}}");
  c.put(
      "{apiVersion: v1, kind: Node, metadata: {name: edge, labels: {topology.kubernetes.io/zone: z, "
      "topology.kubernetes.io/region: r, other: o}}}");
  gate g(c);
  auto labels = [&](const char* more) {
    auto made = g.create(
        admin(),
        fmt::format("{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: default, labels: "
                    "{{topology.kubernetes.io/zone: own}}}}, spec: {{containers: [{{name: c, image: i}}]{}}}}}",
                    more));
    REQUIRE_MESSAGE(made.good, made.message);
    return made.object["metadata"]["labels"];
  };
  CHECK(labels("") == yaml("{topology.kubernetes.io/zone: own}"));
  CHECK(labels(", nodeName: away") == yaml("{topology.kubernetes.io/zone: own}"));
  CHECK(labels(", nodeName: edge") == yaml("{topology.kubernetes.io/zone: z, topology.kubernetes.io/region: r}"));
  auto binding = yaml(
      "{apiVersion: v1, kind: Binding, metadata: {name: p, namespace: default}, target: {kind: Node, name: edge}}");
  auto who = gate::attributes_for(admin(), "create",
                                  yaml("{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}}"));
  who.subresource = "binding";
  auto bound = g.run(operation::create, who, &binding);
  REQUIRE_MESSAGE(bound.good, bound.message);
  CHECK(bound.object["metadata"]["labels"]["topology.kubernetes.io/zone"].as_string() == "z");
  CHECK(bound.object["metadata"]["labels"].size() == 2);
}

}  // namespace
}  // namespace kedge::api
