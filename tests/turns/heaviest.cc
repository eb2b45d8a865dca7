// heaviest.cc: searches for the request of a namespace's user that makes the longest turn of a loop. `turns_heaviest
// [KIB] [WORD]` prints a line of JSON: what it was, and how many milliseconds of processor time its longest turn and
// all of it took. With a word only what an administrator added is asked, as far as its text has that word: for a
// profiler.
//
//   every list and map of every kind in a namespace × every way to ask × thin and full elements, at a size that is
//   quick to try
//     ─▶ the worst of these as large as a body may be (KIB, or 3 MiB)  ─▶ the worst of those with more and fewer
//     elements, while that helps
//   what is asked of many objects: LISTs in every form, with selectors as long as they may be
//   what an administrator added: custom resources as large as a body, rules and policies at their budgets
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "api/limits.h"
#include "extensions.h"
#include "json/write.h"
#include "shapes.h"

namespace kedge::turns {
namespace {

constexpr std::size_t quick_bytes = 48 * 1024, worst_kept = 40, climbed = 6, many_objects = 5'000;

struct candidate {
  std::string text;
  const list_place* place = nullptr;  // null: a question about many objects, or about extensions
  way how{};
  element_form form{};
  std::size_t elements = 0;
  measured took;
};

double ms(duration d) { return static_cast<double>(d.count()) / 1e6; }

// The least of several: noise only ever makes longer.
measured least(world& w, const candidate& c, std::size_t elements, int rounds) {
  measured best;
  best.longest = duration::max();
  for (int i = 0; i < rounds; ++i) {
    auto one = ask(w, *c.place, c.how, elements, c.form);
    if (one.longest < best.longest) best = std::move(one);
  }
  return best;
}

bool longer(const candidate& a, const candidate& b) { return a.took.longest > b.took.longest; }

std::vector<candidate> of_bodies(world& w, std::size_t bytes) {
  static const auto places = list_places();
  std::vector<candidate> all;
  std::set<std::string> seen;
  for (auto& p : places) {
    if (!p.of->namespaced() || !seen.insert(p.role()).second) continue;
    for (auto how : all_ways)
      for (auto form : {element_form::thin, element_form::full}) {
        candidate c{.text = fmt::format("{}, {}", p.text(), name_of(how)), .place = &p, .how = how, .form = form};
        c.elements = elements_for(p, quick_bytes, form);
        c.took = least(w, c, c.elements, 1);
        all.push_back(std::move(c));
      }
  }
  std::ranges::sort(all, longer);
  all.resize(std::min(all.size(), worst_kept));
  for (auto& c : all) {
    c.elements =
        elements_for(*c.place, bytes, c.form) * 4 / 5;  // room for the rest of the object, and for larger numbers
    c.took = least(w, c, c.elements, 2);
  }
  std::ranges::sort(all, longer);
  all.resize(std::min(all.size(), climbed));
  for (auto& c : all)
    for (auto part : {0.9, 0.7, 0.5, 0.25}) {
      auto fewer = static_cast<std::size_t>(static_cast<double>(c.elements) * part);
      auto took = least(w, c, fewer, 3);
      if (took.longest > c.took.longest) c.took = std::move(took);
    }
  return all;
}

std::vector<candidate> of_many_objects(world& w) {
  auto maps = std::ranges::find_if(api::builtin_registry().all(), [](auto* s) { return s->resource == "configmaps"; });
  for (std::size_t i = 0; i < many_objects; ++i)
    w.put(**maps, json::object{{"apiVersion", "v1"},
                               {"kind", "ConfigMap"},
                               {"metadata", json::object{{"name", fmt::format("m{}", i)},
                                                         {"namespace", world::ns},
                                                         {"labels", json::object{{"app", fmt::format("a{}", i)}}}}},
                               {"data", json::object{{"payload", std::string(200, 'x')}}}});
  std::string set = "app+in+(", each;
  for (std::size_t i = 0; i < 900; ++i) set += fmt::format("{}b{}", i ? "," : "", i);
  for (std::size_t i = 0; i < 400; ++i) each += fmt::format("{}k{}!=v", i ? "," : "", i);
  auto path = fmt::format("/api/v1/namespaces/{}/configmaps", world::ns);
  std::vector<candidate> all;
  for (auto query : {std::string(), "?labelSelector=" + set + ")", "?labelSelector=" + each,
                     std::string("?fieldSelector=metadata.name!=x"), std::string("?limit=4000")})
    for (auto accept : {"application/json", "application/json;as=Table;v=v1;g=meta.k8s.io",
                        "application/vnd.kubernetes.protobuf", "application/yaml"}) {
      candidate c{.text = fmt::format("LIST of {} ConfigMaps as {} {}", many_objects, accept, query.substr(0, 40))};
      c.took.longest = duration::max();
      for (int i = 0; i < 3; ++i)
        if (auto one =
                w.ask({.method = "GET", .target = path + query, .body = {}, .content_type = {}, .accept = accept});
            one.longest < c.took.longest)
          c.took = std::move(one);
      all.push_back(std::move(c));
    }
  return all;
}

std::vector<candidate> of_extensions(world& w, std::size_t bytes, std::string_view word) {
  std::vector<candidate> all;
  for (auto& e : extension_cases(w)) {
    if (e.text.find(word) == std::string::npos) continue;
    candidate c{.text = e.text};
    c.took.longest = duration::max();
    for (int i = 0; i < 3; ++i)
      if (auto one = e.ask(w, bytes * 4 / 5); one.longest < c.took.longest) c.took = std::move(one);
    all.push_back(std::move(c));
  }
  return all;
}

}  // namespace
}  // namespace kedge::turns

int main(int argc, char** argv) {
  using namespace kedge::turns;
  doctest::Context context;
  context.setAsDefaultForAssertsOutOfTestCases();
  auto bytes = argc > 1 ? static_cast<std::size_t>(std::atol(argv[1])) * 1024 : kedge::api::body_max_bytes - 64 * 1024;
  const std::string_view word = argc > 2 ? argv[2] : "";
  world w;
  std::vector<candidate> all;
  if (word.empty()) {
    all = of_bodies(w, bytes);
    for (auto& c : of_many_objects(w)) all.push_back(c);
  }
  for (auto& c : of_extensions(w, bytes, word)) all.push_back(c);
  std::ranges::sort(all, longer);
  for (std::size_t i = 0; i < std::min<std::size_t>(all.size(), 12); ++i)
    std::fprintf(stderr, "%8.2f ms of %8.2f ms, %d: %s, %zu elements\n", ms(all[i].took.longest), ms(all[i].took.all),
                 all[i].took.code, all[i].text.c_str(), all[i].elements);
  auto& worst = all.front();
  std::printf("%s\n", kedge::json::write(kedge::json::object{{"request", worst.text},
                                                             {"longest_ms", ms(worst.took.longest)},
                                                             {"all_ms", ms(worst.took.all)}})
                          .c_str());
  return 0;
}
