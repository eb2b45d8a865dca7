// Servers that reach a node through its tunnels, while links between them die without a word: how long who asks has to
// wait.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "api/local_objects.h"
#include "crypto/certificate.h"
#include "datastore/memory/memory_log.h"
#include "json/parse.h"
#include "net/http/server.h"
#include "store/open.h"
#include "supervisor/node_proxy.h"
#include "support/no_admission.h"
#include "tunnel/client.h"
#include "tunnel/dial.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t server_port = 6443, kubelet_port = 10250;

struct handler final : net::http::handler {
  std::function<task<void>(net::http::exchange&)> run;
  task<void> serve(net::http::exchange& e) override { return run(e); }
};

// One certificate for everybody; who is meant isn't the question here.
struct secrets {
  std::string chain, key;
  std::shared_ptr<net::tls_client_context> trusting;
  secrets() {
    seeded_random random(1);
    auto ca = crypto::authority::create("sim", system_wall_time()).value();
    auto own = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
    auto leaf = crypto::issue(ca, own.public_part(), {.common_name = "sim", .dns_names = {"sim"}, .server = true},
                              system_wall_time(), random)
                    .value();
    chain = crypto::chain_pem(leaf, ca);
    key = own.pem();
    trusting = net::tls_client_context::make({.insecure = true, .alpn = {"http/1.1"}}).value();
  }
  std::shared_ptr<net::tls_server_context> server() const {
    return net::tls_server_context::make({.http2 = false}, chain, key).value();
  }
};

task<void> server_main(host& h, const secrets& keys, std::vector<host*> all) {
  datastore::memory_database db;
  auto opened = co_await store::open_store({.log = datastore::make_memory_log(db), .loops = {&h.loop()}});
  REQUIRE(opened.has_value());
  tests::no_admission rules;
  api::service_ranges ranges;
  auto objects = api::make_objects(**opened, rules, ranges);
  std::string endpoints;
  for (auto* other : all)
    endpoints += fmt::format("{}{{\"addresses\":[\"{}\"]}}", endpoints.empty() ? "" : ",", other->address());
  auto slice = json::parse(
      fmt::format(R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"kubernetes",
    "labels":{{"kubernetes.io/service-name":"kubernetes"}}}},"addressType":"IPv4","endpoints":[{}],"ports":[{{"name":"https","port":{}}}]}})",
                  endpoints, server_port));
  auto node = json::parse(R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}})");
  auto slice_made = co_await objects->create({"discovery.k8s.io", "v1", "endpointslices"}, "default", *slice);
  REQUIRE_MESSAGE(slice_made.has_value(), slice_made.error().message);
  auto node_made = co_await objects->create({"", "v1", "nodes"}, "", *node);
  REQUIRE(node_made.has_value());

  supervisor::config settings;
  settings.node_name = h.name();
  settings.advertise_address = h.address();
  settings.advertise_port = server_port;
  settings.service_cidrs = {"10.43.0.0/16"};
  tunnel::server tunnels({&h.loop()});
  supervisor::node_dialer dialer(
      {.settings = settings, .tunnels = tunnels, .objects = *objects, .peers = keys.trusting, .network = &h});
  supervisor::node_proxy proxy(dialer, *objects, keys.trusting);
  handler front;
  front.run = [&](net::http::exchange& e) -> task<void> {
    if (e.request().method == "CONNECT") {
      auto there =
          co_await dialer.dial_target(e.request().target, !e.request().headers.has(supervisor::relayed_header));
      if (!there) {
        (void)co_await e.respond({.status = 502, .headers = {}}, there.error().message);
        co_return;
      }
      auto here = co_await e.upgrade({.status = 200, .headers = {}});
      if (here) co_await tunnel::splice(**here, **there);
      co_return;
    }
    if (e.request().path == "/v1-k3s/connect") co_return co_await tunnels.serve(e, "n1");
    auto info = api::parse_request(e.request().method, e.request().path, {});
    auto to = api::authorization::own(info.user, info.verb, *api::builtin_registry().find("", "v1", info.resource),
                                      info.ns, info.name, info.subresource);
    co_await proxy.serve(e, to, info.rest);
  };
  net::http::server http(front, {.listen = {{h.address(), server_port}}, .tls = keys.server(), .network = &h});
  (void)co_await http.run(0);
}

task<void> node_main(host& h, const secrets& keys, std::vector<host*> servers) {
  handler kubelet;
  kubelet.run = [](net::http::exchange& e) -> task<void> {
    (void)co_await e.respond({.status = 200, .headers = {}}, "ok");
  };
  net::http::server http(kubelet, {.listen = {{h.address(), kubelet_port}}, .tls = keys.server(), .network = &h});
  tunnel::client tunnels({.tls = [&] { return keys.trusting; },
                          .allow = [](std::string_view, std::string_view) { return true; },
                          .dial = [&](std::string, std::string) { return h.connect({h.address(), kubelet_port}); },
                          .network = &h});
  std::vector<std::string> addresses;
  for (auto* s : servers) addresses.push_back(reactor::endpoint{s->address(), server_port}.text());
  tunnels.set_servers(addresses);
  reactor::scope parts;
  parts.spawn(tunnels.run());
  parts.spawn([](net::http::server& s) -> task<void> { (void)co_await s.run(0); }(http));
  co_await parts.join();
}

// A cluster of three servers and a node, and somebody who asks a server for the node.
struct cluster {
  secrets keys;
  world w{4711};
  std::vector<host*> servers;
  host& node;
  host& user;
  reactor::event woken;
  net::http::client_request wanted;
  std::optional<std::pair<int, duration>> got;

  cluster()
      : servers{&w.add_host("a"), &w.add_host("b"), &w.add_host("c")},
        node(w.add_host("n1")),
        user(w.add_host("user")) {
    for (auto* s : servers) s->start([this](host& h) { return server_main(h, keys, servers); });
    node.start([this](host& h) { return node_main(h, keys, servers); });
    user.start([this](host& h) { return user_main(h); });
    w.run_for(5s);
  }
  host& operator[](int i) { return *servers[static_cast<std::size_t>(i)]; }
  // Asks what `wanted` says, each time that it is woken.
  task<void> user_main(host& h) {
    for (;;) {
      co_await woken.wait();
      woken.reset();
      co_await reactor::sleep_for(1ms);  // after which this loop knows the time
      const auto from = h.loop().now();
      net::http::client http(&h);
      auto answer = co_await reactor::with_deadline(http.fetch(wanted), from + 60s);
      got = std::pair(answer ? answer->status : 0, h.loop().now() - from);
      if (!answer) w.trace(answer.error().message);
    }
  }
  // One request; what came, and after how long. 0: nothing within a minute.
  std::pair<int, duration> ask(host& server, std::string method = "GET") {
    wanted = {.to = {.at = {server.address(), server_port}, .host = "sim", .tls = keys.trusting},
              .method = std::move(method),
              .path = "/api/v1/nodes/n1/proxy/healthz"};
    got.reset();
    {
      reactor::loop::current_guard on_user(user.loop());
      woken.set();
    }
    const bool answered = w.run_until([&] { return got.has_value(); }, 2min);
    REQUIRE_MESSAGE(answered, w.trace_text());
    return *got;
  }
};

}  // namespace

TEST_CASE("a node is reached while its link to a server is dead, by way of the others, and by its own tunnel again") {
  for (int asked = 0; asked < 3; ++asked) {
    cluster c;
    auto fast = [&](std::string_view when, std::string method = "GET") {
      CAPTURE(when);
      auto [status, took] = c.ask(c[asked], method);
      CAPTURE(c.w.trace_text());
      CHECK(status == 200);
      CHECK(took < 100ms);
    };
    fast("all is well");
    fast("over a kept connection");

    // The link dies without a word. The first request finds that out; from then on others relay, with or without a kept
    // connection.
    c.w.cut(c[asked], c.node);
    auto [status, took] = c.ask(c[asked]);
    CHECK(status == 200);
    CHECK(took < 9s);  // the kept connection's answer is waited for, then the new one's handshake
    for (auto method : {"GET", "POST", "GET"}) fast("relayed", method);
    c.w.run_for(5s);
    fast("still relayed, before the node is known to be silent");
    c.w.run_for(15s);
    fast("still relayed, after that");

    // It lives again: its own tunnel, and none of the relayed connections, which may be through one that dies now.
    c.w.heal(c[asked], c.node);
    c.w.run_for(20s);
    fast("healed");
    for (int other = 0; other < 3; ++other)
      if (other != asked) c.w.cut(c[other], c.node);
    fast("by its own tunnel");
    c.w.run_for(30s);
    fast("by its own tunnel alone", "POST");

    // Nothing leads there: an error, and not for ever. Then all is well again.
    c.w.cut(c[asked], c.node);
    auto [no, after] = c.ask(c[asked]);
    CHECK(no == 503);
    CHECK(after < 30s);
    for (auto* s : c.servers) c.w.heal(*s, c.node);
    c.w.run_for(90s);
    fast("at last");
  }
}

TEST_CASE("a relayed connection that dies at the relaying server is not waited for") {
  cluster c;
  c.w.cut(c[0], c.node);
  for (int i = 0; i < 3; ++i) CHECK(c.ask(c[0]).first == 200);  // one is kept, by b or c
  c.w.run_for(20s);
  CHECK(c.ask(c[0]).first == 200);
  for (int other : {1, 2}) {
    c.w.cut(c[other], c.node);
    c.w.run_for(15s);  // that one knows it by now
    auto [status, took] = c.ask(c[0]);
    CHECK(status == 200);
    CHECK(took < 6s);
    c.w.heal(c[other], c.node);
    c.w.run_for(30s);
  }
}
