#include "base/key.h"

#include <doctest/doctest.h>

#include <map>
#include <vector>

using namespace kedge;

TEST_CASE("a key is one list of parts") {
  // All lists of up to three parts of up to two characters, of those that separate things elsewhere.
  const std::string letters("\0a\1,", 4);
  std::vector<std::string> words{""};
  for (char x : letters) {
    words.emplace_back(1, x);
    for (char y : letters) words.push_back({x, y});
  }
  std::map<std::string, std::vector<std::string>> lists;
  auto add = [&](std::vector<std::string> list) {
    std::string key;
    for (auto& part : list) append_part(key, part);
    auto [at, fresh] = lists.emplace(key, list);
    CHECK((fresh || at->second == list));
  };
  add({});
  for (auto& a : words) {
    add({a});
    for (auto& b : words) {
      add({a, b});
      for (auto& c : words) add({a, b, c});
    }
  }
  CHECK(lists.size() == 1 + words.size() + words.size() * words.size() + words.size() * words.size() * words.size());
}
