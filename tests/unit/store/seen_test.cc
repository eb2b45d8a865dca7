// seen_test.cc: a database that has less than was seen of it is told from one that has more.
#include "store/seen.h"

#include <stdlib.h>

#include <filesystem>

#include "crypto/files.h"
#include "harness.h"

namespace kedge::store {
namespace {

using datastore::change;

TEST_CASE("what was seen is written and read back, and anything else is refused") {
  for (auto& one : {seen_history{}, seen_history{"a-uid", 285, {284, 0xfedcba9876543210}, true},
                    seen_history{"", 1, {1, 7}, false}}) {
    auto back = parse_seen(write_seen(one));
    REQUIRE_MESSAGE(back.has_value(), back.error().message);
    CHECK(*back == one);
  }
  for (auto text :
       {"", "{}", "285", R"({"revision":-1,"entry":{"revision":1,"digest":"0000000000000007"}})",
        R"({"revision":1,"entry":{"digest":"07"}})", R"({"revision":"1","entry":{"digest":"0000000000000007"}})"})
    CHECK_MESSAGE(!parse_seen(text).has_value(), text);
}

TEST_CASE("a change is told from another one under the same revision") {
  auto one = look_at(7, change::update, "/registry/a", "v");
  CHECK(one == look_at(7, change::update, "/registry/a", "v"));
  for (auto& other : {look_at(8, change::update, "/registry/a", "v"), look_at(7, change::create, "/registry/a", "v"),
                      look_at(7, change::update, "/registry/b", "v"), look_at(7, change::update, "/registry/a", "w"),
                      look_at(7, change::update, "/registry/av", "")})
    CHECK(one != other);
  CHECK(look_at(7, change::remove, "/registry/a", "old") == look_at(7, change::remove, "/registry/a", ""));
}

TEST_CASE("what is missing of what was seen") {
  const seen_entry mine{98, 1}, other{98, 2};
  const seen_history seen{.cluster = "c1", .at = 100, .newest = mine};
  auto lost = seen;
  lost.lost = true;
  struct row {
    seen_history seen;
    found_history found;
    const char *before, *after;  // what is said before and after the log has begun; empty: nothing
  } table[] = {
      {{}, {}, "", ""},
      {{}, {.cluster = "c1", .at = 50}, "", ""},
      {seen, {.cluster = "c1", .at = 100, .entry = mine}, "", ""},
      {seen, {.cluster = "c1", .at = 170, .entry = mine}, "", ""},
      {seen, {}, "it is empty", "it is empty"},
      {seen, {.cluster = "c2", .at = 5000, .compacted = 4000}, "it is the cluster c2", "it is the cluster c2"},
      {seen, {.cluster = "", .at = 99}, "", "its newest revision is 99"},
      {seen, {.cluster = "c1", .at = 99, .entry = mine}, "", "its newest revision is 99"},
      {seen, {.cluster = "c1", .at = 120, .entry = other}, "", "revision 98 is not what it was"},
      {seen, {.cluster = "c1", .at = 120}, "", "revision 98 is not what it was"},
      // Compacted since: that can't be compared, and whoever holds an older revision is told anyway.
      {seen, {.cluster = "c1", .at = 120, .compacted = 99}, "", ""},
      {seen, {.cluster = "c1", .at = 120, .compacted = 100}, "", ""},
      {seen, {.cluster = "c1", .at = 1'000'100, .compacted = 1'000'100}, "", ""},
      {lost, {.cluster = "c1", .at = 120, .entry = mine}, "", "it had lost writes up to revision 100"},
      {lost, {.cluster = "c1", .at = 1'000'100, .compacted = 1'000'100}, "", ""},
      // Another server has said so, which had seen more than this one.
      {seen, {.cluster = "c1", .at = 120, .entry = mine, .told = 119}, "", "another server had seen revision 119"},
      {{}, {.cluster = "c1", .at = 120, .told = 119}, "", "another server had seen revision 119"},
      {{}, {.cluster = "c1", .at = 1'000'120, .compacted = 1'000'119, .told = 119}, "", ""},
  };
  for (auto& t : table) {
    CAPTURE(&t - table);
    for (bool begun : {false, true}) {
      auto said = missing_of(t.seen, t.found, begun);
      std::string wanted = begun ? t.after : t.before;
      CHECK_MESSAGE((wanted.empty() ? said.empty() : said.starts_with(wanted)), said);
    }
  }
}

// One server's folder, which stays when its database changes under it.
struct place {
  std::string folder;
  place() {
    char name[] = "/tmp/kedge-seen-XXXXXX";
    folder = ::mkdtemp(name);
  }
  ~place() { std::filesystem::remove_all(folder); }
  store_options options(bool accept = false) const {
    return {.seen_file = folder + "/seen.json", .accept_data_loss = accept, .cluster_of = [](const snapshot& now) {
              auto o = now.find("/registry/cluster");
              return o ? std::string(o->bytes().substr(o->bytes().find("uid-"), 5)) : std::string();
            }};
  }
};

TEST_CASE(
    "a database that was set back is refused, untouched; accepted, no revision comes again and old watches are told") {
  place server;
  world w;
  w.open(server.options());
  w.must(create("/registry/cluster", config_map("cluster", "uid-1")));
  std::vector<commit> given;
  for (int i = 0; i < 10; ++i) given.push_back(w.must(create(fmt::format("/registry/a/{}", i), config_map("a", "1"))));
  w.close();
  auto newest = given.back().at;
  // As many times as the service manager likes.
  w.database.lose_after(newest - 4);
  for (int i = 0; i < 3; ++i) {
    auto refused = w.try_open(server.options());
    REQUIRE(!refused.has_value());
    CHECK(refused.error().code == errc::corrupt);
    CHECK(refused.error().message.find("--accept-data-loss") != std::string::npos);
    CHECK(refused.error().message.find(fmt::format("its newest revision is {}, this server has seen {}", newest - 4,
                                                   newest)) != std::string::npos);
    CHECK(w.database.newest() == newest - 4);
  }
  w.open(server.options(true));
  CHECK(w.store->current().count("/registry/a/") == 6);
  auto next = w.must(create("/registry/a/next", config_map("a", "2"))).at;
  CHECK(next > newest + 1'000'000);
  for (auto old : {newest, newest - 4, newest - 6}) {
    auto watch = w.store->watch("/registry/a/", old);
    REQUIRE(!watch.has_value());
    CHECK(watch.error().code == errc::expired);
  }
  w.close();
  w.open(server.options());  // once is enough
  CHECK(w.must(create("/registry/a/more", config_map("a", "2"))).at == next + 1);
}

TEST_CASE("an empty database, or another cluster's, is refused before anything is written to it") {
  place server;
  world w;
  w.open(server.options());
  w.must(create("/registry/cluster", config_map("cluster", "uid-1")));
  w.close();
  datastore::memory_database good = std::move(w.database);
  w.database = datastore::memory_database();
  auto refused = w.try_open(server.options());
  REQUIRE(!refused.has_value());
  CHECK(refused.error().message.find("it is empty") != std::string::npos);
  CHECK(w.database.newest() == 0);

  // Of another server, with more revisions.
  place elsewhere;
  w.open(elsewhere.options());
  w.must(create("/registry/cluster", config_map("cluster", "uid-2")));
  for (int i = 0; i < 10; ++i) w.must(create(fmt::format("/registry/a/{}", i), config_map("a", "1")));
  w.close();
  refused = w.try_open(server.options());
  REQUIRE(!refused.has_value());
  CHECK(refused.error().message.find("it is the cluster uid-2, and this server was one of uid-1") != std::string::npos);
  w.open(server.options(true));
  w.close();
  w.open(server.options());
}

TEST_CASE("a server that saw its database lose writes stays away from it, and tells those who had seen less") {
  place server;
  world w{datastore::memory_database(datastore::memory_database::durability::each_commit, true)};
  std::string lost;
  auto options = server.options();
  options.on_lost_history = [&](const error& why) { lost = why.message; };
  w.open(std::move(options));
  for (int i = 0; i < 10; ++i) w.must(create(fmt::format("/registry/a/{}", i), config_map("a", "1")));
  auto newest = w.database.newest();
  w.database.lose_after(newest - 4);
  for (int i = 0; i < 200 && lost.empty(); ++i) w.run_for(std::chrono::milliseconds(5));
  REQUIRE(lost != "");
  w.close();
  auto says = fmt::format("another server had seen revision {} before it lost writes", newest);
  place elsewhere;
  for (auto* one : {&server, &elsewhere}) {
    auto refused = w.try_open(one->options());
    REQUIRE(!refused.has_value());
    CHECK_MESSAGE(refused.error().message.find(says) != std::string::npos, refused.error().message);
  }
  w.open(elsewhere.options(true));
  CHECK(w.must(create("/registry/b", config_map("b", "1"))).at > newest + 1'000'000);
  w.close();
  w.open(server.options());
}

TEST_CASE("a server that had seen less ends too, when it is told") {
  place servers[2];
  world w{datastore::memory_database(datastore::memory_database::durability::each_commit, true)};
  std::vector<std::string> lost(2);
  std::unique_ptr<class store> both[2];
  datastore::memory_link links[2];
  for (std::size_t i = 0; i < 2; ++i) {
    auto options = servers[i].options();
    options.log = datastore::make_memory_log(w.database, &links[i]);
    options.loops = {&w.loop};
    options.on_lost_history = [&lost, i](const error& why) { lost[i] = why.message; };
    auto opened = w.loop.run_until(open_store(std::move(options)));
    REQUIRE(opened.has_value());
    both[i] = std::move(*opened);
  }
  auto first = w.loop.run_until(both[0]->write(create("/registry/a/0", config_map("a", "1"))))->at;
  REQUIRE(w.loop.run_until(both[1]->at_least(first, time_point::max())).has_value());
  links[1].cut = true;  // it sees none of these
  for (int i = 1; i < 6; ++i)
    REQUIRE(
        w.loop.run_until(both[0]->write(create(fmt::format("/registry/a/{}", i), config_map("a", "1")))).has_value());
  w.database.lose_after(first);
  for (int i = 0; i < 200 && lost[0].empty(); ++i) w.run_for(std::chrono::milliseconds(5));
  CHECK(lost[0] != "");
  CHECK(lost[1] == "");
  links[1].cut = false;
  for (int i = 0; i < 200 && lost[1].empty(); ++i) w.run_for(std::chrono::milliseconds(5));
  CHECK(lost[1].find(fmt::format("another server had seen revision {}", first + 5)) != std::string::npos);
  for (auto& one : both) w.loop.run_until(one->close());
}

TEST_CASE("a note that can't be read is no reason not to start") {
  place server;
  REQUIRE(crypto::write_file(server.folder + "/seen.json", "nonsense").has_value());
  world w;
  w.open(server.options());
  w.must(create("/registry/a", config_map("a", "1")));
  w.close();
  CHECK(parse_seen(*crypto::read_file(server.folder + "/seen.json"))->at == w.database.newest());
}

}  // namespace
}  // namespace kedge::store
