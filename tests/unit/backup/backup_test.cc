// Saving what a store shows into a file, and restoring it into a database: whole, damaged, cut off anywhere.
#include <doctest/doctest.h>
#include <sys/mount.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "backup/folder.h"
#include "backup/limits.h"
#include "backup/reader.h"
#include "backup/restore.h"
#include "backup/save.h"
#include "crypto/bootstrap_record.h"
#include "datastore/memory/memory_log.h"
#include "store/open.h"
#include "support/skipped.h"
#include "support/temporary_folder.h"

namespace kedge::backup {
namespace {

constexpr std::string_view password = "secret";

// A cluster in memory, with a record and as many config maps as wanted.
struct cluster {
  reactor::loop loop{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here{loop};
  datastore::memory_database database;
  std::unique_ptr<store::store> objects;
  std::string identity;

  explicit cluster(int maps, std::size_t bytes = 20) {
    auto opened = loop.run_until(store::open_store({.log = datastore::make_memory_log(database), .loops = {&loop}}));
    REQUIRE(opened);
    objects = *std::move(opened);
    identity = *crypto::encrypt_bootstrap(
        crypto::write_bootstrap_files({{"ServerCA", {.modified = {}, .content = "a CA"}}}), password, loop.random());
    put(crypto::bootstrap_key(password), identity);
    put("/registry/masterleases/10.0.0.1", "{}");
    for (int i = 0; i < maps; ++i) put(key(i), map(i, std::string(bytes, 'x')));
  }
  ~cluster() { loop.run_until(objects->close()); }

  static std::string key(int i) { return "/registry/configmaps/default/" + std::to_string(1'000'000 + i); }
  static std::string map(int i, const std::string& data) {
    return R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":")" + std::to_string(1'000'000 + i) +
           R"(","labels":{"a":"b"}},"data":{"k":")" + data + R"("}})";
  }
  void put(std::string k, std::string v) {
    REQUIRE(loop.run_until(
        objects->write({.kind = store::write_kind::create, .key = std::move(k), .value = std::move(v)})));
  }
  result<saved> save_to(const std::string& path, std::shared_ptr<progress> told = std::make_shared<progress>()) {
    save_options o{.path = path, .password = std::string(password), .about = {}};
    o.about.identity = identity;
    o.about.token_id = "id";
    return loop.run_until(save(std::move(o), objects->current(), std::move(told)));
  }
};

std::string content_of(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}
void write(const std::string& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

result<restored> restore_into(datastore::memory_database& database, restore_options o) {
  reactor::loop loop(*reactor::make_backend(reactor::io_backend::epoll));
  auto log = datastore::make_memory_log(database);
  return loop.run_until(restore(*log, std::move(o)));
}

// What a store reads from the database: key → text without the version.
std::map<std::string, std::string> shown(datastore::memory_database database) {
  reactor::loop loop(*reactor::make_backend(reactor::io_backend::epoll));
  reactor::loop::current_guard here(loop);
  auto opened = loop.run_until(store::open_store({.log = datastore::make_memory_log(database), .loops = {&loop}}));
  REQUIRE(opened);
  std::map<std::string, std::string> out;
  (*opened)->current().scan("", "", [&](const store::object_ref& o) {
    auto text = std::string(o->bytes());
    if (auto at = text.find("\"resourceVersion\":"); at != std::string::npos)
      text.erase(at, text.find(',', at) + 1 - at);
    out[std::string(o->key())] = std::move(text);
    return true;
  });
  loop.run_until((*opened)->close());
  out.erase("/registry/health");  // every log's own
  return out;
}

TEST_CASE("what is saved is restored: every object, and none of who lives now") {
  temporary_folder folder;
  auto path = folder.path() + "/on-demand-a-1";
  cluster from(2'000, 300);
  auto told = std::make_shared<progress>();
  auto done = from.save_to(path, told);
  REQUIRE(done);
  CHECK(done->objects == 2'001);
  CHECK(told->objects == told->of);
  CHECK(std::filesystem::file_size(path) == done->bytes);
  CHECK_FALSE(std::filesystem::exists(path + ".part"));

  datastore::memory_database into;
  auto back = restore_into(into, {.path = path, .password = std::string(password)});
  REQUIRE(back);
  CHECK(back->objects == 2'001);
  CHECK(back->identity.at("ServerCA").content == "a CA");
  auto now = shown(into), before = shown(from.database);
  before.erase("/registry/masterleases/10.0.0.1");
  CHECK(now == before);
  CHECK_FALSE(now.contains(std::string(restore_row)));
}

TEST_CASE("revisions go on far above what anybody has seen") {
  temporary_folder folder;
  auto path = folder.path() + "/s";
  cluster from(3);
  REQUIRE(from.save_to(path));
  auto seen = from.objects->current().at();
  datastore::memory_database into;
  REQUIRE(restore_into(into, {.path = path, .password = std::string(password)}));
  reactor::loop loop(*reactor::make_backend(reactor::io_backend::epoll));
  reactor::loop::current_guard here(loop);
  auto opened = *loop.run_until(store::open_store({.log = datastore::make_memory_log(into), .loops = {&loop}}));
  CHECK(opened->current().find(cluster::key(0))->mod() > seen + restored_revision_jump);
  CHECK(opened->watch("/registry/configmaps/", seen).error().code == errc::expired);
  loop.run_until(opened->close());
}

TEST_CASE("a cluster that stands is replaced only when that is asked for") {
  temporary_folder folder;
  auto path = folder.path() + "/s";
  cluster from(30);
  REQUIRE(from.save_to(path));
  cluster other(500);
  other.put("/registry/configmaps/default/mine",
            R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"mine"}})");
  auto before = shown(other.database);
  auto refused = restore_into(other.database, {.path = path, .password = std::string(password)});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::already_exists);
  CHECK(shown(other.database) == before);
  REQUIRE(restore_into(other.database, {.path = path, .password = std::string(password), .overwrite = true}));
  auto now = shown(other.database);
  CHECK(now.contains(cluster::key(29)));
  CHECK_FALSE(now.contains(cluster::key(30)));
  CHECK_FALSE(now.contains("/registry/configmaps/default/mine"));
}

TEST_CASE("a file that was cut off anywhere changes nothing, and says what can be had") {
  temporary_folder folder;
  auto path = folder.path() + "/s", cut = folder.path() + "/cut";
  cluster from(3'000, 200);
  REQUIRE(from.save_to(path));
  auto whole = content_of(path);
  for (std::size_t n = 0; n < whole.size(); n += 1 + whole.size() / 40) {
    write(cut, std::string_view(whole).substr(0, n));
    datastore::memory_database into;
    auto refused = restore_into(into, {.path = cut, .password = std::string(password)});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find(cut) != std::string::npos);
    CHECK(shown(into).empty());
  }
  write(cut, std::string_view(whole).substr(0, whole.size() * 2 / 3));
  datastore::memory_database into;
  auto refused = restore_into(into, {.path = cut, .password = std::string(password)});
  CHECK(refused.error().message.find("--partial") != std::string::npos);
  auto some = restore_into(into, {.path = cut, .password = std::string(password), .partial = true});
  REQUIRE(some);
  CHECK(some->objects > 500);
  CHECK(some->objects < 3'000);
  CHECK(shown(into).contains(crypto::bootstrap_key(password)));
}

TEST_CASE("a bit that changed anywhere is seen; the blocks around it can be had") {
  temporary_folder folder;
  auto path = folder.path() + "/s", bad = folder.path() + "/bad";
  cluster from(3'000, 200);
  REQUIRE(from.save_to(path));
  auto whole = content_of(path);
  for (std::size_t at = 0; at < whole.size(); at += 1 + whole.size() / 60) {
    auto text = whole;
    text[at] = static_cast<char>(text[at] ^ 4);
    write(bad, text);
    datastore::memory_database into;
    CHECK_FALSE(restore_into(into, {.path = bad, .password = std::string(password)}));
    CHECK(shown(into).empty());
  }
  auto text = whole;
  text[whole.size() / 2] ^= 4;
  write(bad, text);
  auto in = open_source(bad, password, true);
  REQUIRE(in);
  auto found = examine(**in, [](std::uint64_t, std::uint64_t) {});
  REQUIRE(found);
  CHECK(found->damage.size() == 2);  // the block, and that there are fewer than were written
  CHECK(found->objects > 2'000);
  CHECK(found->objects < 3'001);
}

TEST_CASE("another token, a newer version, and what is no snapshot are told apart") {
  temporary_folder folder;
  auto path = folder.path() + "/s";
  cluster from(3);
  REQUIRE(from.save_to(path));
  auto wrong = look_into({.path = path, .password = "another"});
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code == errc::unauthenticated);
  CHECK(wrong.error().message.find("another token") != std::string::npos);
  write(path, "PK\3\4 something else entirely");
  CHECK(look_into({.path = path, .password = std::string(password)}).error().code == errc::invalid);
  header h{.version = 2, .kedge = "9.9"};
  h.sealed_key = h.identity = "x";
  write(path, std::string(magic) + frame(block_kind::header, write_header(h)));
  auto newer = look_into({.path = path, .password = std::string(password)});
  CHECK(newer.error().code == errc::unsupported);
  CHECK(look_into({.path = folder.path(), .password = std::string(password)}).error().code == errc::invalid);
  CHECK(look_into({.path = folder.path() + "/none", .password = std::string(password)}).error().code ==
        errc::not_found);
}

TEST_CASE("a restore that is cut off says so to who starts, and is done by doing it again") {
  temporary_folder folder;
  auto path = folder.path() + "/s";
  cluster from(2'000, 100);
  REQUIRE(from.save_to(path));
  auto wanted = shown(from.database);
  wanted.erase("/registry/masterleases/10.0.0.1");
  for (std::uint64_t stop_at : {0, 700, 1'900}) {
    datastore::memory_database into;
    {
      // Dropped as a process is: in the middle.
      reactor::loop loop(*reactor::make_backend(reactor::io_backend::epoll));
      reactor::loop::current_guard here(loop);
      auto log = datastore::make_memory_log(into);
      reactor::event enough;
      {
        reactor::scope working;
        working.spawn([](datastore::log& l, restore_options o) -> task<void> {
          (void)co_await restore(l, std::move(o));
        }(*log, {.path = path,
                 .password = std::string(password),
                 .told = [&](std::string_view step, std::uint64_t done, std::uint64_t) {
                   if (step == "restoring" && done >= stop_at) enough.set();
                 }}));
        while (!enough.is_set()) loop.turn(loop.now());
      }
      loop.run_until([](datastore::log& l) -> task<void> { co_await l.close(); }(*log));
    }
    auto half = shown(into);
    if (half != wanted) {
      REQUIRE(half.contains(std::string(restore_row)));
      REQUIRE(restore_into(into, {.path = path, .password = std::string(password)}));
    }
    CHECK(shown(into) == wanted);
  }
}

TEST_CASE("a save that fails or is dropped leaves no file") {
  temporary_folder folder;
  cluster from(3'000, 200);
  write(folder.path() + "/taken", "somebody else's");
  CHECK(from.save_to(folder.path() + "/taken").error().code == errc::already_exists);
  CHECK(content_of(folder.path() + "/taken") == "somebody else's");
  CHECK_FALSE(from.save_to("/proc/none/s"));
  std::vector<std::string> names;
  for (auto& f : std::filesystem::directory_iterator(folder.path())) names.push_back(f.path().filename().string());
  CHECK(names == std::vector<std::string>{"taken"});
}

TEST_CASE("a disk that fills up while a snapshot is saved is told of, and has room again at once") {
  temporary_folder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=1m") != 0)
    return tests::skip("mounting a tmpfs needs root");
  struct mounted {
    std::string path;
    ~mounted() { ::umount2(path.c_str(), MNT_DETACH); }
  } disk{folder.path()};
  REQUIRE(cluster(10).save_to(folder.path() + "/first"));
  const auto first = content_of(folder.path() + "/first");
  {
    cluster large(10);
    // What deflate can't make smaller than the disk.
    for (int i = 100; i < 400; ++i) large.put(cluster::key(i), cluster::map(i, large.loop.random().hex_text(20'000)));
    for (int again = 0; again < 2; ++again) {
      auto failed = large.save_to(folder.path() + "/second");
      REQUIRE_FALSE(failed);
      CHECK_MESSAGE(failed.error().message.find("No space left on device") != std::string::npos,
                    failed.error().message);
      std::vector<std::string> names;
      for (auto& f : std::filesystem::directory_iterator(folder.path())) names.push_back(f.path().filename().string());
      CHECK(names == std::vector<std::string>{"first"});
    }
  }
  CHECK(content_of(folder.path() + "/first") == first);
  CHECK(cluster(10).save_to(folder.path() + "/third"));
}

TEST_CASE("lists show what is whole and what isn't; the newest are kept") {
  temporary_folder folder;
  cluster from(3);
  CHECK(list(folder.path() + "/none")->empty());
  for (auto name :
       {"etcd-snapshot-a-1", "etcd-snapshot-a-2", "etcd-snapshot-a-3", "on-demand-a-4", "etcd-snapshot-b-5"})
    REQUIRE(from.save_to(folder.path() + "/" + name));
  write(folder.path() + "/notes.txt", "not a snapshot");
  write(folder.path() + "/etcd-snapshot-a-9.part", "half");
  auto whole = content_of(folder.path() + "/etcd-snapshot-a-3");
  write(folder.path() + "/etcd-snapshot-a-3", std::string_view(whole).substr(0, whole.size() - 1));
  auto all = list(folder.path());
  REQUIRE(all);
  REQUIRE(all->size() == 5);
  CHECK(std::ranges::count_if(*all, [](const listed& l) { return !l.problem.empty(); }) == 1);
  CHECK(all->front().objects == 4);
  clean(folder.path());
  CHECK_FALSE(std::filesystem::exists(folder.path() + "/etcd-snapshot-a-9.part"));
  CHECK(prune(folder.path(), "etcd-snapshot-a-", 0)->empty());
  auto gone = prune(folder.path(), "etcd-snapshot-a-", 1);
  REQUIRE(gone);
  std::ranges::sort(*gone);
  // Times are whole seconds, so equal ones go by their names; the damaged one takes no good one's place.
  CHECK(std::ranges::find(*gone, "etcd-snapshot-a-1") != gone->end());
  CHECK(std::filesystem::exists(folder.path() + "/etcd-snapshot-a-2"));
  CHECK(std::filesystem::exists(folder.path() + "/on-demand-a-4"));
  // Those of nodes whose names begin as this one's are theirs.
  for (auto name : {"etcd-snapshot-a-b-6", "etcd-snapshot-a-2-7"}) REQUIRE(from.save_to(folder.path() + "/" + name));
  CHECK(prune(folder.path(), "etcd-snapshot-a-", 1)->empty());
  CHECK(is_of("etcd-snapshot-a-7.zip", "etcd-snapshot-a-"));
  CHECK_FALSE(is_of("etcd-snapshot-a-", "etcd-snapshot-a-"));
  CHECK(*remove(folder.path(), {"on-demand-a-4", "none", "notes.txt"}) == std::vector<std::string>{"on-demand-a-4"});
  CHECK(std::filesystem::exists(folder.path() + "/notes.txt"));
  CHECK(remove(folder.path(), {"../x"}).error().code == errc::invalid);
}

}  // namespace
}  // namespace kedge::backup
