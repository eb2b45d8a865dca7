#include "control/scheduler/plugins/shape.h"

#include <fmt/format.h>

namespace kedge::control::scheduler {

std::int64_t on_shape(const std::vector<shape_point>& shape, std::int64_t p) {
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (p > shape[i].utilization) continue;
    if (i == 0) return shape.front().score;
    auto& a = shape[i - 1];
    auto& b = shape[i];
    return a.score + (b.score - a.score) * (p - a.utilization) / (b.utilization - a.utilization);
  }
  return shape.empty() ? 0 : shape.back().score;
}

result<std::vector<shape_point>> shape_of(const json::value& list, std::string_view path) {
  constexpr std::int64_t utilization_max = 100, given_score_max = 10;  // of the configuration's own scale
  std::vector<shape_point> out;
  auto refuse = [&](std::size_t i, std::string_view field, std::int64_t value, std::string_view why) {
    return fail(errc::invalid, fmt::format("{}[{}].{}: Invalid value: {}: {}", path, i, field, value, why));
  };
  if (list.empty())
    return fail(errc::invalid, fmt::format("{}: Required value: at least one point must be specified", path));
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto at = list[i]["utilization"].as_integer(), score = list[i]["score"].as_integer();
    if (at < 0 || at > utilization_max) return refuse(i, "utilization", at, "not in valid range [0, 100]");
    if (i > 0 && at <= out.back().utilization)
      return refuse(i, "utilization", at, "values must be sorted in increasing order");
    if (score < 0 || score > given_score_max) return refuse(i, "score", score, "not in valid range [0, 10]");
    out.push_back({at, score * (score_max / given_score_max)});
  }
  return out;
}

}  // namespace kedge::control::scheduler
