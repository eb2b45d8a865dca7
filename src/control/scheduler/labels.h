// labels.h: labels of one object, sorted, and selectors over them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "json/value.h"
#include "meta/selector.h"

namespace kedge::control::scheduler {

class label_set {
 public:
  label_set() = default;
  // metadata.labels, or any map of strings.
  static label_set of(const json::value& map) {
    label_set out;
    if (auto members = map.object())
      for (auto& m : *members) out.all_.emplace_back(m.name, m.value.as_string());
    std::sort(out.all_.begin(), out.all_.end());
    return out;
  }

  const std::string* find(std::string_view key) const noexcept {
    auto at = std::lower_bound(all_.begin(), all_.end(), key, [](auto& a, std::string_view k) { return a.first < k; });
    return at != all_.end() && at->first == key ? &at->second : nullptr;
  }
  bool empty() const noexcept { return all_.empty(); }
  auto begin() const noexcept { return all_.begin(); }
  auto end() const noexcept { return all_.end(); }
  friend bool operator==(const label_set&, const label_set&) = default;

 private:
  std::vector<std::pair<std::string, std::string>> all_;
};

inline bool matches(const api::label_selector& selector, const label_set& labels) noexcept {
  if (selector.nothing()) return false;
  for (auto& r : selector.requirements()) {
    auto found = labels.find(r.key);
    auto text = found ? std::string_view(*found) : std::string_view();
    if (!r.matches(found ? &text : nullptr)) return false;
  }
  return true;
}

}  // namespace kedge::control::scheduler
