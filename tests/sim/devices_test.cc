// Claims of devices as they run: two leaders at a time, which stop between any two writes.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "control_world.h"

using namespace kedge;
using namespace kedge::sim;

namespace {

const api::resource_id pods{"", "v1", "pods"};
const api::resource_id templates{"resource.k8s.io", "v1", "resourceclaimtemplates"};
constexpr std::string_view claims = "/registry/resourceclaims/default/";

}  // namespace

TEST_CASE("resourceclaim-controller: each pod's claim is told to it, by either leader, and goes with the pod's end") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"resourceclaim-controller"}});
    c.grant("resource-claim-controller",
            "{apiGroups: [resource.k8s.io], resources: [resourceclaims/binding], verbs: [update, patch]}");
    c.crash_between_writes(0.05);
    c.create(
        templates,
        yaml("{kind: ResourceClaimTemplate, apiVersion: resource.k8s.io/v1, metadata: {name: t, namespace: default}, "
             "spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu}}]}}}}"));
    for (int i = 0; i < 4; ++i)
      c.create(pods, yaml(fmt::format("{{kind: Pod, apiVersion: v1, metadata: {{name: p{}, namespace: default}}, spec: "
                                      "{{containers: [{{name: c, image: i}}], resourceClaims: [{{name: gpu, "
                                      "resourceClaimTemplateName: t}}]}}}}",
                                      i)));
    auto told = [&](int i) {
      auto pod = c.get(fmt::format("/registry/pods/default/p{}", i));
      auto name = pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_string();
      return !name.empty() && c.exists(std::string(claims) + std::string(name));
    };
    CHECK(c.until([&] { return told(0) && told(1) && told(2) && told(3); }));
    c.set_status(pods, "default", "p0", [](json::value& v) { v.member("status").set("phase", "Succeeded"); });
    CHECK(c.until([&] {
      for (auto& [_, one] : c.all(claims))
        if (one["metadata"]["ownerReferences"][0]["name"].as_string() == "p0") return false;
      return true;
    }));
    CHECK(told(1));
  }
}
