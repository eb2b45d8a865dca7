// No request's work is more than linear in its bytes: each list and map of each built-in kind, with four times as many
// elements, may take some five times as long. It finds who compares each with each, in whatever a request goes through.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "shapes.h"

namespace kedge::turns {
namespace {

constexpr std::size_t small_bytes = 8 * 1024, factor = 4;
// Sorting and hashing are a little more than linear, and caches end: twice what is proportional. Quadratic work is 16
// times as much.
constexpr double growth_max = 2.0 * factor;
// Without optimisation all of it takes a quarter of an hour: a part of it, another one each time that a place comes or
// goes.
#ifdef __OPTIMIZE__
constexpr std::size_t every = 1;
#else
constexpr std::size_t every = 16;
#endif
constexpr auto noticed = std::chrono::milliseconds(6);
constexpr auto too_short = std::chrono::milliseconds(3);  // to judge by

double growth(world& w, const list_place& p, way how, std::size_t bytes, duration& took) {
  auto n = elements_for(p, bytes, element_form::thin);
  auto one = ask(w, p, how, n, element_form::thin);
  auto many = ask(w, p, how, n * factor, element_form::thin);
  took = many.all;
  if (many.all < too_short) return 1;
  return static_cast<double>(many.all.count()) / static_cast<double>(std::max<std::int64_t>(one.all.count(), 1));
}

}  // namespace

TEST_CASE("no request's work is more than linear in its bytes") {
  world w;
  const char* only = std::getenv("KEDGE_TURNS_ONLY");  // part of a place's text, to look at one
  std::set<std::string> seen;
  std::size_t asked = 0, place = 0;
  for (auto& p : list_places()) {
    if (only ? p.text().find(only) == std::string::npos : !seen.insert(p.role()).second) continue;
    if (!only && place++ % every) continue;
    for (auto how : all_ways) {
      duration took{0};
      auto most = growth(w, p, how, small_bytes, took);
      // A small quadratic cost beside a large linear one shows late.
      if (took > noticed) most = std::max(most, growth(w, p, how, factor * small_bytes, took));
      for (int again = 0; most > growth_max && again < 3; ++again)
        most = std::min(most, growth(w, p, how, factor * small_bytes, took));
      ++asked;
      CHECK_MESSAGE(most <= growth_max, p.text()
                                            << ", " << name_of(how) << ": " << factor << " times as many elements took "
                                            << most << " times as long (" << took.count() / 1'000'000 << " ms)");
    }
  }
  if (!only) CHECK(asked > 800 / every);
}

}  // namespace kedge::turns
