// etcd_test.cc: etcd's messages, and what the log keeps of its watch. The rest needs an etcd:
// tests/integration/datastore.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "base/protobuf_wire.h"
#include "datastore/etcd/limits.h"
#include "datastore/etcd/members.h"
#include "datastore/etcd/messages.h"
#include "datastore/etcd/news.h"

namespace kedge::datastore::etcd {

namespace {

std::string key_value_text(const key_value& kv) {
  return wire::writer()
      .text(1, kv.key)
      .number(2, kv.created)
      .number(3, kv.modified)
      .number(4, kv.version)
      .text(5, kv.value)
      .number(6, kv.lease)
      .take();
}
std::string header_text(revision at) { return wire::writer().number(1, 7).number(2, 8).number(3, at).take(); }

event_stream::piece piece_of(revision at, std::vector<key_value> put) {
  event_stream::piece out;
  for (auto& kv : put) {
    kv.modified = at;
    if (!kv.created) kv.created = at;
    out.events.push_back({.now = std::move(kv)});
  }
  out.upto = at;
  return out;
}

}  // namespace

TEST_CASE("etcd: what is asked has the numbers of rpc.proto") {
  // As protoc writes them.
  CHECK(encode(range_request{.key = "a", .end = "b", .limit = 5, .revision = 300, .keys_only = true}) ==
        std::string("\x0a\x01"
                    "a"
                    "\x12\x01"
                    "b"
                    "\x18\x05\x20\xac\x02\x40\x01"));
  CHECK(encode(transaction{.when = {{"a", 0}}, .key = "a", .value = "v", .lease = 3, .reads = {"a"}}) ==
        std::string("\x0a\x07\x10\x02\x1a\x01"
                    "a"
                    "\x30\x00"
                    "\x12\x0a\x12\x08\x0a\x01"
                    "a"
                    "\x12\x01"
                    "v"
                    "\x18\x03"
                    "\x1a\x07\x0a\x05\x0a\x01"
                    "a"
                    "\x40\x01",
                    9 + 12 + 9));
  CHECK(encode(transaction{.what = transaction::change::remove, .key = "a"}) == std::string("\x12\x05\x1a\x03\x0a\x01"
                                                                                            "a"));
  CHECK(encode_watch_all(9) == std::string("\x0a\x0c\x0a\x01\x00\x12\x01\x00\x18\x09\x30\x01\x40\x01", 14));
  CHECK(encode_compaction(300) == std::string("\x08\xac\x02"));
  CHECK(end_of("/registry/") == "/registry0");
  CHECK(end_of("a\xff") == "b");
  CHECK(end_of("") == std::string(1, '\0'));
}

TEST_CASE("etcd: what comes is read, and what is cut short is refused") {
  key_value kv{"/registry/a", "v\0w", 3, 9, 2, lease_number(3600, 0xffffffff)};
  auto one = key_value_text(kv);
  auto range = wire::writer().message(1, header_text(12)).message(2, one).number(3, 1).take();
  auto got = decode_range(range);
  REQUIRE(got.has_value());
  CHECK(got->from.cluster == 7);
  CHECK(got->from.revision == 12);
  CHECK(got->more);
  REQUIRE(got->found.size() == 1);
  CHECK(got->found[0].value == kv.value);
  CHECK(got->found[0].modified == 9);
  CHECK(seconds_of_lease(got->found[0].lease) == 3600);
  auto event = wire::writer().number(1, 1).message(2, one).message(3, one).take();
  auto watch = wire::writer().message(1, header_text(12)).number(7, 1).message(11, event).take();
  auto heard = decode_watch(watch);
  REQUIRE(heard.has_value());
  CHECK(heard->part);
  REQUIRE(heard->events.size() == 1);
  CHECK(heard->events[0].removed);
  CHECK(heard->events[0].has_before);
  auto read = wire::writer().message(1, range).take();
  auto txn = wire::writer().message(1, header_text(12)).message(3, read).message(3, read).take();
  auto done = decode_transaction(txn);
  REQUIRE(done.has_value());
  CHECK(!done->succeeded);
  CHECK(done->standing.size() == 2);
  for (std::size_t n = 1; n < txn.size(); ++n) {
    auto cut = decode_transaction(std::string_view(txn).substr(0, n));
    if (cut) CHECK(cut->standing.size() < 2);
  }
  CHECK(!decode_range("\x0a\x7f").has_value());
  auto member = wire::writer().number(1, 5).text(2, "a").text(3, "https://p").text(4, "https://c").number(5, 1).take();
  auto members = decode_members(wire::writer().message(2, member).message(2, {}).take());
  REQUIRE(members.has_value());
  REQUIRE(members->size() == 2);
  CHECK(members->front().id == 5);
  CHECK(members->front().peer_urls == std::vector<std::string>{"https://p"});
  CHECK(members->front().client_urls == std::vector<std::string>{"https://c"});
  CHECK(members->front().learner);
  CHECK(members->back().name.empty());
  CHECK(!decode_authenticate("").has_value());
}

TEST_CASE("etcd: a lease's number tells its time to live, and others' numbers tell nothing") {
  for (std::uint32_t s : {1u, 15u, 3660u, 16'777'215u})
    for (std::uint32_t random : {0u, 1u, 0xffffffffu}) {
      CHECK(seconds_of_lease(lease_number(s, random)) == s);
      CHECK(static_cast<std::int64_t>(lease_number(s, random)) > 0);
    }
  for (std::uint64_t other : {0ull, 1ull, 7587870921234567890ull, ~0ull}) CHECK(seconds_of_lease(other) == 0);
}

TEST_CASE("etcd: news are given whole, by revision, and forgotten when they were given") {
  news n;
  n.begin(10);
  n.take(piece_of(11, {{.key = "/registry/a", .value = "1"}, {.key = "/registry/b", .value = "2"}}));
  n.take(piece_of(12, {{.key = "/other/c"}}));
  n.take(piece_of(12, {{.key = "/registry/again"}}));  // known
  n.take(piece_of(13, {{.key = "/registry/a", .value = "3", .created = 11}}));
  CHECK(n.upto() == 13);
  auto p = n.read(10);
  CHECK(p.at == 13);
  CHECK(p.done);
  REQUIRE(p.entries.size() == 4);
  CHECK(p.entries[0].at == 11);
  CHECK(p.entries[1].at == 11);
  CHECK(p.entries[2].kind == change::remove);  // others' keys, so that the revision is known
  CHECK(p.entries[2].value.empty());
  CHECK(p.entries[3].kind == change::update);
  CHECK(n.read(12).entries.size() == 1);
  CHECK(n.read(13).entries.empty());
  CHECK(n.between(10, 12).size() == 3);
  CHECK(n.between(12, 11).empty());
  // What stands at the newest is known again.
  CHECK(n.mark() == news::mark_of(piece_of(13, {{.key = "/registry/a", .value = "3"}}).events, 13));
  CHECK(n.mark() != news::mark_of(piece_of(13, {{.key = "/registry/a", .value = "4"}}).events, 13));
  // Bounded, but for what nobody has been given.
  for (revision at = 14; at < 14 + 24; ++at)
    n.take(piece_of(at, {{.key = "/registry/large", .value = std::string(1024 * 1024, 'x'), .created = 14}}));
  CHECK(n.full());
  CHECK(n.from() == 10);
  n.given(30);
  CHECK(!n.full());
  CHECK(n.from() > 20);
  CHECK(n.read(n.from()).entries.front().at == n.from() + 1);
  CHECK(n.upto() == 37);
}

}  // namespace kedge::datastore::etcd
