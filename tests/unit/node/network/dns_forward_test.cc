// Resolvers outside: how they are asked, what is done while they are away, and when they lead back here.
#include "node/dns/forward.h"

#include <doctest/doctest.h>

#include <chrono>
#include <set>
#include <utility>

#include "../loop.h"
#include "node/dns/custom.h"
#include "node/dns/limits.h"
#include "node/dns/server.h"
#include "resolver.h"
#include "sockets.h"

using namespace kedge;
using namespace kedge::node;
using namespace kedge::node::dns;
using moods = letters_resolver::moods;

namespace {

// Of a resolver that is silent; one that answers does so long before.
constexpr auto soon = std::chrono::milliseconds(700);

query asks(std::string_view name) {
  auto m = write_query(7, name, type::a);
  return *parse_query(as_bytes(m)).query;
}

// Seconds that the first record holds; -1: an error or none.
long ttl_of(const result<std::string>& said, const query& q) {
  auto r = said ? parse_reply(as_bytes(*said), q.question) : std::nullopt;
  return r && !r->answers.empty() ? static_cast<long>(r->answers[0].ttl) : -1;
}

task<long> ask(forwarder& f, std::string name) {
  auto q = asks(name);
  auto said = co_await f.ask(q, false);
  co_return ttl_of(said, q);
}

upstream_address sealed(const letters_resolver& r) { return {reactor::endpoint{"127.0.0.1", r.sealed_port}, true}; }

forward_options over_tls(const letters_resolver& r, std::string name = {}) {
  forward_options o{.cache = cache_options::none()};
  o.upstream.trust = std::make_shared<tls_trust>(r.authority_pem());
  o.upstream.tls_server_name = std::move(name);
  return o;
}

}  // namespace

TEST_CASE("dns over TLS: a connection serves many questions, and is made anew when it was closed") {
  test_loop t;
  t.run([]() -> task<void> {
    letters_resolver r;
    reactor::scope tasks;
    tasks.spawn(r.run());
    forwarder f({sealed(r)}, over_tls(r, "dns.test"));
    for (int i = 0; i < 5; ++i) CHECK(co_await ask(f, "a" + std::to_string(i) + ".test") == 30);
    CHECK(r.messages == 5);
    CHECK(r.connections_begun == 1);
    r.hang_up();
    CHECK(co_await ask(f, "b.test") == 30);
    CHECK(r.connections_begun == 2);
    CHECK(r.datagrams == 0);
    tasks.cancel();
  }());
}

TEST_CASE("dns over TLS: only who has the certificate is asked anything") {
  test_loop t;
  t.run([]() -> task<void> {
    letters_resolver r, stranger;
    reactor::scope tasks;
    tasks.spawn(r.run());
    forwarder by_address({sealed(r)}, over_tls(r));
    CHECK(co_await ask(by_address, "a.test") == 30);
    const auto before = r.messages;
    forwarder other_name({sealed(r)}, over_tls(r, "other.test")), other_authority({sealed(r)}, over_tls(stranger));
    for (auto* f : {&other_name, &other_authority}) CHECK(co_await ask(*f, "a.test") == -1);
    CHECK(r.messages == before);
    tasks.cancel();
  }());
}

TEST_CASE("dns over TLS: connections that nobody uses are closed in time") {
  test_loop t;
  t.run([]() -> task<void> {
    letters_resolver r;
    reactor::scope tasks;
    tasks.spawn(r.run());
    auto options = over_tls(r);
    options.upstream.expire = std::chrono::milliseconds(1);
    forwarder f({sealed(r)}, options);
    CHECK(co_await ask(f, "a.test") == 30);
    co_await reactor::sleep_for(std::chrono::milliseconds(20));
    CHECK(co_await ask(f, "b.test") == 30);
    CHECK(r.connections_begun == 2);
    tasks.cancel();
  }());
}

TEST_CASE("dns: an answer to another question is passed over, and nobody has as many guesses as it takes") {
  test_loop t;
  t.run([]() -> task<void> {
    letters_resolver r;
    reactor::scope tasks;
    tasks.spawn(r.run());
    forwarder f({{"127.0.0.1", r.port}}, {.cache = cache_options::none()});
    for (auto [guesses, ttl] : {std::pair(0, 30), {strangers_max, 30}, {strangers_max + 1, -1}, {100, -1}, {1, 30}}) {
      CAPTURE(guesses);
      r.guesses = static_cast<std::uint16_t>(guesses);
      CHECK(co_await ask(f, "a.test") == ttl);
    }
    tasks.cancel();
  }());
}

TEST_CASE("dns: what is over still serves while resolvers are away, and is replaced when they are back") {
  test_loop t;
  t.run([]() -> task<void> {
    letters_resolver r;
    reactor::scope tasks;
    tasks.spawn(r.run());
    forward_options options{.cache = {.success = std::chrono::seconds(1)}};
    options.upstream.check_interval = std::chrono::milliseconds(20);
    forwarder f({{"127.0.0.1", r.port}}, options);
    CHECK(co_await ask(f, "a.test") == 1);
    r.mood = moods::silent;
    co_await reactor::sleep_for(std::chrono::milliseconds(1100));
    CHECK(co_await ask(f, "a.test") == 0);   // after its patience
    CHECK(co_await ask(f, "b.test") == -1);  // nobody ever said it
    CHECK(co_await ask(f, "a.test") == 0);
    r.mood = moods::answers;
    long ttl = 0;
    while (ttl != 1) {
      ttl = co_await ask(f, "a.test");
      CHECK(ttl >= 0);
      co_await reactor::sleep_for(std::chrono::milliseconds(20));
    }
    tasks.cancel();
  }());
}

TEST_CASE("dns: a resolver that is silent is left out until it speaks again") {
  test_loop t;
  t.run([]() -> task<void> {
    letters_resolver first, second;
    reactor::scope tasks;
    tasks.spawn(first.run());
    tasks.spawn(second.run());
    forward_options options{.cache = cache_options::none(), .first = forward_options::order::listed};
    options.upstream.check_interval = std::chrono::milliseconds(20);
    options.upstream.check_name = "check.test";
    options.upstream.timeout = soon;
    forwarder f({{"127.0.0.1", first.port}, {"127.0.0.1", second.port}}, options);
    CHECK(co_await ask(f, "a.test") == 30);
    CHECK(second.datagrams == 0);
    first.mood = moods::silent;
    // Its questions wait for it, until two checks have failed: then nothing but checks comes.
    for (int in_a_row = 0, asked = 0; in_a_row < 2; ++asked) {
      CHECK(co_await ask(f, "b" + std::to_string(asked) + ".test") == 30);
      in_a_row = first.asked_for.contains("b" + std::to_string(asked) + ".test") ? 0 : in_a_row + 1;
    }
    first.mood = moods::answers;
    // It is heard by the check, and then asked first again.
    for (;;) {
      CHECK(co_await ask(f, "c.test") == 30);
      if (first.asked_for.contains("c.test")) break;
      co_await reactor::sleep_for(std::chrono::milliseconds(10));
    }
    tasks.cancel();
  }());
}

TEST_CASE("dns: while all are down a question fails at once where that is asked for, and is tried where it isn't") {
  test_loop t;
  t.run([]() -> task<void> {
    letters_resolver r;
    r.mood = moods::silent;
    reactor::scope tasks;
    tasks.spawn(r.run());
    forward_options options{.cache = cache_options::none(), .fail_fast = true};
    options.upstream.max_fails = 1;
    options.upstream.check_interval = std::chrono::hours(1);
    options.upstream.timeout = soon;
    forwarder fast({{"127.0.0.1", r.port}}, options);
    options.fail_fast = false;
    forwarder patient({{"127.0.0.1", r.port}}, options);
    for (int i = 0; i < 2; ++i) CHECK(co_await ask(patient, "a.test") == -1);
    for (auto why = std::string(); !why.contains("all resolvers are down");) {
      auto said = co_await fast.ask(asks("a.test"), false);
      CHECK_FALSE(said);
      why = said ? why : said.error().message;
      co_await reactor::sleep_for(std::chrono::milliseconds(10));
    }
    r.mood = moods::answers;
    CHECK(co_await ask(fast, "b.test") == -1);
    CHECK(co_await ask(patient, "b.test") == 30);
    CHECK(co_await ask(patient, "c.test") == 30);
    tasks.cancel();
  }());
}

TEST_CASE("dns: each policy has its order") {
  test_loop t;
  t.run([]() -> task<void> {
    using enum forward_options::order;
    for (auto order : {listed, in_turn, random}) {
      letters_resolver one, two;
      reactor::scope tasks;
      tasks.spawn(one.run());
      tasks.spawn(two.run());
      forwarder f({{"127.0.0.1", one.port}, {"127.0.0.1", two.port}}, {.cache = cache_options::none(), .first = order});
      for (int i = 0; i < 40; ++i) CHECK(co_await ask(f, "a.test") == 30);
      if (order == listed) CHECK(two.datagrams == 0);
      if (order == in_turn) CHECK(two.datagrams == 20);
      if (order == random) CHECK(two.datagrams > 0);
      CHECK(one.datagrams + two.datagrams == 40);
      tasks.cancel();
    }
  }());
}

TEST_CASE("dns: a resolver that leads back here is found, and asked no more until it leads elsewhere") {
  test_loop t;
  t.run([]() -> task<void> {
    service_view view;
    names zone({.domain = "cluster.local"}, view);
    const auto port = free_port();
    letters_resolver good;
    forwarder machine({{"127.0.0.1", good.port}});
    server s({.addresses = {ip_address::parse("127.0.0.1").value()},
              .port = port,
              .may_ask = [](const ip_address&) { return true; }},
             zone, machine);
    reactor::scope tasks;
    tasks.spawn(good.run());
    tasks.spawn(s.run());
    co_await s.ready().wait();
    auto around = std::to_string(port), straight = std::to_string(good.port);
    s.use(read_custom({.custom = {{"a.override", "forward round.test 127.0.0.1:" + around + "\n"},
                                  {"b.server", "zone.test {\nforward . 127.0.0.1:" + straight + "\n}\n"}}}));
    auto all = s.all_asked_outside();
    REQUIRE(all.size() == 3);
    CHECK(co_await s.look_for_loop(all[0]) == false);
    CHECK(co_await s.look_for_loop(all[1]) == true);
    CHECK(co_await s.look_for_loop(all[2]) == false);
    CHECK(all[1].zone == "round.test");
    CHECK(all[1].by->loops());
    auto q = asks("a.round.test");
    auto said = co_await all[1].by->ask(q, false);
    REQUIRE_FALSE(said);
    CHECK(said.error().message == "127.0.0.1:" + around + " asks this node again: a loop");
    CHECK(co_await ask(*all[2].by, "a.zone.test") == 30);
    all[1].by->set_upstreams({{"127.0.0.1", good.port}});
    CHECK_FALSE(all[1].by->is_checked());
    CHECK(co_await s.look_for_loop(all[1]) == false);
    CHECK(co_await ask(*all[1].by, "a.round.test") == 30);
    good.mood = moods::silent;
    CHECK(co_await s.look_for_loop(all[0]) == std::nullopt);
    tasks.cancel();
  }());
}
