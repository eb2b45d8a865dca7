// What users configure, answered as CoreDNS answers it: its answers, recorded (tests/answers/record_dns.py).
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <sstream>

#include "../loop.h"
#include "base/strings.h"
#include "node/dns/limits.h"
#include "node/dns/server.h"
#include "sockets.h"

using namespace kedge;
using namespace kedge::node;
using namespace kedge::node::dns;

namespace {

struct row {
  std::string name, type, said;
};
struct recorded {
  config_texts config;
  std::vector<row> rows;
};

std::vector<recorded> read_recorded() {
  std::ifstream file(KEDGE_ANSWERS "/dns/custom.txt");
  std::vector<recorded> out;
  bool in_rows = true;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string mark, key;
    words >> mark >> key;
    if (mark == "=") {
      if (std::exchange(in_rows, false)) out.emplace_back();
      auto& text = out.back().config[key];
      while (std::getline(file, line) && line != ".") text += line + "\n";
    } else {
      in_rows = true;
      row r{.name = key, .type = {}, .said = {}};
      words >> r.type >> std::ws;
      std::getline(words, r.said);
      out.back().rows.push_back(std::move(r));
    }
  }
  return out;
}

// The recorder's resolver: an IPv4 address for each name, its letters' sum.
task<void> resolve(std::uint16_t port) {
  int fd = bound(port);
  reactor::descriptor s(fd);
  std::array<char, 4096> room;
  for (;;) {
    if (!(co_await s.readable())) co_return;
    sockaddr_in from{};
    socklen_t size = sizeof from;
    auto got = ::recvfrom(fd, room.data(), room.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) continue;
    auto p = parse_query(as_bytes(std::string_view(room.data(), static_cast<std::size_t>(got))));
    if (!p.query) continue;
    unsigned total = 0;
    for (unsigned char c : p.query->asked) total += c;
    answer a{.authoritative = false};
    if (p.query->type == type::a)
      a.answers.push_back(address_record(
          {}, ip_address::parse("10.0." + std::to_string(total >> 8) + "." + std::to_string(total & 255)).value(), 30));
    auto said = write_answer(*p.query, a, p.query->udp_bytes);
    ::sendto(fd, said.data(), said.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
  }
}

type type_of(std::string_view text) {
  return text == "A" ? type::a : text == "AAAA" ? type::aaaa : text == "PTR" ? type::ptr : type::txt;
}

// As the recorder writes an answer.
std::string told(const std::string& bytes, const std::string& asked) {
  auto r = parse_reply(as_bytes(bytes), std::string_view(asked).substr(12));
  if (!r) return "no answer";
  std::vector<std::string> records;
  for (auto& one : r->answers) {
    auto owner = lower(one.owner);
    if (owner.ends_with('.')) owner.pop_back();
    std::string text;
    if (one.type == type::a) {
      for (unsigned char c : one.data) text += (text.empty() ? "" : ".") + std::to_string(c);
    } else if (one.type == type::aaaa) {
      auto part = [&](std::size_t i) { return load_be16(as_bytes(one.data).data() + 2 * i); };
      char groups[64];
      std::snprintf(groups, sizeof groups, "%x:%x:%x:%x:%x:%x:%x:%x", part(0), part(1), part(2), part(3), part(4),
                    part(5), part(6), part(7));
      text = ip_address::parse(groups).value().text();
    } else {
      continue;
    }
    records.push_back(owner + (one.type == type::a ? " A " : " AAAA ") + std::to_string(one.ttl) + " " + text);
  }
  std::ranges::sort(records);
  auto out = std::to_string(bytes[3] & 15) + " " + std::to_string(load_be16(as_bytes(bytes).data() + 6)) + " " +
             join(records, " ");
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

}  // namespace

TEST_CASE("custom names: answered as CoreDNS answers them") {
  auto all = read_recorded();
  REQUIRE(all.size() >= 10);
  test_loop t;
  t.run([](const std::vector<recorded>& cases) -> task<void> {
    service_view view;
    names zone({.domain = "cluster.local"}, view);
    for (kind_sink* kind : {static_cast<kind_sink*>(&view.services), static_cast<kind_sink*>(&view.slices)}) {
      kind->begin_list();
      kind->end_list();
    }
    auto theirs = free_port(), port = free_port();
    forwarder machine({{"127.0.0.1", theirs}}, {.cache_time = duration(0)});
    server s({.addresses = {ip_address::parse("127.0.0.1").value()},
              .port = port,
              .may_ask = [](const ip_address&) { return true; }},
             zone, machine);
    reactor::scope tasks;
    tasks.spawn(resolve(theirs));
    tasks.spawn(s.run());
    CHECK(co_await s.ready().wait_until(reactor::loop::current().now() + std::chrono::seconds(5)));
    for (auto& one : cases) {
      auto config = one.config;
      std::string shown;
      for (auto& [key, text] : config) {
        shown += key + ":\n" + text;
        for (std::string_view mark = "%STUB%"; text.contains(mark);)
          text.replace(text.find(mark), mark.size(), "127.0.0.1:" + std::to_string(theirs));
      }
      auto read = read_custom(config, {}, {});
      CHECK_MESSAGE(read.problems.empty(), join(read.problems, "; "));
      s.use(std::move(read));
      for (auto& r : one.rows) {
        auto asked = write_query(7, r.name, type_of(r.type));
        auto said = told(co_await ask_udp(port, asked), asked);
        CHECK_MESSAGE(said == r.said, shown << r.name << " " << r.type << ": " << said << ", CoreDNS: " << r.said);
      }
    }
    tasks.cancel();
  }(all));
}
