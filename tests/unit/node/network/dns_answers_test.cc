// What users configure, answered as CoreDNS answers it: its answers, recorded (tests/answers/record_dns.py).
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

#include "../loop.h"
#include "base/strings.h"
#include "node/dns/limits.h"
#include "node/dns/server.h"
#include "resolver.h"
#include "sockets.h"

using namespace kedge;
using namespace kedge::node;
using namespace kedge::node::dns;

namespace {

// A question and what was said; or a mark: "!" whether the resolver is away, "+" seconds that pass.
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
      row r{.name = mark == "?" ? key : mark, .type = mark == "?" ? "" : key, .said = {}};
      if (mark == "?") words >> r.type >> std::ws;
      std::getline(words, r.said);
      out.back().rows.push_back(std::move(r));
    }
  }
  return out;
}

// What the recorder starts CoreDNS with, where a case has no Corefile of its own.
constexpr const char* plain_corefile =
    ".:53 {\nimport /etc/coredns/custom/*.override\nforward . %STUB%\n}\nimport /etc/coredns/custom/*.server\n";

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
    letters_resolver theirs;
    auto port = free_port();
    forwarder machine(std::vector<upstream_address>{});
    server s({.addresses = {ip_address::parse("127.0.0.1").value()},
              .port = port,
              .may_ask = [](const ip_address&) { return true; }},
             zone, machine);
    reactor::scope tasks;
    tasks.spawn(theirs.run());
    tasks.spawn(s.run());
    co_await s.ready().wait();
    for (auto& one : cases) {
      auto texts = one.config;
      texts.try_emplace("Corefile", plain_corefile);
      std::string shown;
      for (auto& [key, text] : texts) {
        shown += key + ":\n" + text;
        for (auto [mark, at] : {std::pair("%STUB%", theirs.port), {"%TLS%", theirs.sealed_port}})
          for (auto i = text.find(mark); i != text.npos; i = text.find(mark))
            text.replace(i, std::strlen(mark), "127.0.0.1:" + std::to_string(at));
      }
      auto corefile = texts.extract("Corefile").mapped();
      auto read = read_custom(
          {.custom = texts, .corefile = corefile, .trust = std::make_shared<tls_trust>(theirs.authority_pem())});
      CHECK_MESSAGE(read.problems.empty(), join(read.problems, "; "));
      s.use(std::move(read));
      for (auto& r : one.rows) {
        if (r.name == "!") {
          theirs.mood = r.type == "away" ? letters_resolver::moods::fails : letters_resolver::moods::answers;
        } else if (r.name == "+") {
          co_await reactor::sleep_for(std::chrono::seconds(*parse_uint(r.type)));
        } else {
          auto asked = write_query(7, r.name, type_of(r.type));
          auto said = told(co_await ask_udp(port, asked), asked);
          CHECK_MESSAGE(said == r.said, shown << r.name << " " << r.type << ": " << said << ", CoreDNS: " << r.said);
        }
      }
    }
    tasks.cancel();
  }(all));
}
