#include <map>

#include "harness.h"
#include "laws.h"
#include "store/object.h"
#include "store/tree.h"

namespace kedge::store {
namespace {

std::string key_of(int n) { return fmt::format("/registry/{}/ns{}/{:03}", n % 3 ? "pods" : "configmaps", n % 5, n); }
object_ref object_of(const std::string& key, revision at) {
  return object_access::make(key, "v" + std::to_string(at), at, at, 0);
}

using model = std::map<std::string, revision>;

model content(const tree& t) {
  model out;
  t.scan("", [&](const object_ref& o) {
    out.emplace(o->key(), o->mod());
    return true;
  });
  return out;
}

TEST_CASE("the tree is an ordered map, and copies of it stay what they were") {
  law("tree against std::map", [](const std::vector<std::pair<int, bool>>& changes) {
    tree t;
    model m;
    std::vector<std::pair<tree, model>> copies;
    revision at = 0;
    for (auto [n, keep] : changes) {
      auto key = key_of(std::abs(n) % 400);
      ++at;
      if (n >= 0 || !m.contains(key)) {
        auto before = t.put(object_of(key, at));
        RC_ASSERT(bool(before) == m.contains(key));
        if (before) RC_ASSERT(before->mod() == m[key]);
        m[key] = at;
      } else {
        auto taken = t.erase(key);
        RC_ASSERT(taken->mod() == m[key]);
        m.erase(key);
      }
      if (keep && copies.size() < 8) copies.emplace_back(t, m);
    }
    RC_ASSERT(t.consistent());
    RC_ASSERT(content(t) == m);
    for (auto& [copy, then] : copies) {
      RC_ASSERT(copy.consistent());
      RC_ASSERT(content(copy) == then);
    }
    for (auto prefix : {"", "/registry/pods/", "/registry/pods/ns1/", "/registry/pods/ns1/00", "/registry/q", "/a"}) {
      auto expected = std::count_if(m.begin(), m.end(), [&](auto& e) { return e.first.starts_with(prefix); });
      RC_ASSERT(t.count(prefix) == static_cast<std::size_t>(expected));
    }
  });
}

TEST_CASE("a large tree grows, is changed at random, and shrinks to nothing") {
  seeded_random random(7);
  tree t;
  model m;
  std::vector<std::pair<tree, model>> copies;
  for (int i = 0; i < 20'000; ++i) {
    auto key = key_of(static_cast<int>(random.below(5'000)));
    // First mostly puts, at the end only removals.
    if (random.below(20'000) > static_cast<std::uint64_t>(i)) {
      t.put(object_of(key, static_cast<revision>(i)));
      m[key] = static_cast<revision>(i);
    } else {
      CHECK(bool(t.erase(key)) == (m.erase(key) > 0));
    }
    if (i % 4'000 == 0) copies.emplace_back(t, m);
  }
  CHECK(t.consistent());
  CHECK(content(t) == m);
  for (auto& [copy, then] : copies) CHECK(content(copy) == then);
  for (auto& [key, at] : model(m)) CHECK(t.erase(key)->mod() == at);
  CHECK(t.size() == 0);
  CHECK(t.node_bytes() == 0);
}

TEST_CASE("names in order fill their leaves") {
  tree t;
  for (int i = 0; i < 10'000; ++i) t.put(object_of(fmt::format("/registry/pods/default/p{:05}", i), 1));
  CHECK(t.node_bytes() < 10'000 * 16);
}

TEST_CASE("replaying the events of a watch gives the state") {
  law("history replayed == state", [](const std::vector<std::pair<unsigned, bool>>& changes) {
    world w;
    w.open();
    auto watch = *w.store->watch("/registry/", 0);
    auto replica = content(tree());
    w.store->current().scan("/registry/", "", [&](const object_ref& o) {
      replica.emplace(o->key(), o->mod());
      return true;
    });
    for (auto [n, remove] : changes) {
      auto key = key_of(static_cast<int>(n % 20));
      auto standing = w.store->current().find(key);
      if (!standing)
        RC_ASSERT(w.write(create(key, config_map("x", "1"))).has_value());
      else if (remove)
        RC_ASSERT(w.write(removal(key, standing->mod())).has_value());
      else
        RC_ASSERT(w.write(update(key, config_map("x", "2"), standing->mod())).has_value());
    }
    revision last = 0;
    while (watch->seen() < w.store->current().at()) {
      auto events = w.loop.run_until(watch->next());
      RC_ASSERT(events.has_value());
      for (auto& e : *events) {
        RC_ASSERT(e->at > last);
        last = e->at;
        auto key = std::string(e->object->key());
        RC_ASSERT((e->type == event_type::added) == !replica.contains(key));
        if (e->previous) RC_ASSERT(replica[key] == e->previous->mod());
        if (e->type == event_type::deleted)
          replica.erase(key);
        else
          replica[key] = e->object->mod();
      }
    }
    model state;
    w.store->current().scan("/registry/", "", [&](const object_ref& o) {
      state.emplace(o->key(), o->mod());
      return true;
    });
    RC_ASSERT(replica == state);
  });
}

}  // namespace
}  // namespace kedge::store
