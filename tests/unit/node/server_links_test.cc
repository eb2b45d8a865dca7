#include "node/links/server_links.h"

#include <doctest/doctest.h>

#include "crypto/certificate.h"
#include "json/parse.h"
#include "node/machine/node_stats.h"
#include "node/port/kubelet_access.h"

using namespace kedge;
using namespace kedge::node;

TEST_CASE("the servers of an EndpointSlice") {
  auto slice =
      json::parse(R"({"ports":[{"name":"https","port":6443}],"endpoints":[{"addresses":["10.0.0.1","10.0.0.2"]},
    {"addresses":["10.0.0.3"],"conditions":{"ready":false}},{"addresses":["fd00::4"],"conditions":{"ready":true}}]})");
  CHECK(addresses_of_slice(*slice) == std::vector<std::string>{"10.0.0.1:6443", "10.0.0.2:6443", "[fd00::4]:6443"});
  CHECK(addresses_of_slice(*json::parse(R"({"ports":[],"endpoints":[{"addresses":["10.0.0.1"]}]})")) ==
        std::vector<std::string>{"10.0.0.1:443"});
  CHECK(addresses_of_slice({}).empty());
}

TEST_CASE("where servers may reach a pod") {
  using list = std::vector<std::string>;
  using row = std::pair<const char*, list>;
  for (
      auto& [pod, wanted] :
      {row{R"({"status":{"podIP":"10.42.0.7","podIPs":[{"ip":"10.42.0.7"},{"ip":"fd42::7"}]}})",
           {"10.42.0.7", "10.42.0.7", "fd42::7"}},
       row{R"({"spec":{"containers":[{"ports":[{"containerPort":80}]}]},"status":{}})", {}},
       row{R"({"spec":{"hostNetwork":true,"containers":[{"ports":[{"containerPort":80},{"containerPort":53,"protocol":"UDP"}]},
            {"ports":[{"containerPort":81,"protocol":"TCP"}]},{}]},"status":{"podIP":"10.0.0.1"}})",
           {":80", ":81"}}})
    CHECK_MESSAGE(targets_of_pod(*json::parse(pod)) == wanted, pod);
  CHECK(targets_of_pod({}).empty());
}

TEST_CASE("a chain without its roots") {
  auto now = system_wall_time();
  auto root = crypto::authority::create("root", now).value();
  auto signed_by_root = [&](const char* name) {
    auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
    return crypto::issue(root, key.public_part(), {.common_name = name, .client = true}, now, system_random()).value();
  };
  auto leaf = signed_by_root("leaf"), other = signed_by_root("intermediate");
  CHECK(without_roots(crypto::chain_pem(leaf, root)) == leaf.pem());
  CHECK(without_roots(leaf.pem() + other.pem() + root.bundle_pem()) == leaf.pem() + other.pem());
  CHECK_FALSE(without_roots("nothing").has_value());
}

TEST_CASE("a watch that stood is begun again at once, one that can't be begun ever later") {
  watch_pace pace;
  auto& random = system_random();
  auto between = [](duration d, duration least, duration most) { return d >= least && d < most; };
  for (int i = 0; i < 100; ++i) CHECK(between(pace.next(5min, random), 0ms, watch_again));
  // Those that end as soon as they stand ask for no more than one a second, on average two.
  for (auto most = watch_again; most < watch_brief; most *= 2) CHECK(between(pace.next(0ms, random), 0ms, most));
  for (int i = 0; i < 100; ++i) CHECK(between(pace.next(0ms, random), 0ms, watch_brief));
  CHECK(between(pace.next(watch_brief, random), 0ms, watch_again));
  for (auto least = watch_retry_first; least < watch_retry_most; least *= 2)
    CHECK(between(pace.next(std::nullopt, random), least, 2 * least));
  for (int i = 0; i < 100; ++i) CHECK(between(pace.next(std::nullopt, random), watch_retry_most, 2 * watch_retry_most));
  CHECK(pace.next(0ms, random) < watch_brief);
  CHECK(between(pace.next(std::nullopt, random), watch_retry_first, 2 * watch_retry_first));
}

TEST_CASE("what a path of the kubelet's port is authorized as") {
  using list = std::vector<std::string_view>;
  using row = std::pair<const char*, list>;
  for (auto& [path, wanted] :
       {row{"/metrics", {"metrics"}}, row{"/metrics/cadvisor", {"metrics"}}, row{"/stats/summary", {"stats"}},
        row{"/logs/", {"log"}}, row{"/logsx", {"proxy"}}, row{"/healthz", {"healthz", "proxy"}},
        row{"/pods", {"pods", "proxy"}}, row{"/configz", {"configz", "proxy"}}, row{"/runningpods/", {"pods", "proxy"}},
        row{"/statusz", {"statusz"}}, row{"/flagz", {"configz"}}, row{"/exec/a/b/c", {"proxy"}}, row{"/", {"proxy"}}})
    CHECK_MESSAGE(node_subresources(path) == wanted, path);
  CHECK(review_verb("GET") == "get");
  CHECK(review_verb("HEAD") == "");
  CHECK(review_verb("POST") == "create");
  CHECK(review_verb("DELETE") == "delete");
}

TEST_CASE("this machine's use") {
  auto s = read_node_stats("", "/");
  REQUIRE(s.has_value());
  CHECK(s->cpu_nanoseconds > 0);
  CHECK(s->memory_total_bytes >= s->memory_usage_bytes);
  CHECK(s->memory_usage_bytes >= s->memory_working_set_bytes);
  CHECK(s->page_faults > s->major_page_faults);
  CHECK(s->disk_bytes > 0);
  CHECK(s->disk_used_bytes > 0);
  CHECK(s->disk_used_bytes + s->disk_available_bytes <= s->disk_bytes);
  CHECK(s->processes > 0);
  CHECK(s->own_resident_bytes > 0);
  CHECK(s->own_descriptors >= 3);
  CHECK(s->own_started > static_cast<double>(s->booted) - 1);
  CHECK_FALSE(read_node_stats("/nonexistent", "/").has_value());
}
