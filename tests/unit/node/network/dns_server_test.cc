#include "node/dns/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>

#include "../loop.h"
#include "json/parse.h"
#include "node/dns/limits.h"
#include "sockets.h"

using namespace kedge;
using namespace kedge::node;
using namespace kedge::node::dns;

namespace {

auto ip(std::string_view t) { return ip_address::parse(t).value(); }

task<std::string> ask_tcp(std::uint16_t port, std::string message) {
  auto s = co_await reactor::os_network().connect({"127.0.0.1", port});
  if (!s) co_return std::string();
  std::string framed;
  append_be16(framed, static_cast<std::uint16_t>(message.size()));
  framed += message;
  (void)co_await (*s)->send(as_bytes(framed));
  std::string held;
  while (held.size() < 2 || held.size() < 2U + load_be16(as_bytes(held).data())) {
    auto piece = co_await (*s)->receive();
    if (!piece || piece->empty()) co_return std::string();
    held += as_text(piece->view());
  }
  co_return held.substr(2);
}

// A resolver: www.example.com has three addresses and many.example.com sixty, bad.example.com is SERVFAIL; counts what
// it is asked.
struct resolver {
  std::uint16_t port = free_port();
  int asked = 0;
  bool silent = false;
  task<void> run() {
    int fd = bound(port);
    reactor::descriptor s(fd);
    std::array<char, 4096> room;
    for (;;) {
      if (!(co_await s.readable())) co_return;
      sockaddr_in from{};
      socklen_t size = sizeof from;
      auto got = ::recvfrom(fd, room.data(), room.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (got < 0) continue;
      ++asked;
      auto p = parse_query(as_bytes(std::string_view(room.data(), static_cast<std::size_t>(got))));
      if (!p.query || silent) continue;
      auto said = write_answer(*p.query, answer_to(*p.query), p.query->udp_bytes);
      ::sendto(fd, said.data(), said.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
  }
  static answer answer_to(const query& q) {
    answer a;
    a.authoritative = false;
    if (q.asked == "bad.example.com") a.code = rcode::server_failure;
    const int addresses = q.asked == "www.example.com" ? 3 : q.asked == "many.example.com" ? 60 : 0;
    for (int i = 0; i < addresses; ++i)
      a.answers.push_back(address_record({}, ip("192.0.2." + std::to_string(i)), 100));
    return a;
  }
};

reply read(const std::string& said, const std::string& asked) {
  auto r = parse_reply(as_bytes(said), std::string_view(asked).substr(12));
  CHECK(r);
  return r.value_or(reply{});
}

}  // namespace

TEST_CASE("dns: who takes less than a resolver said is told to ask by TCP") {
  test_loop t;
  t.run([]() -> task<void> {
    service_view view;
    names zone({.domain = "cluster.local"}, view);
    resolver good;
    forwarder f({{"127.0.0.1", good.port}});
    const auto port = free_port();
    server s({.addresses = {ip("127.0.0.1")}, .port = port, .may_ask = [](const ip_address&) { return true; }}, zone,
             f);
    reactor::scope tasks;
    tasks.spawn(good.run());
    tasks.spawn(s.run());
    co_await s.ready().wait();
    for (std::uint16_t takes : {512, 1232}) {
      CAPTURE(takes);
      auto asked = write_query(3, "many.example.com", type::a);
      const auto question = asked.substr(12);
      asked[11] = 1;  // of additional records: OPT
      asked += '\0';
      append_be16(asked, static_cast<std::uint16_t>(type::opt));
      append_be16(asked, takes);
      append_be32(asked, 0);
      append_be16(asked, 0);
      auto said = co_await ask_udp(port, asked);
      CHECK(said.size() <= takes);
      auto r = parse_reply(as_bytes(said), question);
      REQUIRE(r);
      CHECK(r->id == 3);
      CHECK(r->truncated == (takes == 512));
      CHECK(r->answers.size() == (takes == 512 ? 0 : 60));
      auto whole = parse_reply(as_bytes(co_await ask_tcp(port, asked)), question);
      REQUIRE(whole);
      CHECK(whole->answers.size() == 60);
    }
    // The same by another name, of which the resolver itself tells less than there is.
    s.use(read_custom({.custom = {{"a.override", "rewrite name exact other.example.com many.example.com\n"}}}));
    auto asked = write_query(4, "other.example.com", type::a);
    CHECK(read(co_await ask_udp(port, asked), asked).truncated);
    tasks.cancel();
  }());
}

TEST_CASE(
    "dns: the server answers over UDP and TCP, asks resolvers for the rest, remembers what they said, and goes on to "
    "the next") {
  test_loop t;
  t.run([]() -> task<void> {
    service_view view;
    names zone({.domain = "cluster.local"}, view);
    view.services.begin_list();
    view.services.set(
        json::parse(
            R"({"metadata":{"namespace":"a","name":"b"},"spec":{"clusterIPs":["10.43.0.1"],"ports":[{"port":1}]}})")
            .value());
    view.services.set(
        json::parse(
            R"({"metadata":{"namespace":"a","name":"out"},"spec":{"type":"ExternalName","externalName":"www.example.com"}})")
            .value());
    view.services.end_list();
    view.slices.begin_list();
    view.slices.end_list();
    resolver dead, good;
    dead.silent = true;
    forwarder f({{"127.0.0.1", dead.port}, {"127.0.0.1", good.port}});
    auto port = free_port();
    bool open = true;
    server s({.addresses = {ip("127.0.0.1")}, .port = port, .may_ask = [&](const ip_address&) { return open; }}, zone,
             f);
    reactor::scope tasks;
    tasks.spawn(dead.run());
    tasks.spawn(good.run());
    tasks.spawn(s.run());
    CHECK(co_await s.ready().wait_until(reactor::loop::current().now() + std::chrono::seconds(5)));

    auto inside = write_query(1, "b.a.svc.cluster.local", type::a);
    auto said = read(co_await ask_udp(port, inside), inside);
    CHECK(said.answers.size() == 1);
    CHECK(said.id == 1);
    CHECK(read(co_await ask_tcp(port, inside), inside).answers.size() == 1);

    auto outside = write_query(2, "www.example.com", type::a);
    said = read(co_await ask_udp(port, outside), outside);
    CHECK(said.answers.size() == 3);
    CHECK(said.id == 2);
    CHECK(dead.asked >= 1);  // and whether it is there, beside
    CHECK(good.asked == 1);
    auto again = write_query(3, "www.example.com", type::a);
    said = read(co_await ask_udp(port, again), again);
    CHECK(said.answers.size() == 3);
    CHECK(said.id == 3);
    CHECK(good.asked == 1);  // remembered
    auto bad = write_query(4, "bad.example.com", type::a);
    CHECK(read(co_await ask_udp(port, bad), bad).code == rcode::server_failure);
    auto alias = write_query(5, "out.a.svc.cluster.local", type::a);
    said = read(co_await ask_udp(port, alias), alias);
    CHECK(said.answers.size() == 4);  // the alias, and its addresses
    CHECK(said.answers[0].type == type::cname);

    CHECK((co_await ask_udp(port, std::string("\0\1\1\0\0\2\0\0\0\0\0\0", 12)))[3] == '\x81');  // FORMERR
    CHECK(s.answered() == 7);

    // What users configure: other names, hosts, a zone that another resolver has.
    resolver theirs;
    tasks.spawn(theirs.run());
    auto to = "127.0.0.1:" + std::to_string(theirs.port);
    s.use(read_custom({.custom = {{"a.override",
                                   "rewrite name short.test b.a.svc.cluster.local\n"
                                   "rewrite name suffix .alias .example.com answer auto\n"
                                   "hosts {\n 192.0.2.77 nas\n}\n"},
                                  {"b.server", "www.example.com {\n forward . " + to + "\n}\nempty.test {\n}\n"}}}));
    auto ask = [&](std::string name) -> task<reply> {
      auto q = write_query(6, name, type::a);
      auto bytes = co_await ask_udp(port, q);
      co_return read(bytes, q);
    };
    CHECK((co_await ask("short.test")).answers.at(0).data == std::string("\x0a\x2b\0\1", 4));
    CHECK((co_await ask("nas")).answers.size() == 1);
    auto before = good.asked;
    CHECK((co_await ask("www.example.com")).answers.size() == 3);
    CHECK(theirs.asked == 1);
    CHECK(good.asked == before);
    // Without `cache` nothing is kept; a zone without anything answers nothing.
    CHECK((co_await ask("www.example.com")).answers.size() == 3);
    CHECK(theirs.asked == 2);
    CHECK((co_await ask("x.empty.test")).code == rcode::server_failure);
    auto renamed = co_await ask("www.alias");
    REQUIRE(renamed.answers.size() == 3);
    CHECK((renamed.answers[0].owner == "www.alias" || renamed.answers[0].owner == "www.alias."));
    s.use({});
    CHECK((co_await ask("www.example.com")).answers.size() == 3);
    CHECK(theirs.asked == 2);
    auto answered = s.answered();
    // Strangers get nothing.
    open = false;
    co_await ask_tcp(port, inside);
    CHECK(s.answered() == answered);
    tasks.cancel();
  }());
}

TEST_CASE("dns: resolvers are read from resolv.conf, ourselves left out") {
  auto all = parse_resolvers(
      "# nameserver 9.9.9.9\nsearch a\nnameserver 10.43.0.10\nnameserver\t192.168.1.1 # router\n nameserver "
      "fe80::1%eth0\nnameservers 1.1.1.1\nnameserver x\n"
      "nameserver 1.1.1.1\nnameserver 2.2.2.2\n",
      {ip("10.43.0.10")});
  REQUIRE(all.size() == 3);
  CHECK(all[0] == reactor::endpoint{"192.168.1.1", 53});
  CHECK(all[1].address == "fe80::1");
  CHECK(all[2].address == "1.1.1.1");
}

TEST_CASE("dns: the cache gives what is fresh, aged, and is bounded") {
  cache c({.stale = duration(0)});
  auto ask = [](int i) {
    auto m = write_query(9, "n" + std::to_string(i) + ".example.com", type::a);
    return *parse_query(as_bytes(m)).query;
  };
  auto keep = [&](int i, std::uint32_t ttl, time_point now) {
    auto q = ask(i);
    answer a;
    a.answers.push_back(address_record({}, ip("192.0.2.1"), ttl));
    auto m = write_answer(q, a, 512);
    c.keep(q, m, *parse_reply(as_bytes(m), q.question), now);
  };
  time_point t{};
  keep(1, 100, t);
  auto q = ask(1);
  auto found = parse_reply(as_bytes(c.find(q, t + std::chrono::seconds(10))), q.question);
  REQUIRE(found);
  CHECK(found->least_ttl == 20);  // of the half minute that it is kept
  CHECK(c.find(q, t + cache_time_max).empty());
  keep(2, 0, t);
  CHECK_FALSE(c.find(ask(2), t + cache_time_least - std::chrono::seconds(1)).empty());
  CHECK(c.find(ask(2), t + cache_time_least).empty());
  for (int i = 0; i < static_cast<int>(cache_entries_max) + 100; ++i) keep(i, 30, t);
  CHECK(c.size() == cache_entries_max);
  CHECK(c.find(ask(0), t).empty());
  CHECK_FALSE(c.find(ask(static_cast<int>(cache_entries_max)), t).empty());
}
