#include "supervisor/node_proxy.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "harness.h"
#include "json/parse.h"
#include "supervisor/aggregated_servers.h"

using namespace kedge;
using namespace kedge::supervisor;

namespace {

// Says where somebody wanted to connect, and that nobody is there.
class recording_network final : public reactor::network {
 public:
  std::vector<std::string> dialled;
  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override {
    dialled.push_back(to.text());
    co_return fail(errc::refused, "nobody is here");
  }
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint&, const reactor::listen_options&) override {
    return fail(errc::unsupported, "");
  }
};

struct proxy_world : api::api_world {
  recording_network network;
  config settings;
  std::unique_ptr<tunnel::server> tunnels;
  std::unique_ptr<node_dialer> dialer;
  std::unique_ptr<node_proxy> proxy;

  proxy_world() {
    settings.node_name = "own";
    settings.service_cidrs = {"10.43.0.0/16"};
    tunnels = std::make_unique<tunnel::server>(std::vector<reactor::loop*>{&loop});
    dialer = std::make_unique<node_dialer>(
        node_dialer::parts{.settings = settings, .tunnels = *tunnels, .objects = *client, .network = &network});
    proxy = std::make_unique<node_proxy>(*dialer, *client, nullptr);
  }
  // As it is in the datastore, whatever validation would say of it.
  void stored(std::string key, std::string text) {
    key.insert(0, "/registry/");
    auto before = objects->current().find(key);
    auto written =
        loop.run_until(objects->write({.kind = before ? store::write_kind::update : store::write_kind::create,
                                       .key = key,
                                       .value = std::move(text),
                                       .expected = before ? before->mod() : 0}));
    REQUIRE_MESSAGE(written.has_value(), (written ? "" : written.error().message));
  }
  void pod(std::string name, std::string_view status, std::string_view spec = R"({"nodeName":"n1","containers":[]})") {
    stored(
        "pods/default/" + name,
        fmt::format(
            R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{0}","namespace":"default"}},"spec":{1},"status":{2}}})",
            name, spec, status));
  }
  void slice(std::string_view endpoint, std::string_view type = "IPv4") {
    stored(
        "endpointslices/default/web",
        fmt::format(
            R"({{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{{"name":"web","namespace":"default",
      "labels":{{"kubernetes.io/service-name":"web"}}}},"addressType":"{}","endpoints":[{}],"ports":[{{"name":"http","port":8080}}]}})",
            type, endpoint));
  }
  void node(std::string_view addresses) {
    stored("minions/n1",
           fmt::format(R"({{"kind":"Node","apiVersion":"v1","metadata":{{"name":"n1"}},"status":{{"addresses":{}}}}})",
                       addresses));
  }
  // The code of the answer, and where it led: "400 address not allowed", "10.42.0.7:80".
  std::string led_to(std::string_view path) {
    network.dialled.clear();
    api::memory_exchange e;
    fill(e, "GET", path, {}, {});
    auto info = api::parse_request("GET", e.asked.path, {});
    auto to = api::authorization::own(info.user, info.verb, *api::builtin_registry().find("", "v1", info.resource),
                                      info.ns, info.name, info.subresource);
    loop.run_until(proxy->serve(e, to, info.rest));
    if (!network.dialled.empty()) return network.dialled.front();
    auto s = json::parse(e.answer);
    return fmt::format("{} {}", e.head.status, s ? (*s)["message"].as_string() : "");
  }
};

// In no spelling another host's address.
constexpr const char* never[] = {"0.0.0.0",
                                 "::",
                                 "127.0.0.1",
                                 "127.9.9.9",
                                 "0127.0.0.1",
                                 "::1",
                                 "0:0:0:0:0:0:0:1",
                                 "::ffff:127.0.0.1",
                                 "::ffff:7f00:1",
                                 "::ffff:0.0.0.0",
                                 "169.254.169.254",
                                 "0169.254.169.254",
                                 "::ffff:169.254.169.254",
                                 "fe80::1",
                                 "fe80::1%lo",
                                 "FEBF::1",
                                 "224.0.0.1",
                                 "239.255.255.250",
                                 "ff02::1",
                                 "ff05::2",
                                 "255.255.255.255",
                                 "localhost",
                                 "127.1",
                                 "2130706433",
                                 "0x7f.0.0.1",
                                 ""};

}  // namespace

TEST_CASE("the name of a proxied resource has scheme, name and port") {
  using row = std::pair<const char*, proxied_name>;
  for (auto& [text, wanted] :
       {row{"web", {"", "web", ""}}, row{"web:8080", {"", "web", "8080"}}, row{"web:http", {"", "web", "http"}},
        row{"https:web:8443", {"https", "web", "8443"}}, row{"http:web:", {"http", "web", ""}},
        row{":web:", {"", "web", ""}}, row{"web:", {"", "web", ""}}}) {
    auto got = parse_proxied_name(text);
    REQUIRE_MESSAGE(got.has_value(), text);
    CHECK_MESSAGE(*got == wanted, text);
  }
  for (auto* bad : {"", ":", "ftp:web:21", "a:b:c:d", "https::8443"})
    CHECK_MESSAGE(!parse_proxied_name(bad).has_value(), bad);
}

TEST_CASE("a Node says where its kubelet is") {
  auto node = json::parse(
      R"({"status":{"addresses":[{"type":"Hostname","address":"edge-1"},{"type":"ExternalIP","address":"1.2.3.4"},
    {"type":"InternalIP","address":"10.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10350}}}})");
  CHECK(kubelet_port_of(*node) == 10350);
  CHECK(address_of(*node) == "10.0.0.1");
  CHECK(kubelet_port_of({}) == 10250);
  CHECK(address_of({}).empty());
}

TEST_CASE("a pod is dialled at an address that may be another host's, whoever wrote its status") {
  proxy_world w;
  for (auto* address : never) {
    CAPTURE(std::string(address));
    w.pod("px", fmt::format(R"({{"podIP":"{0}"}})", address));
    CHECK(w.led_to("/api/v1/namespaces/default/pods/px:17090/proxy/y") == "400 address not allowed");
    w.pod("px", fmt::format(R"({{"podIP":"10.42.0.7","podIPs":[{{"ip":"{0}"}}]}})", address));
    if (*address) CHECK(w.led_to("/api/v1/namespaces/default/pods/px/proxy/y") == "400 address not allowed");
  }
  w.pod("px", R"({"podIP":"10.42.0.7"})", R"({"nodeName":"n1","containers":[{},{"ports":[{"containerPort":8081}]}]})");
  CHECK(w.led_to("/api/v1/namespaces/default/pods/px/proxy/") == "10.42.0.7:8081");
  CHECK(w.led_to("/api/v1/namespaces/default/pods/px:9/proxy/") == "10.42.0.7:9");
  CHECK(w.led_to("/api/v1/namespaces/default/pods/https:px:/proxy/") == "10.42.0.7:8081");
  CHECK(w.led_to("/api/v1/namespaces/default/pods/px:http/proxy/").starts_with("400"));
  CHECK(w.led_to("/api/v1/namespaces/other/pods/px/proxy/").starts_with("404"));
  w.pod("px", R"({"podIP":"fd00::7","podIPs":[{"ip":"fd00::7"}]})");
  CHECK(w.led_to("/api/v1/namespaces/default/pods/px/proxy/") == "[fd00::7]:80");
}

TEST_CASE("a service leads to pods of its own namespace alone, at their own addresses") {
  proxy_world w;
  w.stored(
      "services/specs/default/web",
      R"({"kind":"Service","apiVersion":"v1","metadata":{"name":"web","namespace":"default"},"spec":{"ports":[{"name":"http","port":80},{"name":"admin","port":81}]}})");
  w.pod("web-1", R"({"podIPs":[{"ip":"10.42.0.7"},{"ip":"fd00::7"}]})");
  const std::string path = "/api/v1/namespaces/default/services/web:http/proxy/",
                    none = "503 no endpoints available for service \"web\"";
  auto to = [](std::string_view address, std::string_view rest) {
    return fmt::format(R"({{"addresses":["{}"]{}}})", address, rest);
  };
  const std::string ref = R"(,"targetRef":{"kind":"Pod","namespace":"default","name":"web-1"})";
  w.slice(to("10.42.0.7", ref));
  CHECK(w.led_to(path) == "10.42.0.7:8080");
  CHECK(w.led_to("/api/v1/namespaces/default/services/web:80/proxy/") == "10.42.0.7:8080");
  CHECK(w.led_to("/api/v1/namespaces/default/services/https:web:http/proxy/") == "10.42.0.7:8080");
  CHECK(w.led_to("/api/v1/namespaces/default/services/web:81/proxy/") == none);  // no slice has that port
  CHECK(w.led_to("/api/v1/namespaces/default/services/web/proxy/") == none);     // the port without a name
  CHECK(w.led_to("/api/v1/namespaces/default/services/web:9/proxy/") ==
        "503 no service port 9 found for service \"web\"");
  CHECK(w.led_to("/api/v1/namespaces/default/services/gone:9/proxy/").starts_with("404"));
  CHECK(w.led_to("/api/v1/namespaces/default/services/gone:x/proxy/") ==
        "503 no endpoints available for service \"gone\"");
  for (auto& endpoint : {to("10.42.0.7", ""), to("10.42.0.8", ref),
                         to("10.42.0.7", R"(,"targetRef":{"kind":"Pod","namespace":"other","name":"web-1"})"),
                         to("10.42.0.7", R"(,"targetRef":{"kind":"Pod","namespace":"default","name":"web-2"})"),
                         to("10.42.0.7", ref + R"(,"conditions":{"ready":false})")}) {
    w.slice(endpoint);
    CHECK_MESSAGE(w.led_to(path) == none, endpoint);
  }
  for (auto* address : never) {
    w.pod("web-1", fmt::format(R"({{"podIP":"{0}","podIPs":[{{"ip":"{0}"}}]}})", address));
    w.slice(to(address, ref));
    CHECK_MESSAGE(w.led_to(path) == none, address);
  }
}

TEST_CASE("a node's other ports are dialled at an address that may be another host's") {
  proxy_world w;
  for (auto* address : never) {
    if (!*address) continue;
    CAPTURE(std::string(address));
    w.node(fmt::format(R"([{{"type":"InternalIP","address":"{}"}}])", address));
    auto got = w.led_to("/api/v1/nodes/n1:17090/proxy/z");
    CHECK((got == "400 address not allowed" ||
           got.starts_with("503 error trying to reach service: ")));  // a name that isn't one
    CHECK(w.network.dialled.empty());
  }
  w.node(R"([{"type":"Hostname","address":"localhost"}])");
  CHECK(w.led_to("/api/v1/nodes/n1:17090/proxy/z") == "400 address not allowed");
  w.node(R"([{"type":"InternalIP","address":"10.0.0.5"}])");
  CHECK(w.led_to("/api/v1/nodes/n1:9100/proxy/z") == "10.0.0.5:9100");
  CHECK(
      w.led_to("/api/v1/nodes/n1/proxy/z").starts_with("503"));  // the kubelet's: through its tunnel, which isn't there
  CHECK(w.network.dialled.empty());
}

TEST_CASE("a request for an aggregated server goes to an endpoint of its service, and not round and round") {
  proxy_world w;
  aggregated_servers ways(*w.dialer, *w.client, {});
  auto service = std::make_shared<const api::aggregation::api_service>(
      api::aggregation::api_service{.name = "v1.x.io",
                                    .group = "x.io",
                                    .version = "v1",
                                    .service_namespace = "default",
                                    .service_name = "web",
                                    .port = 443,
                                    .insecure = true,
                                    .available = true});
  auto ask = [&](api::header_list headers) {
    w.network.dialled.clear();
    api::memory_exchange e;
    w.fill(e, "GET", "/apis/x.io/v1/things", {}, headers);
    auto code = w.loop.run_until(
        ways.forward(e, service, {.as = api::user_info{.name = "ann"}, .audit_id = "id", .answer = {}}));
    CHECK(code == e.head.status);
    CHECK(e.head.headers.get("Content-Type") == "text/plain; charset=utf-8");
    return fmt::format("{} {}", code, e.answer);
  };
  CHECK(ask({}) == "503 service unavailable\n");  // there is no such service
  w.stored("services/specs/default/web",
           R"({"kind":"Service","apiVersion":"v1","metadata":{"name":"web","namespace":"default"},
               "spec":{"ports":[{"name":"http","port":443}]}})");
  CHECK(ask({}) == "503 service unavailable\n");  // nor an endpoint
  w.slice(R"({"addresses":["10.42.0.7"],"nodeName":"n1"})");
  CHECK(ask({}) == "503 error trying to reach service: dial tcp 10.42.0.7:8080: connect: connection refused\n");
  CHECK(w.network.dialled == std::vector<std::string>{"10.42.0.7:8080"});
  // Whoever may write slices doesn't reach this machine's own.
  w.slice(R"({"addresses":["127.0.0.1"]})");
  CHECK(ask({}).starts_with("503 error trying to reach service: "));
  CHECK(w.network.dialled.empty());
  w.slice(R"({"addresses":["10.42.0.7"]})");
  CHECK(ask({{"X-Forwarded-For", "1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4"},
             {"X-Forwarded-For", "5.5.5.5, 6.6.6.6, 7.7.7.7, 8.8.8.8, 9.9.9.9"}}) == "503 service unavailable\n");
  CHECK(w.network.dialled.empty());
}
