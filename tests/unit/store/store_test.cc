#include <set>

#include "harness.h"

namespace kedge::store {
namespace {

constexpr const char* a_key = "/registry/configmaps/default/a";

TEST_CASE("an object is written, read, replaced and removed by revision") {
  world w;
  w.open();
  auto made = w.must(create(a_key, config_map("a", "1", R"({"app":"x"})")));
  CHECK(made.at == 3);  // 1 and 2 are the first rows of a new database
  CHECK(
      made.object->bytes() ==
      R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"3","name":"a","labels":{"app":"x"}},"data":{"k":"1"}})");
  CHECK(made.object->labels_text() == R"({"app":"x"})");
  CHECK(made.object->item_tail().starts_with(R"("metadata":{"resourceVersion":"3")"));
  CHECK(made.object->created() == 3);

  CHECK(w.write(create(a_key, config_map("a", "2"))).error().code == errc::already_exists);
  CHECK(w.write(update(a_key, config_map("a", "2"), 2)).error().code == errc::conflict);
  CHECK(w.write(update("/registry/configmaps/default/b", config_map("b", "2"), 2)).error().code == errc::not_found);
  auto changed = w.must(update(a_key, config_map("a", "2"), 3));
  CHECK(changed.at == 4);
  CHECK(changed.object->created() == 3);
  CHECK(changed.object->labels_text().empty());
  CHECK(w.store->current().find(a_key)->mod() == 4);

  CHECK(w.write(removal(a_key, 3)).error().code == errc::conflict);
  auto gone = w.must(removal(a_key));
  CHECK(gone.at == 5);
  CHECK(gone.object->bytes().find(R"("resourceVersion":"5")") != std::string_view::npos);
  CHECK(!w.store->current().find(a_key));
  CHECK(w.write(removal(a_key)).error().code == errc::not_found);
  CHECK(w.store->current().at() == 5);
}

TEST_CASE("what was written is there after a restart, with its history") {
  world w;
  w.open();
  auto first = w.must(create(a_key, config_map("a", "1"))).at;
  w.must(update(a_key, config_map("a", "2"), first));
  w.must(create("/registry/configmaps/default/b", config_map("b", "1")));
  w.must(removal("/registry/configmaps/default/b"));
  auto at = w.store->current().at();
  w.close();
  w.open();
  CHECK(w.store->current().at() == at);
  CHECK(keys(w.store->current(), "/registry/configmaps/") == std::vector<std::string>{a_key});
  CHECK(w.store->current().find(a_key)->created() == first);
  auto watch = w.store->watch("/registry/configmaps/", first);
  REQUIRE(watch.has_value());
  auto events = w.loop.run_until((*watch)->next());
  REQUIRE(events.has_value());
  REQUIRE(events->size() == 3);
  CHECK((*events)[0]->type == event_type::modified);
  CHECK((*events)[1]->type == event_type::added);
  CHECK((*events)[2]->type == event_type::deleted);
}

TEST_CASE("prefixes are counted and scanned in order") {
  world w;
  w.open();
  for (auto ns : {"default", "kube-system"}) {
    for (int i = 0; i < 50; ++i) w.must(create(fmt::format("/registry/pods/{}/p{:03}", ns, i), config_map("p", "1")));
  }
  auto s = w.store->current();
  CHECK(s.count("/registry/pods/") == 100);
  CHECK(s.count("/registry/pods/default/") == 50);
  CHECK(s.count("/registry/podtemplates/") == 0);
  auto page = keys(s, "/registry/pods/", "/registry/pods/default/p049");
  CHECK(page.size() == 51);
  CHECK(page.front() == "/registry/pods/default/p049");
}

TEST_CASE("a watcher gets the changes of its prefix, once and in order") {
  world w;
  w.open();
  auto all = *w.store->watch("/registry/configmaps/", 0);
  auto one = *w.store->watch(a_key, 0);
  auto other = *w.store->watch("/registry/secrets/", 0);
  auto start = w.store->current().at();
  w.must(create(a_key, config_map("a", "1")));
  w.must(create("/registry/configmaps/default/b", config_map("b", "1")));
  w.must(removal(a_key));
  auto events = w.loop.run_until(all->next());
  REQUIRE(events->size() == 3);
  CHECK((*events)[0]->at == start + 1);
  CHECK((*events)[2]->type == event_type::deleted);
  CHECK((*events)[2]->previous->mod() == start + 1);
  CHECK(all->seen() == start + 3);
  CHECK(w.loop.run_until(one->next())->size() == 2);
  CHECK(other->seen() == start + 3);  // bookmarks need no event
  CHECK(one->seen() == start + 3);

  auto late = *w.store->watch("/registry/configmaps/", start + 1);
  CHECK(w.loop.run_until(late->next())->size() == 2);
}

TEST_CASE("a waiting watcher is woken, and ended when the store stops") {
  world w;
  w.open();
  auto watch = *w.store->watch("/registry/configmaps/", 0);
  std::size_t got = 0;
  errc ended{};
  reactor::scope s;
  s.spawn([](watcher& from, std::size_t& n, errc& end) -> task<void> {
    for (;;) {
      auto events = co_await from.next();
      if (!events) {
        end = events.error().code;
        co_return;
      }
      n += events->size();
    }
  }(*watch, got, ended));
  for (int i = 0; i < 5; ++i) w.must(create(fmt::format("/registry/configmaps/d/{}", i), config_map("x", "1")));
  CHECK(got == 5);
  w.loop.run_until(w.store->close());
  w.run_for(duration(0));
  CHECK(ended == errc::unavailable);
  watch.reset();
  w.store.reset();
}

TEST_CASE("a state of the past is what it was, until it is too old") {
  world w;
  w.open();
  std::vector<std::pair<revision, std::vector<std::string>>> then;
  for (int i = 0; i < 40; ++i) {
    auto key = fmt::format("/registry/configmaps/d/{:02}", i % 10);
    if (auto o = w.store->current().find(key)) {
      if (i % 3)
        w.must(update(key, config_map("x", "2"), o->mod()));
      else
        w.must(removal(key));
    } else {
      w.must(create(key, config_map("x", "1")));
    }
    then.emplace_back(w.store->current().at(), keys(w.store->current(), "/registry/configmaps/"));
  }
  auto soon = w.loop.now() + std::chrono::seconds(1);
  for (auto& [at, names] : then) {
    auto s = w.loop.run_until(w.store->exactly(at, "/registry/configmaps/", soon));
    REQUIRE(s.has_value());
    CHECK(s->at() == at);
    CHECK(keys(*s, "/registry/configmaps/") == names);
  }
  auto future = w.loop.run_until(
      w.store->exactly(then.back().first + 1, "/registry/configmaps/", w.loop.now() + std::chrono::milliseconds(5)));
  CHECK(future.error().code == errc::timeout);
}

TEST_CASE("a watcher that does not keep up is told so, and the others go on") {
  world w;
  w.open();
  auto slow = *w.store->watch("/registry/events/", 0);
  auto fast = *w.store->watch("/registry/events/", 0);
  std::size_t got = 0;
  for (std::size_t i = 0; i < watch_lag_events_max + 10; ++i) {
    w.must(create(fmt::format("/registry/events/d/{}", i), config_map("e", "1")));
    if (i % 400 == 0) got += w.loop.run_until(fast->next())->size();
  }
  CHECK(w.loop.run_until(slow->next()).error().code == errc::expired);
  while (got < watch_lag_events_max + 10) got += w.loop.run_until(fast->next())->size();
  CHECK(got == watch_lag_events_max + 10);
}

TEST_CASE("what has a time to live is removed when it is over, unless it was replaced") {
  world w;
  w.open();
  auto kept = w.must(create("/registry/events/d/kept", config_map("e", "1"), 1)).at;
  w.must(create("/registry/events/d/gone", config_map("e", "1"), 1));
  w.must(create("/registry/events/d/later", config_map("e", "1"), 3600));
  w.must(update("/registry/events/d/kept", config_map("e", "2"), kept));  // without a lease
  auto watch = *w.store->watch("/registry/events/d/gone", 0);
  auto events = w.loop.run_until(reactor::with_deadline(watch->next(), w.loop.now() + std::chrono::seconds(10)));
  REQUIRE(events.has_value());
  CHECK(events->front()->type == event_type::deleted);
  CHECK(keys(w.store->current(), "/registry/events/") ==
        std::vector<std::string>{"/registry/events/d/kept", "/registry/events/d/later"});
}

TEST_CASE("many writers of one object: one wins each round, nothing is lost") {
  world w;
  w.open();
  w.must(create(a_key, config_map("a", "0")));
  int wins = 0, conflicts = 0;
  w.loop.run_until([](class store& s, int& won, int& lost) -> task<void> {
    reactor::scope all;
    for (int i = 0; i < 20; ++i) {
      all.spawn([](class store& st, int& yes, int& no) -> task<void> {
        for (int done = 0; done < 10;) {
          auto at = st.current().find(a_key)->mod();
          auto r = co_await st.write(update(a_key, config_map("a", "x"), at));
          if (r)
            ++done, ++yes;
          else
            ++no;
        }
      }(s, won, lost));
    }
    co_await all.join();
  }(*w.store, wins, conflicts));
  CHECK(wins == 200);
  CHECK(conflicts > 0);
  CHECK(w.store->current().at() == 3 + 200);
}

TEST_CASE("values that can't be read stay out, can't be written over, and the rest is served") {
  world w;
  w.open();
  w.close();
  auto log = datastore::make_memory_log(w.database);
  auto raw = [&](std::string name, std::string value) {
    auto ops = std::make_shared<std::vector<datastore::operation>>(1);
    ops->front().name = std::move(name);
    ops->front().value = std::move(value);
    REQUIRE(w.loop.run_until(log->append(ops)).has_value());
  };
  raw("/registry/pods/d/broken", std::string("k8s\0\x01", 5));
  raw("/registry/pods/d/good", std::string("k8s\0ok", 6));
  raw("/registry/secrets/d/sealed", "k8s:enc:aescbc:v1:key:xyz");
  raw("/registry/stable.example.com/crontabs/d/json",
      "{\"apiVersion\": \"stable.example.com/v1\", "
      "\"kind\":\"CronTab\",\"metadata\":{\"name\":\"json\",\"resourceVersion\":\"\"},\"spec\":{\"a\": \"b c\"}}\n");
  raw("/bootstrap/abc", "anything");
  store_options o;
  o.decode = [](std::string_view, std::string_view value) -> result<std::string> {
    if (value.ends_with("ok")) return config_map("good", "1");
    return fail(errc::corrupt, "not protobuf");
  };
  w.open(std::move(o));
  auto s = w.store->current();
  CHECK(keys(s, "/registry/pods/") == std::vector<std::string>{"/registry/pods/d/good"});
  CHECK(s.find("/bootstrap/abc")->bytes() == "anything");
  auto cron = s.find("/registry/stable.example.com/crontabs/d/json");
  REQUIRE(cron);
  CHECK(
      cron->bytes() ==
      fmt::format(
          R"({{"kind":"CronTab","apiVersion":"stable.example.com/v1","metadata":{{"resourceVersion":"{}","name":"json"}},"spec":{{"a":"b c"}}}})",
          cron->mod()));
  CHECK(w.write(create("/registry/pods/d/broken", config_map("broken", "1"))).error().code == errc::unsupported);
  CHECK(w.write(removal("/registry/secrets/d/sealed")).error().code == errc::unsupported);
}

TEST_CASE("values are sealed on their way to the log and opened on their way back") {
  world w;
  auto options = [] {
    store_options o;
    o.transform.seal = [](std::string_view key, std::string_view plain,
                          const snapshot&) -> result<std::optional<sealed_value>> {
      if (!key.starts_with("/registry/secrets/")) return std::nullopt;
      return sealed_value{"k8s:enc:test:v1:k:" + std::string(plain.rbegin(), plain.rend()), {}};
    };
    o.transform.open = [](std::string_view, std::string_view stored) -> result<std::string> {
      stored.remove_prefix(18);
      return std::string(stored.rbegin(), stored.rend());
    };
    return o;
  };
  w.open(options());
  auto at = w.must(create("/registry/secrets/d/s", config_map("s", "hidden"))).at;
  CHECK(w.store->current().find("/registry/secrets/d/s")->bytes().find("hidden") != std::string_view::npos);
  CHECK(w.database.rows().at(at).value.find("hidden") == std::string::npos);
  w.close();
  w.open(options());
  CHECK(w.store->current().find("/registry/secrets/d/s")->bytes().find("hidden") != std::string_view::npos);
}

// Values under numbered keys: the row /keys/now says which one writes, and holds it.
struct numbered_keys {
  std::set<std::string> known;  // that this server can open
  int sealed = 0;
  value_transform transform() {
    value_transform t;
    t.seal = [this](std::string_view key, std::string_view plain,
                    const snapshot& now) -> result<std::optional<sealed_value>> {
      if (!key.starts_with("/registry/secrets/")) return std::nullopt;
      auto row = now.find("/keys/now");
      REQUIRE(row);
      ++sealed;
      return sealed_value{fmt::format("k8s:enc:{}:{}", row->bytes(), plain), {{"/keys/now", row->mod()}}};
    };
    t.open = [this](std::string_view, std::string_view stored) -> result<std::string> {
      stored.remove_prefix(8);
      auto colon = stored.find(':');
      if (!known.contains(std::string(stored.substr(0, colon)))) return fail(errc::unsupported, "its key is not known");
      return std::string(stored.substr(colon + 1));
    };
    t.seen = [](std::string_view, std::string_view) {};
    t.keys_prefix = "/keys/";
    return t;
  }
};

TEST_CASE("a value that another server's change of keys overtakes is sealed again before it lands") {
  world w{datastore::memory_database(datastore::memory_database::durability::each_commit, true)};
  numbered_keys keys{.known = {"one", "two"}};
  w.open({.transform = keys.transform()});
  auto row = w.must(create("/keys/now", "one")).at;
  w.must(create("/registry/secrets/d/first", config_map("first", "1")));
  auto other = w.loop.run_until(open_store({.log = datastore::make_memory_log(w.database), .loops = {&w.loop}}));
  REQUIRE(other.has_value());
  // Decided at the same moment: the other server's change lands first, and this one hasn't heard of it.
  w.database.faults.delay_before_commit = [] { return std::chrono::milliseconds(5); };
  std::optional<result<commit>> changed, written;
  reactor::scope group;
  auto write = [](class store& s, mutation m, std::optional<result<commit>>& out) -> task<void> {
    out.emplace(co_await s.write(std::move(m)));
  };
  group.spawn(write(**other, update("/keys/now", "two", row), changed));
  group.spawn(write(*w.store, create("/registry/secrets/d/s", config_map("s", "hidden")), written));
  w.run(group);
  REQUIRE(changed->has_value());
  REQUIRE_MESSAGE(written->has_value(), written->error().message);
  CHECK(keys.sealed == 3);
  CHECK(w.database.rows().at((*written)->at).value.starts_with("k8s:enc:two:"));
  CHECK((*written)->object->bytes().find("hidden") != std::string_view::npos);
  CHECK(w.store->complete().has_value());
  w.loop.run_until((*other)->close());
}

TEST_CASE("who can't open a value says so, and keeps the versions of the rows with its key") {
  world w;
  numbered_keys all{.known = {"one", "two"}};
  w.open({.transform = all.transform()});
  auto row = w.must(create("/keys/now", "one"));
  auto lost = w.must(create("/registry/secrets/d/lost", config_map("lost", "1")));
  auto second = w.must(update("/keys/now", "two", row.at));
  auto kept = w.must(create("/registry/secrets/d/kept", config_map("kept", "1")));
  for (int i = 0; i < 1200; ++i) w.must(create(fmt::format("/registry/n/{}", i), config_map("n", "1")));
  w.close();

  numbered_keys fewer{.known = {"two"}};
  w.open({.transform = fewer.transform(), .compaction = std::chrono::milliseconds(5)});
  auto whole = w.store->complete();
  REQUIRE(!whole.has_value());
  CHECK(whole.error().message.find("/registry/secrets/d/lost") != std::string::npos);
  CHECK(w.store->healthy().has_value());
  w.run_for(std::chrono::milliseconds(40));
  CHECK(w.database.compacted() == second.at - 1);
  CHECK(w.database.rows().contains(row.at));
  w.close();

  // With the key again it is whole, and compaction goes on.
  w.open({.transform = all.transform(), .compaction = std::chrono::milliseconds(5)});
  CHECK(w.store->complete().has_value());
  CHECK(w.store->current().find("/registry/secrets/d/lost")->mod() == lost.at);
  w.run_for(std::chrono::milliseconds(40));
  CHECK(w.database.compacted() > kept.at);
  CHECK(!w.database.rows().contains(row.at));
}

TEST_CASE("a start opens a value with a key that only an older version of its row has, wherever that stands") {
  world w;
  std::string last;  // the row that was seen last: nothing else can be opened with
  auto options = [&] {
    last.clear();
    numbered_keys keys;
    store_options o{.transform = keys.transform()};
    o.transform.seal = [](std::string_view key, std::string_view plain,
                          const snapshot& now) -> result<std::optional<sealed_value>> {
      if (!key.starts_with("/registry/secrets/")) return std::nullopt;
      return sealed_value{fmt::format("k8s:enc:{}:{}", now.find("/keys/now")->bytes(), plain), {}};
    };
    o.transform.open = [&last](std::string_view, std::string_view stored) -> result<std::string> {
      stored.remove_prefix(8);
      if (!stored.starts_with(last + ":") || last.empty()) return fail(errc::unsupported, "its key is not known");
      return std::string(stored.substr(last.size() + 1));
    };
    o.transform.seen = [&last](std::string_view, std::string_view stored) { last = stored; };
    return o;
  };
  w.open(options());
  auto row = w.must(create("/keys/now", "one")).at;
  w.must(create("/registry/secrets/d/a", config_map("a", "1")));
  auto changed = w.must(create("/registry/secrets/d/b", config_map("b", "1"))).at;
  row = w.must(update("/keys/now", "two", row)).at;
  w.must(update("/registry/secrets/d/b", config_map("b", "2"), changed));
  w.must(update("/keys/now", "three", row));
  w.must(create("/registry/secrets/d/c", config_map("c", "3")));
  w.close();
  w.open(options());
  CHECK(w.store->complete().has_value());
  CHECK(keys(w.store->current(), "/registry/secrets/") ==
        std::vector<std::string>{"/registry/secrets/d/a", "/registry/secrets/d/b", "/registry/secrets/d/c"});
  CHECK(w.store->current().find("/registry/secrets/d/b")->bytes().find("\"2\"") != std::string_view::npos);
  CHECK(last == "three");
}

}  // namespace
}  // namespace kedge::store
