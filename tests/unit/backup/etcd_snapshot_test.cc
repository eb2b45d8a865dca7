// etcd's own snapshots, as K3s saves them: read, refused when they are damaged, and restored; and K3s's archives of
// them.
#include <doctest/doctest.h>
#include <zlib.h>

#include <fstream>
#include <map>
#include <sstream>

#include "backup/etcd_snapshot.h"
#include "backup/folder.h"
#include "backup/restore.h"
#include "backup/zip.h"
#include "base/protobuf_wire.h"
#include "crypto/bootstrap_record.h"
#include "crypto/digest.h"
#include "datastore/memory/memory_log.h"
#include "support/bolt.h"
#include "support/temporary_folder.h"

namespace kedge::backup {
namespace {

constexpr std::string_view password = "secret";

std::string big_endian(std::uint64_t n) {
  std::string out;
  for (int i = 7; i >= 0; --i) out += static_cast<char>(n >> 8 * i);
  return out;
}

bolt::entry put(std::uint64_t revision, std::string_view key, std::string_view value, std::uint64_t lease = 0) {
  wire::writer w;
  w.text(1, key);
  w.number(3, revision);
  w.text(5, value);
  w.number(6, lease);
  return {big_endian(revision) + "_" + big_endian(0), w.take()};
}
bolt::entry removed(std::uint64_t revision, std::string_view key) {
  wire::writer w;
  w.text(1, key);
  return {big_endian(revision) + "_" + big_endian(0) + "t", w.take()};
}

std::string sealed_record(std::string_view of) {
  return *crypto::encrypt_bootstrap(crypto::write_bootstrap_files({{"ServerCA", {.modified = {}, .content = "a CA"}}}),
                                    of, system_random());
}

// A cluster: two leaves of revisions, and a lease.
std::string database() {
  using namespace bolt;
  std::vector<entry> first = {
      put(2, crypto::bootstrap_key(password), sealed_record(password)), put(3, "/registry/configmaps/default/a", "old"),
      put(4, "/registry/events/default/e", "event", 77), put(5, "/registry/configmaps/default/gone", "x")};
  std::vector<entry> second = {put(6, "/registry/configmaps/default/a", "new"),
                               removed(7, "/registry/configmaps/default/gone"),
                               put(8, "/registry/masterleases/10.0.0.1", "{}"),
                               put(9, "compact_rev_key", "5"),
                               put(10, "k3s/apiaddresses", "[]"),
                               put(11, "/registry/secrets/default/s", "k8s:enc:aescbc:v1:key:sealed")};
  wire::writer lease;
  lease.number(1, 77);
  lease.number(2, 3600);
  return file({meta(2, 1), meta(2, 0),
               leaf({bucket_at("key", 3), bucket_of("lease", {{big_endian(77), lease.take()}})}),
               branch({{first.front().key, 4}, {second.front().key, 5}}), leaf(first), leaf(second)});
}

std::string with_sum(const std::string& text) { return text + crypto::sha256(as_bytes(text)); }

struct folder : temporary_folder {
  std::string write(const std::string& name, std::string_view text) const {
    auto at = path() + "/" + name;
    std::ofstream(at, std::ios::binary) << text;
    return at;
  }
};

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// As archive/zip of Go writes one: sizes behind the data, and in the list at the end.
std::string zipped(const std::string& name, const std::string& plain, std::uint16_t method = 8, int members = 1) {
  std::string packed = plain;
  if (method == 8) {
    z_stream z{};
    ::deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    packed.resize(::deflateBound(&z, plain.size()));
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
    z.avail_in = static_cast<uInt>(plain.size());
    z.next_out = reinterpret_cast<Bytef*>(packed.data());
    z.avail_out = static_cast<uInt>(packed.size());
    ::deflate(&z, Z_FINISH);
    packed.resize(z.total_out);
    ::deflateEnd(&z);
  }
  using bolt::number;
  auto sum = ::crc32(0, reinterpret_cast<const Bytef*>(plain.data()), static_cast<uInt>(plain.size()));
  auto begin = number(0x04034b50, 4) + number(20, 2) + number(8, 2) + number(method, 2) + number(0, 4) +
               std::string(12, '\0') + number(name.size(), 2) + number(0, 2) + name + packed;
  auto sizes = number(sum, 4) + number(packed.size(), 4) + number(plain.size(), 4);
  begin += number(0x08074b50, 4) + sizes;
  auto list = number(0x02014b50, 4) + number(20, 2) + number(20, 2) + number(8, 2) + number(method, 2) + number(0, 4) +
              sizes + number(name.size(), 2) + std::string(16, '\0') + name;
  return begin + list + number(0x06054b50, 4) + number(0, 4) + number(members, 2) + number(members, 2) +
         number(list.size(), 4) + number(begin.size(), 4) + number(0, 2);
}

std::map<std::string, std::string> all_of(source& in) {
  std::map<std::string, std::string> out;
  while (true) {
    auto block = in.next();
    REQUIRE(block);
    if (!*block) return out;
    for (auto& r : **block)
      out[r.key] = r.value + (r.lease_seconds ? " for " + std::to_string(r.lease_seconds) : std::string());
  }
}

}  // namespace

TEST_CASE("what stands in etcd's snapshot is its keys' newest revisions, without what servers note of themselves") {
  folder f;
  auto path = f.write("on-demand-one-1780000000", with_sum(database()));
  CHECK(is_etcd_snapshot(path));
  auto in = open_etcd_snapshot(path, password, false);
  REQUIRE_MESSAGE(in, in.error().message);
  CHECK((*in)->about().revision == 11);
  CHECK((*in)->about().objects == 3);
  CHECK(format_rfc3339((*in)->about().created) == "2026-05-28T20:26:40Z");
  CHECK(all_of(**in) ==
        std::map<std::string, std::string>{{"/registry/configmaps/default/a", "new"},
                                           {"/registry/events/default/e", "event for 3600"},
                                           {"/registry/secrets/default/s", "k8s:enc:aescbc:v1:key:sealed"}});
}

TEST_CASE("a snapshot of etcd's that is damaged, cut off, of another token or nothing of the kind is refused") {
  folder f;
  const auto whole = with_sum(database());
  auto wrong = [&](std::string_view text, std::string_view token = password, bool partial = false) {
    auto in = open_source(f.write("snapshot", text), token, partial);
    return in ? std::string("taken") : std::string(name_of(in.error().code));
  };
  CHECK(wrong(whole) == "taken");
  CHECK(wrong(whole, "another") == "unauthenticated");
  for (std::size_t at = 0; at < whole.size(); at += 1 + whole.size() / 90) {
    auto text = whole;
    text[at] = static_cast<char>(text[at] ^ 4);
    CHECK_MESSAGE(wrong(text) != "taken", at);
  }
  // Without its sum, as a member's own file is.
  CHECK(wrong(database()) == "corrupt");
  CHECK(wrong(database(), password, true) == "taken");
  CHECK(wrong(whole.substr(0, whole.size() - 700)) == "corrupt");
  CHECK(wrong("no snapshot of anybody's") == "invalid");
  // Trees that lead nowhere, or back; sums that are right.
  using namespace bolt;
  for (auto& text :
       {file({meta(2, 1), meta(2, 0), leaf({bucket_at("key", 3)}), branch({{"a", 3}})}),
        file({meta(2, 1), meta(2, 0), leaf({bucket_at("key", 99)})}),
        file({meta(2, 1), meta(2, 0), leaf({bucket_at("key", 3)}), bolt::header(2, 60000) + std::string(200, '\xff')}),
        file({meta(2, 1), meta(2, 0), leaf({bucket_at("key", 3)}), leaf({{"short", "x"}})}),
        file({meta(2, 1), meta(2, 0), leaf({bucket_at("key", 3)}),
              leaf({{big_endian(1) + "_" + big_endian(0), "\xff"}})})})
    CHECK(wrong(with_sum(text)) == "corrupt");
  CHECK(wrong(with_sum(file({meta(2, 1), meta(2, 0), leaf({bucket_of("meta", {{"a", "b"}})})}))) == "not_found");
}

TEST_CASE("etcd's snapshot becomes the cluster of another datastore") {
  folder f;
  auto path = f.write("snapshot", with_sum(database()));
  reactor::loop loop(*reactor::make_backend(reactor::io_backend::epoll));
  datastore::memory_database into;
  auto log = datastore::make_memory_log(into);
  auto done = loop.run_until(restore(*log, {.path = path, .password = std::string(password)}));
  REQUIRE_MESSAGE(done, done.error().message);
  CHECK(done->identity.at("ServerCA").content == "a CA");
  auto again = datastore::make_memory_log(into);
  std::map<std::string, std::string> found;
  loop.run_until([](datastore::log& l, std::map<std::string, std::string>& to) -> task<void> {
    CHECK(co_await l.open());
    datastore::revision at = 0;
    for (bool ended = false; !ended;) {
      auto page = co_await l.load_live(at);
      if (!page) co_return;
      for (auto& e : page->entries)
        if (e.kind == datastore::change::remove)
          to.erase(e.name);
        else
          to[e.name] = e.value;
      at = page->at;
      ended = page->done;
    }
    co_await l.close();
  }(*again, found));
  CHECK(found.at("/registry/configmaps/default/a") == "new");
  CHECK(found.at("/registry/secrets/default/s") == "k8s:enc:aescbc:v1:key:sealed");
  CHECK(found.contains(crypto::bootstrap_key(password)));
  CHECK_FALSE(found.contains("/registry/configmaps/default/gone"));
}

TEST_CASE("K3s's archives of snapshots are unpacked, listed, pruned and removed; damaged ones leave nothing") {
  folder f;
  const auto whole = with_sum(database());
  auto archive = f.write("etcd-snapshot-one-1780000000.zip", zipped("etcd-snapshot-one-1780000000", whole));
  CHECK(is_zip(archive));
  REQUIRE(unzip(archive, f.path() + "/out"));
  CHECK(text_of(f.path() + "/out") == whole);
  REQUIRE(unzip(f.write("stored.zip", zipped("x", whole, 0)), f.path() + "/out"));
  CHECK(text_of(f.path() + "/out") == whole);
  auto wrong = [&](std::string_view text) {
    auto done = unzip(f.write("bad.zip", text), f.path() + "/none");
    CHECK_FALSE(std::filesystem::exists(f.path() + "/none"));
    return done ? std::string("taken") : std::string(name_of(done.error().code));
  };
  CHECK(wrong(zipped("x", whole, 12)) == "unsupported");
  CHECK(wrong(zipped("x", whole, 8, 2)) == "invalid");
  auto text = zipped("x", whole);
  for (std::size_t cut : {std::size_t(0), std::size_t(10), text.size() / 2})
    CHECK(wrong(text.substr(0, cut)) == "corrupt");
  for (std::size_t at = 40; at < 400; at += 7) {
    auto bad = text;
    bad[at] = static_cast<char>(bad[at] ^ 64);
    CHECK_MESSAGE(wrong(bad) == "corrupt", at);
  }
  std::filesystem::remove(f.path() + "/bad.zip");
  std::filesystem::remove(f.path() + "/stored.zip");
  std::filesystem::remove(f.path() + "/out");
  f.write("etcd-snapshot-one-1780000100", whole);
  f.write("notes.txt", "of somebody");
  auto all = list(f.path());
  REQUIRE(all);
  REQUIRE(all->size() == 2);
  CHECK(all->front().name == "etcd-snapshot-one-1780000100");
  CHECK(*prune(f.path(), "etcd-snapshot-one-", 1) == std::vector<std::string>{"etcd-snapshot-one-1780000000.zip"});
  CHECK(remove(f.path(), {"notes.txt", "etcd-snapshot-one-1780000100"})->size() == 1);
}

}  // namespace kedge::backup
