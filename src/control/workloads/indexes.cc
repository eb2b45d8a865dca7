#include "control/workloads/indexes.h"

#include <algorithm>

#include "base/strings.h"

namespace kedge::control {

index_set index_set::parse(std::string_view text, std::int64_t end) {
  index_set out;
  for (auto part : split(text, ',')) {
    auto dash = part.find('-');
    auto first = parse_int(part.substr(0, dash));
    if (!first || *first < 0) continue;
    if (*first >= end) break;
    auto last = dash == part.npos ? first : parse_int(part.substr(dash + 1));
    if (!last) continue;
    out.add(run{*first, std::min(*last, end - 1)});
  }
  return out;
}

void index_set::add(run r) {
  if (r.last < r.first) return;
  // The first one that touches it, or is behind it.
  auto at =
      std::lower_bound(runs_.begin(), runs_.end(), r.first, [](auto& x, std::int64_t i) { return x.last + 1 < i; });
  auto end = at;
  for (; end != runs_.end() && end->first <= r.last + 1; ++end) {
    r.first = std::min(r.first, end->first);
    r.last = std::max(r.last, end->last);
  }
  if (at == end)
    runs_.insert(at, r);
  else
    *at = r, runs_.erase(at + 1, end);
}

void index_set::add(const index_set& other) {
  for (auto& r : other.runs_) add(r);
}

bool index_set::has(std::int64_t index) const noexcept {
  auto at = std::lower_bound(runs_.begin(), runs_.end(), index, [](auto& x, std::int64_t i) { return x.last < i; });
  return at != runs_.end() && at->first <= index;
}

std::int64_t index_set::count() const noexcept {
  std::int64_t n = 0;
  for (auto& r : runs_) n += r.last - r.first + 1;
  return n;
}

std::int64_t index_set::in_common(const index_set& other) const noexcept {
  std::int64_t n = 0;
  for (auto a = runs_.begin(), b = other.runs_.begin(); a != runs_.end() && b != other.runs_.end();) {
    n += std::max<std::int64_t>(0, std::min(a->last, b->last) - std::max(a->first, b->first) + 1);
    a->last < b->last ? void(++a) : void(++b);
  }
  return n;
}

std::vector<std::int64_t> index_set::missing(std::int64_t end, std::size_t most) const {
  std::vector<std::int64_t> out;
  std::int64_t next = 0;
  auto fill = [&](std::int64_t until) {
    for (; next < until && out.size() < most; ++next) out.push_back(next);
  };
  for (auto& r : runs_) {
    fill(std::min(r.first, end));
    next = std::max(next, r.last + 1);
    if (out.size() >= most) return out;
  }
  fill(end);
  return out;
}

std::string index_set::text() const {
  std::string out;
  for (auto& r : runs_) {
    if (!out.empty()) out += ',';
    out += std::to_string(r.first);
    if (r.last > r.first) (out += r.last == r.first + 1 ? ',' : '-') += std::to_string(r.last);
  }
  return out;
}

}  // namespace kedge::control
