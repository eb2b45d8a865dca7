// What was: in memory by resource, and beyond that in the log.
#include "harness.h"
#include "store/history.h"
#include "store/object.h"

namespace kedge::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

event_ref change_of(std::string key, revision at, std::size_t size) {
  auto e = std::make_shared<event>();
  e->type = event_type::modified;
  e->at = at;
  e->resource_size = static_cast<std::uint32_t>(resource_size(key));
  e->object = object_access::make(key, "v", std::nullopt, at, 1, 0);
  e->previous = object_access::make(key, std::string(size, 'v'), std::nullopt, at - 1, 1, 0);
  return e;
}

std::vector<revision> seen(const history& h, std::string_view prefix, revision after, revision upto, bool back) {
  std::vector<revision> out;
  auto visit = [&](const event_ref& e) {
    out.push_back(e->at);
    return true;
  };
  back ? h.backwards(prefix, after, upto, visit) : h.forwards(prefix, after, upto, visit);
  return out;
}

}  // namespace

TEST_CASE("the resource of a key") {
  struct row {
    const char *key, *resource;
  };
  for (auto& r : {row{"/registry/pods/d/a", "/registry/pods/"}, row{"/registry/namespaces/a", "/registry/namespaces/"},
                  row{"/registry/example.com/gizmos/d/a", "/registry/example.com/gizmos/"},
                  row{"/registry/example.com/a", "/registry/example.com/"}, row{"/bootstrap/abc", "/bootstrap/abc"},
                  row{"x", "x"}, row{"", ""}}) {
    CAPTURE(r.key);
    CHECK(std::string_view(r.key).substr(0, resource_size(r.key)) == r.resource);
  }
}

TEST_CASE("a flood in one resource takes nothing from another") {
  history h({.states = seconds(100), .age = seconds(100), .bytes = 200'000});
  h.start(1);
  time_point now{};
  for (revision at = 2; at < 2002; ++at) {
    h.add(change_of(at % 100 ? "/registry/secrets/d/flood" : "/registry/pods/d/a", at, at % 100 ? 2000 : 500));
    h.trim(now, at);
    CHECK(h.bytes() <= 200'000);
  }
  CHECK(h.floor("/registry/pods/") == 1);
  CHECK(h.floor("/registry/pods/d/a") == 1);
  CHECK(h.floor("/registry/services/") == 1);
  CHECK(h.floor("/registry/secrets/") > 1800);
  CHECK(h.floor("/registry/secrets/") < 1980);
  CHECK(h.floor("/registry/") == h.floor("/registry/secrets/"));
  CHECK(seen(h, "/registry/pods/", 1, 2002, false).size() == 20);
  CHECK(seen(h, "/registry/pods/", 100, 300, false) == std::vector<revision>{200, 300});
  CHECK(seen(h, "/registry/pods/", 99, 299, true) == std::vector<revision>{200, 100});
  auto both = seen(h, "/registry/", 1989, 2001, false);
  CHECK(both.size() == 12);
  CHECK(std::is_sorted(both.begin(), both.end()));
  auto back = seen(h, "/registry/", 1989, 2001, true);
  std::reverse(back.begin(), back.end());
  CHECK(back == both);
  CHECK(h.find("/registry/pods/d/a", 1900)->at == 1900);
  CHECK(h.find("/registry/pods/d/a", 1901) == nullptr);
}

TEST_CASE("events go when they are old, also where nothing follows them") {
  history h({.states = seconds(100), .age = seconds(10), .bytes = 1 << 30});
  h.start(1);
  time_point now{};
  for (revision at = 2; at < 32; ++at) {
    h.add(change_of(at < 12 ? "/registry/pods/d/a" : "/registry/secrets/d/a", at, 10));
    h.trim(now, at);
    now += seconds(1);
  }
  // Of the last ten seconds, and the one that a mark may be behind.
  CHECK(seen(h, "/registry/", 1, 32, false).size() <= 12);
  CHECK(h.floor("/registry/pods/") == 11);
  CHECK(h.floor("/registry/secrets/") >= 19);
  h.trim(now + seconds(60), 31);
  CHECK(h.bytes() == 0);
  CHECK(h.floor("/registry/") == 31);
}

namespace {

struct past_world : world {
  struct seen_event {
    event_type type;
    revision at;
    std::string key, object, previous;
    friend bool operator==(const seen_event&, const seen_event&) = default;
  };
  static seen_event brief(const event_ref& e) {
    return {e->type, e->at, std::string(e->object->key()), std::string(e->object->bytes()),
            e->previous ? std::string(e->previous->bytes()) : ""};
  }
  std::vector<seen_event> all;
  std::map<revision, std::map<std::string, std::string>> states;

  static void by_value(const object& o, const value_visitor& give) {
    std::string buffer;
    give(string_in(member_at(o.bytes(), "data.k"), buffer));
  }
  static store_options options(std::size_t history_bytes) {
    store_options o;
    o.history_bytes = history_bytes;
    o.indexes = {{"k", "/registry/configmaps/", &by_value}};
    return o;
  }
  static std::map<std::string, std::string> content(const snapshot& s, std::string_view prefix) {
    std::map<std::string, std::string> out;
    s.scan(prefix, "", [&](const object_ref& o) {
      out.emplace(o->key(), o->bytes());
      return true;
    });
    return out;
  }
  std::vector<seen_event> told(watcher& from) {
    std::vector<seen_event> out;
    for (auto& e : drain(from)) out.push_back(brief(e));
    return out;
  }
  void change(int n, std::uint64_t seed) {
    seeded_random random(seed);
    auto watch = *store->watch("/registry/", 0);
    for (int i = 0; i < n; ++i) {
      auto key = fmt::format("/registry/{}/d/{}", random.below(3) ? "configmaps" : "secrets", random.below(7));
      auto standing = store->current().find(key);
      auto text = config_map("x", std::to_string(random.below(3)));
      if (!standing)
        must(create(key, text));
      else if (random.below(4) == 0)
        must(removal(key, standing->mod()));
      else
        must(update(key, text, standing->mod()));
      states[store->current().at()] = content(store->current(), "/registry/");
    }
    for (auto& e : told(*watch)) all.push_back(std::move(e));
  }
  void check(revision oldest) {
    for (auto& [from, state] : states) {
      CAPTURE(from);
      for (watch_scope scope : {watch_scope{"/registry/configmaps/"}, watch_scope{"/registry/secrets/d/3", true},
                                watch_scope{"/registry/configmaps/d/", false, "k", "1"}, watch_scope{"/registry/"}}) {
        auto found = store->watch(scope, from);
        if (from < oldest) {
          auto end = found ? loop.run_until((*found)->next()).error() : found.error();
          CHECK(end.code == errc::expired);
          continue;
        }
        std::vector<seen_event> wanted;
        for (auto& e : all) {
          if (e.at <= from || (scope.one ? e.key != scope.prefix : !e.key.starts_with(scope.prefix))) continue;
          auto has = [&](const std::string& text) { return text.find(R"("k":"1")") != text.npos; };
          if (scope.index.empty() || has(e.object) || has(e.previous)) wanted.push_back(e);
        }
        REQUIRE(found.has_value());
        CHECK(told(**found) == wanted);
      }
      for (std::string prefix : {"/registry/configmaps/", "/registry/secrets/"}) {
        auto then = loop.run_until(store->exactly(from, prefix, loop.now() + seconds(5)));
        if (from < oldest) {
          CHECK(then.error().code == errc::expired);
          continue;
        }
        REQUIRE_MESSAGE(then.has_value(), then.error().message);
        CHECK(then->at() == from);
        std::map<std::string, std::string> wanted;
        for (auto& [key, text] : state)
          if (key.starts_with(prefix)) wanted.emplace(key, text);
        CHECK(content(*then, prefix) == wanted);
      }
    }
  }
};

}  // namespace

TEST_CASE("watches and states of any revision are served, from memory or from the log") {
  // All in memory; a part; nothing.
  for (std::size_t bytes : {std::size_t(1) << 30, std::size_t(20'000), std::size_t(1)}) {
    CAPTURE(bytes);
    past_world w;
    w.open(past_world::options(bytes));
    w.change(220, 3 + bytes);
    w.check(0);
    // A new server has only the log for what was before it.
    w.close();
    w.open(past_world::options(bytes));
    w.change(30, 5 + bytes);
    w.check(0);
    // The log forgets.
    auto middle = std::next(w.states.begin(), 100)->first;
    auto other = datastore::make_memory_log(w.database);
    w.loop.run_until(other->compact(middle));
    w.close();
    w.open(past_world::options(bytes));
    w.check(middle);
  }
}

TEST_CASE("a watch that starts in the past goes on into the present, past a flood") {
  past_world w;
  w.open(past_world::options(30'000));
  auto begin = w.must(create("/registry/secrets/d/0", config_map("x", "0"))).at;
  auto watch = *w.store->watch("/registry/", begin);
  revision last = begin;
  for (int i = 0; i < 3000; ++i) last = w.must(update("/registry/secrets/d/0", config_map("x", "1"), last)).at;
  // It is read while more is written.
  revision at = begin;
  while (at < last) {
    auto more = w.loop.run_until(watch->next());
    REQUIRE(more.has_value());
    for (auto& e : *more) {
      CHECK(e->at == at + 1);
      at = e->at;
    }
    if (at < begin + 2900) last = w.must(update("/registry/secrets/d/0", config_map("x", "2"), last)).at;
  }
  CHECK(watch->seen() == w.store->current().at());
}

TEST_CASE("the pages of a list find their state again, however much is written between") {
  past_world w;
  w.open(past_world::options(1));
  for (int i = 0; i < 10; ++i) w.must(create(fmt::format("/registry/configmaps/d/{}", i), config_map("x", "0")));
  auto first = w.store->current();
  w.store->keep(first);
  auto wanted = past_world::content(first, "/registry/configmaps/");
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) {
      auto key = fmt::format("/registry/configmaps/d/{}", i);
      w.must(update(key, config_map("x", "1"), w.store->current().find(key)->mod()));
    }
    auto then = w.loop.run_until(w.store->exactly(first.at(), "/registry/configmaps/", w.loop.now() + seconds(1)));
    REQUIRE(then.has_value());
    CHECK(past_world::content(*then, "/registry/configmaps/") == wanted);
  }
}

TEST_CASE("a state of the past has its time, however often it is asked for, and whatever the log still has") {
  past_world w;
  auto options = past_world::options(1 << 20);
  options.history = seconds(1);
  w.open(std::move(options));
  w.must(create("/registry/configmaps/d/a", config_map("x", "0")));
  auto first = w.store->current();
  w.must(create("/registry/configmaps/d/b", config_map("x", "0")));
  w.store->keep(first);
  auto asked = [&](revision at) {
    return w.loop.run_until(w.store->exactly(at, "/registry/configmaps/", w.loop.now() + seconds(60)));
  };
  result<snapshot> then;
  for (auto end = w.loop.now() + seconds(120); w.loop.now() < end && (then = asked(first.at()));)
    w.run_for(std::chrono::milliseconds(20));
  REQUIRE(!then.has_value());
  CHECK(then.error().code == errc::expired);
  // What is still so is no past.
  CHECK(asked(w.store->current().at()).has_value());
}

}  // namespace kedge::store
