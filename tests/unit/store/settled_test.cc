// Objects that have stood for a while lie elsewhere, and nobody sees it.
#include "store/settled.h"

#include "harness.h"

namespace kedge::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

object_ref an_object(int i, std::size_t size = 500) {
  auto key = fmt::format("/registry/configmaps/d/{:04}", i);
  return object_access::make(key, config_map("a", std::string(size, 'v'), R"({"app":"x"})"), 7, 5, 30);
}

// Waits, as long as a busy machine may take.
template <typename F>
bool within(world& w, seconds most, F f) {
  for (auto end = w.loop.now() + most; w.loop.now() < end;) {
    if (f()) return true;
    w.run_for(milliseconds(50));
  }
  return f();
}

}  // namespace

TEST_CASE("a copy is the same version") {
  auto o = an_object(1);
  object_ref copy;
  {
    settled_heap heap;
    REQUIRE(heap.would_help(*o));
    copy = heap.copy(*o);
    CHECK(!heap.would_help(*copy));
  }
  CHECK(object_access::is_settled(*copy));
  CHECK(!object_access::is_settled(*o));
  CHECK(copy->key() == o->key());
  CHECK(copy->bytes() == o->bytes());
  CHECK(copy->labels_text() == R"({"app":"x"})");
  CHECK(copy->item_tail() == o->item_tail());
  CHECK(copy->mod() == 7);
  CHECK(copy->created() == 5);
  CHECK(copy->lease_seconds() == 30);
  CHECK(object_access::with_revision(*copy, 9)->bytes() == object_access::with_revision(*o, 9)->bytes());
}

TEST_CASE("what is left of a chunk moves on when most of it has gone") {
  settled_heap heap;
  std::vector<object_ref> all;
  for (int i = 0; i < 300; ++i) all.push_back(heap.copy(*an_object(i)));
  for (auto& o : all) CHECK(!heap.would_help(*o));
  for (std::size_t i = 0; i < all.size(); ++i)
    if (i % 4) all[i] = {};
  CHECK(heap.would_help(*all[0]));
  for (std::size_t i = 0; i < all.size(); i += 4) {
    auto text = std::string(all[i]->bytes());
    if (heap.would_help(*all[i])) all[i] = heap.copy(*all[i]);
    CHECK(all[i]->bytes() == text);
  }
  // A large one would leave much of a chunk empty.
  CHECK(!heap.would_help(*an_object(0, settled_object_max)));
}

TEST_CASE("what outlives its history settles, with its indexes, watches and leases") {
  world w;
  store_options options;
  options.history = seconds(1);
  options.indexes = {{"app", "/registry/", [](const object& o, const value_visitor& give) {
                        std::string buffer;
                        give(string_in(member_at(o.labels_text(), "app"), buffer));
                      }}};
  w.open(std::move(options));
  auto key = [](int i) { return fmt::format("/registry/configmaps/d/{:04}", i); };
  for (int i = 0; i < 600; ++i)
    w.must(create(key(i), config_map(fmt::format("{}", i), "1", R"({"app":"x"})"), i % 3 ? 0 : 4));
  auto before = w.store->current();
  auto watch = w.store->watch("/registry/configmaps/", before.at());
  REQUIRE(watch.has_value());
  auto is_settled = [&](int i) {
    auto o = w.store->current().find(key(i));
    return !o || object_access::is_settled(*o);
  };
  CHECK(within(w, seconds(60), [&] {
    for (int i = 0; i < 600; ++i)
      if (!is_settled(i)) return false;
    return true;
  }));
  auto after = w.store->current();
  CHECK(after.at() >= before.at());
  after.scan("/registry/configmaps/", {}, [&](const object_ref& o) {
    CHECK(o->bytes() == before.find(o->key())->bytes());
    return true;
  });
  CHECK(after.count("app", "x") == after.count("/registry/configmaps/"));
  // They are written as any, and leases still end.
  auto changed = w.must(update(key(1), config_map("1", "2", R"({"app":"y"})"), after.find(key(1))->mod()));
  CHECK(!object_access::is_settled(*changed.object));
  CHECK(w.store->current().count("app", "y") == 1);
  CHECK(within(w, seconds(60), [&] { return w.store->current().count("/registry/configmaps/") == 400; }));
  std::size_t modified = 0, deleted = 0;
  for (auto& e : w.drain(**watch)) {
    modified += e->type == event_type::modified;
    deleted += e->type == event_type::deleted;
  }
  CHECK(modified == 1);
  CHECK(deleted == 200);
}

}  // namespace kedge::store
