#include "node/pods/object_cache.h"

#include <doctest/doctest.h>

#include <string>

#include "node/limits.h"

namespace kedge::node {

namespace {

constexpr time_point at(std::int64_t ms) { return time_point(std::chrono::milliseconds(ms)); }

}  // namespace

TEST_CASE("a pod is never shown what was asked for before it was heard of") {
  object_cache cache;
  cache.keep("/a", json::value("old"), at(100), at(120));
  // Pods that were there when it was asked for, and no later one, however short the time.
  REQUIRE(cache.find("/a", at(90), at(120)));
  CHECK(**cache.find("/a", at(100), at(120)) == json::value("old"));
  CHECK_FALSE(cache.find("/a", at(101), at(120)));
  CHECK_FALSE(cache.find("/b", at(90), at(120)));
  // That there is none is an answer too.
  cache.keep("/b", std::nullopt, at(110), at(120));
  REQUIRE(cache.find("/b", at(110), at(120)));
  CHECK_FALSE(cache.find("/b", at(110), at(120))->has_value());
  // One that was asked for earlier and came later is no news.
  cache.keep("/a", json::value("new"), at(130), at(140));
  cache.keep("/a", json::value("older"), at(125), at(150));
  CHECK(**cache.find("/a", at(130), at(150)) == json::value("new"));
}

TEST_CASE("answers age, and there are only so many") {
  object_cache cache;
  const auto late = at(0) + object_age_max;
  cache.keep("/a", json::value(1), at(0), at(0));
  CHECK(cache.find("/a", at(0), late - std::chrono::milliseconds(1)));
  CHECK_FALSE(cache.find("/a", at(0), late));
  for (std::size_t i = 0; i < objects_kept_max; ++i) cache.keep("/" + std::to_string(i), json::value(2), late, late);
  cache.keep("/one-more", json::value(3), late, late);
  CHECK_FALSE(cache.find("/one-more", late, late));
  cache.keep("/0", json::value(4), late, late);
  CHECK(**cache.find("/0", late, late) == json::value(4));
}

}  // namespace kedge::node
