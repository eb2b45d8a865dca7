#include <set>

#include "base/strings.h"
#include "harness.h"
#include "laws.h"
#include "store/indexed_tree.h"

namespace kedge::store {
namespace {

// Objects are "a,b,c": found by each of their words. Names begin with the kind.
void words(const object& o, const value_visitor& give) {
  for (auto word : split(o.bytes(), ',')) give(word);
}
void first_word(const object& o, const value_visitor& give) { give(o.bytes().substr(0, o.bytes().find(','))); }

std::vector<index> word_indexes() {
  return {{"pods' words", "/registry/pods/", &words}, {"first words", "/registry/", &first_word}};
}

struct model {
  std::map<std::string, std::string> objects;

  // What the index must give: a full scan.
  std::vector<std::string> keys(std::string_view index, std::string_view value, std::string_view prefix,
                                std::string_view start) const {
    std::vector<std::string> out;
    for (auto& [key, text] : objects) {
      if (!key.starts_with(prefix) || key < start || (index == "pods' words" && !key.starts_with("/registry/pods/")))
        continue;
      std::set<std::string_view> values;
      for (auto word : split(text, ',')) {
        if (index != "first words" || values.empty()) values.insert(word);
      }
      if (values.contains(value)) out.push_back(key);
    }
    return out;
  }
};

std::vector<std::string> found(const indexed_tree& t, std::string_view index, std::string_view value,
                               std::string_view prefix, std::string_view start) {
  std::vector<std::string> out;
  t.scan(*t.indexes()->find(index), value, prefix, start, [&](const object_ref& o) {
    out.emplace_back(o->key());
    return true;
  });
  return out;
}

void check_all(const indexed_tree& t, const model& m) {
  RC_ASSERT(t.consistent());
  for (auto index : {"pods' words", "first words"}) {
    for (auto value : {"", "a", "b", "c", "d"}) {
      for (auto prefix : {"/registry/", "/registry/pods/", "/registry/pods/ns1/", "/registry/things/"}) {
        for (auto start : {"", "/registry/pods/ns1/5", "/registry/t"})
          RC_ASSERT(found(t, index, value, prefix, start) == m.keys(index, value, prefix, start));
      }
      RC_ASSERT(t.count(*t.indexes()->find(index), value) == m.keys(index, value, "", "").size());
    }
  }
}

TEST_CASE("an index gives what a full scan gives, and so do copies of before") {
  struct change {
    unsigned key;
    std::vector<unsigned> words;
    bool remove, copy;
  };
  law("index against scan", [] {
    auto changes = *rc::gen::container<std::vector<change>>(rc::gen::construct<change>(
        rc::gen::inRange(0u, 60u), rc::gen::container<std::vector<unsigned>>(rc::gen::inRange(0u, 4u)),
        rc::gen::element(false, false, true), rc::gen::element(false, false, false, true)));
    indexed_tree t(std::make_shared<index_list>(word_indexes(), 7));
    model m;
    std::vector<std::pair<indexed_tree, model>> copies;
    revision at = 0;
    for (auto& c : changes) {
      auto key = fmt::format("/registry/{}/ns{}/{}", c.key % 3 ? "pods" : "things", c.key % 2, c.key);
      if (c.remove) {
        RC_ASSERT(bool(t.erase(key)) == (m.objects.erase(key) > 0));
      } else {
        ++at;
        std::vector<std::string> texts;
        for (auto w : c.words) texts.push_back(std::string(1, static_cast<char>('a' + w)));
        m.objects[key] = join(texts, ",");
        t.put(object_access::make(key, m.objects[key], std::nullopt, at, at, 0));
      }
      if (c.copy && copies.size() < 6) copies.emplace_back(t, m);
    }
    check_all(t, m);
    for (auto& [copy, then] : copies) check_all(copy, then);
  });
}

TEST_CASE("values with equal hashes are told apart by the text") {
  // Without a seed of its own an index would have to rely on luck; here the hashes are made equal.
  std::vector<index> both = word_indexes();
  indexed_tree t(std::make_shared<index_list>(both, 7));
  auto* index = t.indexes()->find("first words");
  t.put(object_access::make("/registry/things/x", "a", std::nullopt, 1, 1, 0));
  auto other = *index;
  other.what.values = [](const object&, const value_visitor& give) { give("b"); };
  bool visited = false;
  t.scan(other, "a", "", "", [&](const object_ref&) { return visited = true; });
  CHECK(!visited);
}

void named(const object& o, const value_visitor& give) {
  std::string buffer;
  give(string_in(member_at(o.bytes(), "data.k"), buffer));
}

TEST_CASE("snapshots of all revisions answer by their indexes") {
  law("store's index against its objects", [](const std::vector<std::pair<unsigned, unsigned>>& changes) {
    world w;
    w.open({.indexes = {{"k", "/registry/configmaps/", &named}}});
    auto check = [](const snapshot& s) {
      std::map<std::string, std::vector<std::string>> wanted;
      s.scan("/registry/configmaps/", "", [&](const object_ref& o) {
        named(*o, [&](std::string_view v) { wanted[std::string(v)].emplace_back(o->key()); });
        return true;
      });
      for (auto value : {"0", "1", "2", "\"\\"}) {
        std::vector<std::string> got;
        s.scan("k", value, "/registry/", "", [&](const object_ref& o) {
          got.emplace_back(o->key());
          return true;
        });
        RC_ASSERT(got == wanted[value]);
        RC_ASSERT(s.count("k", value) == got.size());
      }
    };
    std::vector<snapshot> seen;
    for (auto [n, v] : changes) {
      auto key = fmt::format("/registry/configmaps/default/{}", n % 8);
      auto standing = w.store->current().find(key);
      auto text = config_map("x", v % 4 < 3 ? std::to_string(v % 4) : R"(\"\\)");
      if (!standing)
        w.must(create(key, text));
      else if (v % 5 == 0)
        w.must(removal(key, standing->mod()));
      else
        w.must(update(key, text, standing->mod()));
      seen.push_back(w.store->current());
    }
    CHECK(!w.store->current().has_index("other"));
    for (auto& s : seen) {
      check(s);
      check(*w.loop.run_until(w.store->exactly(s.at(), "/registry/configmaps/", time_point::max())));
    }
    // What a start makes of the log.
    w.close();
    w.open({.indexes = {{"k", "/registry/configmaps/", &named}}});
    check(w.store->current());
  });
}

TEST_CASE("a watch of a scope gets the changes of its scope, and of nothing else") {
  law("scopes against a watch of everything",
      [](const std::vector<std::pair<unsigned, unsigned>>& changes, unsigned late) {
        world w;
        w.open({.indexes = {{"k", "/registry/configmaps/", &named}}});
        struct row {
          watch_scope scope;
          std::unique_ptr<watcher> from_start, later;
        };
        std::vector<row> rows;
        for (auto prefix :
             {"/registry/configmaps/", "/registry/configmaps/a/", "/registry/configmaps/a/1", "/registry/secrets/"})
          for (bool one : {false, true})
            for (auto value : {"", "0", "1"}) {
              watch_scope s{prefix, one};
              if (*value) s.index = "k", s.value = value;
              rows.push_back({s, *w.store->watch(s, 0), nullptr});
            }
        auto all = *w.store->watch("/registry/", 0);
        auto begin = w.store->current().at();
        std::vector<std::string> keys;
        for (auto ns : {"a", "b"})
          for (auto name : {"1", "10", "2"})
            for (auto kind : {"configmaps", "secrets"})
              keys.push_back(fmt::format("/registry/{}/{}/{}", kind, ns, name));
        for (auto [n, v] : changes) {
          auto& key = keys[n % keys.size()];
          auto standing = w.store->current().find(key);
          if (!standing)
            w.must(create(key, config_map("x", std::to_string(v % 3))));
          else if (v % 4 == 0)
            w.must(removal(key, standing->mod()));
          else
            w.must(update(key, config_map("x", std::to_string(v % 3)), standing->mod()));
        }
        auto start = begin + late % (changes.size() + 1);
        for (auto& r : rows) r.later = *w.store->watch(r.scope, start);
        auto events = w.drain(*all);
        auto has = [](const object_ref& o, const std::string& value) {
          bool found = false;
          if (o && o->key().starts_with("/registry/configmaps/"))
            named(*o, [&](std::string_view v) { found = found || v == value; });
          return found;
        };
        for (auto& r : rows) {
          std::vector<event_ref> wanted, later;
          for (auto& e : events) {
            auto key = e->object->key();
            if (r.scope.one ? key != r.scope.prefix : !key.starts_with(r.scope.prefix)) continue;
            if (!r.scope.index.empty() && !has(e->object, r.scope.value) && !has(e->previous, r.scope.value)) continue;
            wanted.push_back(e);
            if (e->at > start) later.push_back(e);
          }
          RC_ASSERT(w.drain(*r.from_start) == wanted);
          RC_ASSERT(w.drain(*r.later) == later);
        }
        all.reset();
        rows.clear();
      });
}

TEST_CASE("indexes come and go while objects change") {
  world w;
  w.open({.indexes = {{"always", "/registry/configmaps/", &named}}});
  seeded_random random(5);
  auto key_of = [](std::uint64_t n) { return fmt::format("/registry/configmaps/d/{:03}", n); };
  auto write_some = [&](int n) {
    reactor::scope writes;
    for (int i = 0; i < n; ++i) {
      auto key = key_of(random.below(400));
      auto standing = w.store->current().find(key);
      auto text = config_map("x", std::to_string(random.below(5)));
      auto m = !standing ? create(key, text) : random.below(5) == 0 ? removal(key) : update(key, text, standing->mod());
      writes.spawn([](class store& s, mutation what) -> task<void> { co_await s.write(std::move(what)); }(
                                                         *w.store, std::move(m)));
    }
    w.loop.run_until([](reactor::scope& all) -> task<void> { co_await all.join(); }(writes));
  };
  auto check = [&](const snapshot& s) {
    for (auto value : {"0", "1", "2", "3", "4"}) {
      std::vector<std::string> wanted, got;
      s.scan("always", value, "", "", [&](const object_ref& o) { return wanted.emplace_back(o->key()), true; });
      s.scan("later", value, "", "", [&](const object_ref& o) { return got.emplace_back(o->key()), true; });
      CHECK(got == wanted);
      CHECK(s.count("later", value) == wanted.size());
    }
  };
  write_some(500);
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    w.store->add_index({"later", "/registry/configmaps/", &named});
    w.store->add_index({"later", "/registry/configmaps/", &named});
    auto before = w.store->current();
    while (!w.store->current().has_index("later")) write_some(3);
    CHECK(!before.has_index("later"));
    auto then = w.store->current();
    check(then);
    write_some(50);
    check(w.store->current());
    check(*w.loop.run_until(w.store->exactly(then.at(), "/registry/configmaps/", time_point::max())));
    w.store->remove_index("later");
    w.store->remove_index("never");
    while (w.store->current().has_index("later")) write_some(3);
    check(then);
    write_some(50);
  }
}

}  // namespace
}  // namespace kedge::store
