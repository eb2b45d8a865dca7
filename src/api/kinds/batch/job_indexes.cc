// job_indexes.cc: "1,3-5", as an indexed Job names the pods that ended.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/kinds/batch/job_spec.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

using interval = std::pair<std::int64_t, std::int64_t>;

std::expected<std::int64_t, std::string> index_of(std::string_view text, std::int64_t completions) {
  auto n = parse_int(text);
  if (!n) return std::unexpected(fmt::format("cannot convert string to integer for index: {}", quote(text)));
  if (*n >= completions) return std::unexpected(fmt::format("too large index: {}", quote(text)));
  return *n;
}

std::expected<interval, std::string> interval_of(std::string_view text, std::int64_t completions) {
  const auto dashes = std::count(text.begin(), text.end(), '-');
  if (dashes > 1)
    return std::unexpected(fmt::format(
        "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
        quote(text)));
  auto dash = text.find('-');
  auto first = index_of(text.substr(0, dash), completions);
  if (!first) return std::unexpected(first.error());
  if (dash == text.npos) return interval(*first, *first);
  auto last = index_of(text.substr(dash + 1), completions);
  if (!last) return std::unexpected(last.error());
  if (*first >= *last)
    return std::unexpected(fmt::format("non-increasing order, previous: {}, current: {}", *first, *last));
  return interval(*first, *last);
}

std::vector<interval> intervals_of(std::string_view text, std::int64_t completions) {
  std::vector<interval> out;
  for (auto part : split(text, ','))
    if (auto i = interval_of(part, completions)) out.push_back(*i);
  return out;
}

}  // namespace

std::expected<std::int64_t, std::string> count_indexes(std::string_view text, std::int64_t completions) {
  std::int64_t count = 0;
  if (text.empty()) return count;
  const interval* previous = nullptr;
  interval kept;
  for (auto part : split(text, ',')) {
    auto i = interval_of(part, completions);
    if (!i) return std::unexpected(std::move(i).error());
    if (previous && previous->second >= i->first)
      return std::unexpected(
          fmt::format("non-increasing order, previous: {}, current: {}", previous->second, i->first));
    count += i->second - i->first + 1;
    kept = *i;
    previous = &kept;
  }
  return count;
}

std::int64_t common_index(std::string_view a, std::string_view b, std::int64_t completions) {
  if (a.empty() || b.empty()) return -1;
  const auto first = intervals_of(a, completions), second = intervals_of(b, completions);
  for (std::size_t i = 0, j = 0; i < first.size() && j < second.size();) {
    if (first[i].first <= second[j].second && second[j].first <= first[i].second)
      return std::max(first[i].first, second[j].first);
    if (first[i].first <= second[j].first)
      ++i;
    else
      ++j;
  }
  return -1;
}

}  // namespace kedge::api
