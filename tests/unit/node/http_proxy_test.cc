// Which connections of an agent go through an HTTP proxy, as Go's httpproxy decides it, and what a proxy is asked.
#include "node/join/http_proxy.h"

#include <doctest/doctest.h>

#include <map>

#include "net/http/server.h"
#include "reactor/sync.h"

namespace kedge::node {
namespace {

TEST_CASE("the environment is read as K3s reads it") {
  std::map<std::string, std::string, std::less<>> set;
  auto said = [&] {
    return proxy_of([&](std::string_view name) -> std::optional<std::string> {
      auto v = set.find(name);
      return v == set.end() ? std::nullopt : std::optional(v->second);
    });
  };
  set["HTTPS_PROXY"] = "http://a:1";
  CHECK_FALSE(said());
  set["K3S_AGENT_HTTP_PROXY_ALLOWED"] = "false";
  CHECK_FALSE(said());
  set["K3S_AGENT_HTTP_PROXY_ALLOWED"] = "true";
  REQUIRE(said());
  CHECK(said()->proxy == "http://a:1");
  set["no_proxy"] = "b";
  CHECK(said()->no_proxy == "b");
  set["NO_PROXY"] = "c";
  CHECK(said()->no_proxy == "c");
  set.erase("HTTPS_PROXY");
  CHECK_FALSE(said());
  set["https_proxy"] = "d:2";
  CHECK(said()->proxy == "d:2");
}

TEST_CASE("NO_PROXY names names, addresses and ranges") {
  struct row {
    std::string_view host, no_proxy;
    bool directly;
  };
  static constexpr row rows[] = {
      {"127.0.0.1", "", true},
      {"::1", "", true},
      {"localhost", "", true},
      {"10.0.0.1", "", false},
      {"10.0.0.1", "*", true},
      {"10.0.0.1", "10.0.0.1", true},
      {"10.0.0.1", "10.0.0.10", false},
      {"10.0.0.1", "192.168.0.0/16, 10.0.0.0/8", true},
      {"10.0.0.1", "10.0.0.1:6443", true},
      {"10.0.0.1", "10.0.0.1:443", false},
      {"fd00::1", "fd00::/8", true},
      {"kube.example.org", "example.org", true},
      {"example.org", "example.org", true},
      {"example.org", ".example.org", false},
      {"kube.example.org", ".example.org", true},
      {"kube.example.org", "*.example.org", true},
      {"notexample.org", "example.org", false},
      {"KUBE.example.org", "Example.Org", true},
  };
  for (auto& r : rows) {
    CAPTURE(r.host);
    CAPTURE(r.no_proxy);
    CHECK(goes_directly(r.host, 6443, r.no_proxy) == r.directly);
  }
}

// A proxy that answers each CONNECT as told, and notes what it was asked.
struct proxy final : net::http::handler {
  int status = 200;
  std::string target, authorization;
  task<void> serve(net::http::exchange& e) override {
    target = e.request().target;
    authorization = e.request().headers.get("Proxy-Authorization");
    net::http::response r;
    r.status = status;
    co_await e.respond(r, "no");
  }
};

TEST_CASE("a proxy that refuses or wants a password is told so, without the password") {
  reactor::loop loop(*reactor::make_backend(reactor::io_backend::epoll));
  loop.run_until([]() -> task<void> {
    proxy p;
    net::http::server server(p, {.listen = {{"127.0.0.1", 0}}});
    reactor::scope serving;
    serving.spawn([](net::http::server& s) -> task<void> { (void)co_await s.run(0); }(server));
    co_await server.ready(0).wait();
    auto at = server.listening(0).front().text();
    auto ask = [&](const std::string& url) -> task<result<std::unique_ptr<reactor::stream>>> {
      auto network = make_proxied_network({.proxy = url, .no_proxy = {}}, reactor::os_network());
      if (!network) co_return fail(network.error());
      co_return co_await (*network)->connect({"192.0.2.7", 6443});
    };
    p.status = 407;
    auto wants = co_await ask("http://" + at);
    REQUIRE_FALSE(wants);
    CHECK(wants.error().message.find("wants a password") != std::string::npos);
    CHECK(p.target == "192.0.2.7:6443");
    CHECK(p.authorization.empty());
    auto wrong = co_await ask("http://me:s%40crit@" + at);
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().message.find("does not accept") != std::string::npos);
    CHECK(wrong.error().message.find("crit") == std::string::npos);
    CHECK(p.authorization == "Basic bWU6c0Bjcml0");
    p.status = 403;
    auto refused = co_await ask(at);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("refuses a way to 192.0.2.7:6443: it answers 403") != std::string::npos);
    for (auto url : {"socks5://" + at, std::string("http://"), std::string("http://a b:1"), "http://u%zz@" + at})
      CHECK_FALSE(make_proxied_network({.proxy = url, .no_proxy = {}}, reactor::os_network()));
  }());
}

}  // namespace
}  // namespace kedge::node
