// A proxy between a node and its servers that takes connections and never says a word, refuses, or is away: whoever
// wants to go through it is told so in time, and goes through it as soon as it works.
#include <doctest/doctest.h>

#include "net/http/proxied_network.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t proxy_port = 3128;

// Takes every connection, and says what it is told to say to a request; nothing, if that is empty.
task<void> proxy_main(host& h, const std::string& says) {
  auto listener = h.listen({h.address(), proxy_port});
  REQUIRE(listener.has_value());
  reactor::scope all;
  for (;;) {
    auto s = co_await (*listener)->accept();
    if (!s) co_return;
    all.spawn([](std::unique_ptr<reactor::stream> one, const std::string& words) -> task<void> {
      for (;;) {
        auto got = co_await one->receive();
        if (!got || got->empty()) co_return;
        if (!words.empty() && !co_await one->send(as_bytes(words))) co_return;
      }
    }(*std::move(s), says));
  }
}

}  // namespace

TEST_CASE("a proxy that hangs holds nobody up for more than ten seconds, and is used when it works again") {
  for (auto seed : seeds(5)) {
    CAPTURE(seed);
    world w(seed);
    auto &at = w.add_host("proxy"), &node = w.add_host("node");
    std::string says, problem;
    int tries = 0;
    duration longest{0};
    bool through = false;
    at.start([&](host& h) { return proxy_main(h, says); });
    node.start([&](host& h) -> task<void> {
      auto network =
          net::http::make_proxied_network({.url = "http://" + at.address() + ":3128", .named_by = "HTTPS_PROXY"}, h);
      REQUIRE(network.has_value());
      while (!through) {
        auto began = h.loop().now();
        auto there = co_await (*network)->connect({"192.0.2.7", 6443});
        longest = std::max(longest, h.loop().now() - began);
        ++tries;
        through = there.has_value();
        if (!there) problem = there.error().message;
        co_await reactor::sleep_for(1s);
      }
    });
    auto tried = [&, from = 0]() mutable {
      from = tries + 2;
      return w.run_until([&] { return tries >= from; }, 60s);
    };
    REQUIRE(tried());
    CHECK(problem == "the proxy at " + at.address() + ":3128 gives no way to 192.0.2.7:6443 within 10 s");
    CHECK(longest < 11s);
    // Half an answer is none either.
    says = "HTTP/1.1 200 Connection esta";
    REQUIRE(tried());
    CHECK(longest < 11s);
    says = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    REQUIRE(tried());
    CHECK(problem.find("refuses a way to 192.0.2.7:6443: it answers 403") != std::string::npos);
    at.crash();
    REQUIRE(tried());
    CHECK(problem.find("the proxy at " + at.address() + ":3128: ") == 0);
    says = "HTTP/1.1 200 Connection established\r\n\r\n";
    at.restart();
    CHECK(w.run_until([&] { return through; }, 60s));
    at.crash();
    node.crash();
  }
}
