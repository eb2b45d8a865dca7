// Whether an API service is available, in kube-aggregator's words, and which endpoint of it is asked.
#include "api/aggregation/availability.h"

#include <doctest/doctest.h>

#include <set>

#include "api/aggregation/endpoint.h"
#include "json/parse.h"

namespace kedge::api::aggregation {
namespace {

json::value value(std::string_view text) {
  if (text.empty()) return {};
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

const api_service flunders{
    .name = "v1.x.io", .group = "x.io", .version = "v1", .service_namespace = "ns", .service_name = "api", .port = 443};
constexpr std::string_view usual = R"({"spec":{"ports":[{"name":"https","port":443}]}})";

std::string slice(std::string_view endpoints, std::string_view ports = R"([{"name":"https","port":8443}])",
                  std::string_view type = "IPv4") {
  return std::string(R"({"addressType":")") + std::string(type) + R"(","endpoints":)" + std::string(endpoints) +
         R"(,"ports":)" + std::string(ports) + "}";
}

}  // namespace

TEST_CASE("what the objects say of an API service is said in kube-aggregator's words") {
  struct row {
    std::string_view service;
    std::vector<std::string> slices;
    std::string_view reason, message;  // empty: it is asked
  };
  const auto ready = slice(R"([{"addresses":["10.0.0.1"]}])");
  for (auto& r :
       std::vector<row>{{"", {ready}, "ServiceNotFound", R"(service/api in "ns" is not present)"},
                        {R"({"spec":{"type":"ClusterIP","ports":[{"port":80}]}})",
                         {ready},
                         "ServicePortError",
                         R"(service/api in "ns" is not listening on port 443)"},
                        {usual, {}, "EndpointsNotFound", R"(cannot find endpointslices for service/api in "ns")"},
                        {usual,
                         {slice(R"([{"addresses":["10.0.0.1"],"conditions":{"ready":false}}])")},
                         "MissingEndpoints",
                         R"(endpointslices for service/api in "ns" have no addresses with port name "https")"},
                        {usual, {slice("[]")}, "MissingEndpoints", ""},
                        {usual,
                         {slice(R"([{"addresses":["10.0.0.1"]}])", R"([{"name":"http","port":80}])")},
                         "MissingEndpoints",
                         ""},
                        // Ready endpoints and the port must stand in one slice.
                        {usual,
                         {slice("[]"), slice(R"([{"addresses":["10.0.0.1"]}])", R"([{"name":"http","port":80}])")},
                         "MissingEndpoints",
                         ""},
                        {usual, {ready}, "", ""},
                        {usual, {slice(R"([{"addresses":["10.0.0.1"],"conditions":{"ready":true}}])")}, "", ""},
                        // Of other types of Services only the discovery tells.
                        {R"({"spec":{"type":"NodePort","ports":[]}})", {}, "", ""},
                        {R"({"spec":{"type":"ExternalName","externalName":"x"}})", {}, "", ""}}) {
    CAPTURE(r.service);
    std::vector<json::value> slices;
    for (auto& s : r.slices) slices.push_back(value(s));
    auto told = judge_objects(flunders, value(r.service), slices);
    REQUIRE(told.has_value() != r.reason.empty());
    if (!told) continue;
    CHECK(told->status == "False");
    CHECK(told->reason == r.reason);
    if (!r.message.empty()) CHECK(told->message == r.message);
  }
}

TEST_CASE("a condition keeps its time while its status is the same, and others beside it") {
  auto o = value(R"({"status":{"conditions":[{"type":"Other","status":"True"}]}})");
  const wall_time first{std::chrono::seconds(1'000)}, later{std::chrono::seconds(2'000)};
  CHECK(set_available(o, failed_discovery("why"), first));
  CHECK_FALSE(set_available(o, failed_discovery("why"), later));
  CHECK(set_available(o, failed_discovery("another reason"), later));
  auto c = o["status"]["conditions"][1];
  CHECK(o["status"]["conditions"].size() == 2);
  CHECK(c["type"].as_string() == "Available");
  CHECK(c["reason"].as_string() == "FailedDiscoveryCheck");
  CHECK(c["message"].as_string() == "another reason");
  CHECK(c["lastTransitionTime"].as_string() == format_rfc3339(first));
  CHECK(set_available(o, passed(), later));
  c = o["status"]["conditions"][1];
  CHECK(c["lastTransitionTime"].as_string() == format_rfc3339(later));
  CHECK(c["message"].as_string() == "all checks passed");
}

TEST_CASE("an APIService that points to no service, or whose group must stay here, is nobody else's") {
  constexpr std::string_view with = R"({"metadata":{"name":"v1.x.io"},"spec":{"group":"x.io","version":"v1",
      "service":{"namespace":"ns","name":"api"},"caBundle":"eA==","groupPriorityMinimum":7,"versionPriority":8},
      "status":{"conditions":[{"type":"Available","status":"True"}]}})";
  auto s = parse_api_service(value(with));
  REQUIRE(s);
  CHECK(s->port == 443);
  CHECK(s->ca_pem == "x");
  CHECK(s->available);
  CHECK(s->tls_name() == "api.ns.svc");
  CHECK(s->path() == "/apis/x.io/v1");
  for (auto text :
       {R"({"spec":{"group":"x.io","version":"v1"}})",
        R"({"spec":{"group":"","version":"v1","service":{"namespace":"ns","name":"api"}}})",
        R"({"spec":{"group":"apiregistration.k8s.io","version":"v1","service":{"namespace":"n","name":"a"}}})"})
    CHECK_FALSE(parse_api_service(value(text)));
}

TEST_CASE("a path is another server's from its group's version on") {
  service_table t({std::make_shared<const api_service>(flunders)});
  for (auto path : {"/apis/x.io/v1", "/apis/x.io/v1/", "/apis/x.io/v1/things", "/apis/x.io/v1/namespaces/a/things/b"})
    CHECK_MESSAGE(t.at_path(path), path);
  for (auto path : {"/apis", "/apis/", "/apis/x.io", "/apis/x.io/", "/apis/x.io/v1beta1", "/apis/x.io/v11",
                    "/apis/a.x.io/v1", "/api/x.io/v1", "/openapi/v3/apis/x.io/v1", "/apis/x.io//v1", ""})
    CHECK_MESSAGE(!t.at_path(path), path);
}

TEST_CASE("an endpoint is ready, serves the port, and is of the service's first family when there is one") {
  auto at = [](std::size_t) { return std::size_t(0); };
  auto choose = [&](std::string_view service, std::vector<std::string> texts,
                    const std::function<std::size_t(std::size_t)>& below) {
    std::vector<json::value> slices;
    for (auto& t : texts) slices.push_back(value(t));
    auto chosen = choose_endpoint("ns", "api", 443, value(service), std::move(slices), below);
    return chosen ? chosen->node + "/" + chosen->address + ":" + std::to_string(chosen->port) : chosen.error().message;
  };
  const auto two = slice(R"([{"addresses":["10.0.0.1"],"conditions":{"ready":false}},
                             {"addresses":["10.0.0.2"],"nodeName":"n"}])");
  CHECK(choose(usual, {two}, at) == "n/10.0.0.2:8443");
  const auto six = slice(R"([{"addresses":["fd00::1"]}])", R"([{"name":"https","port":1}])", "IPv6");
  constexpr std::string_view six_first = R"({"spec":{"ipFamilies":["IPv6"],"ports":[{"name":"https","port":443}]}})";
  CHECK(choose(six_first, {two, six}, at) == "/fd00::1:1");
  CHECK(choose(R"({"spec":{"ipFamilies":["IPv4"],"ports":[{"name":"https","port":443}]}})", {six, two}, at) ==
        "n/10.0.0.2:8443");
  CHECK(choose("", {two}, at) == R"(service "ns/api" not found)");
  CHECK(choose(R"({"spec":{"type":"ExternalName"}})", {two}, at) == R"(unsupported service type "ExternalName")");
  CHECK(choose(R"({"spec":{"ports":[{"port":1}]}})", {two}, at) == R"(no service port 443 found for service "api")");
  CHECK(choose(usual, {slice("[]")}, at) == R"(no endpoints available for service "api")");
  // Each of those that are ready has its turn, and no other.
  const auto three = slice(R"([{"addresses":["10.0.0.1"]},{"addresses":["10.0.0.2"],"conditions":{"ready":false}},
                               {"addresses":["10.0.0.3"]}])");
  std::set<std::string> seen;
  for (std::size_t n = 0; n < 3; ++n) seen.insert(choose(usual, {three}, [n](std::size_t of) { return n % of; }));
  CHECK(seen == std::set<std::string>{"/10.0.0.1:8443", "/10.0.0.3:8443"});
}

}  // namespace kedge::api::aggregation
