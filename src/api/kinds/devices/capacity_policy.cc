#include "api/kinds/devices/capacity_policy.h"

#include <fmt/format.h>

#include <optional>
#include <set>
#include <vector>

#include "schema/quantity.h"

namespace kedge::api {
namespace {

using schema::quantity;

constexpr std::size_t values_max = 10;

std::optional<quantity> read(const json::value& v) {
  if (v.is_null()) return std::nullopt;
  auto q = quantity::parse(v.as_string());
  return q ? std::optional(*q) : std::nullopt;
}

void wrong(causes& out, const place& at, const quantity& q, std::string_view text) {
  out.push_back(invalid_value(at, q.text(), text));
}

void check_values(causes& out, const quantity& capacity, const quantity& usual, const json::value& list,
                  const place& at) {
  std::vector<quantity> values;
  for (std::size_t i = 0; i < list.size(); ++i) values.push_back(read(list[i]).value_or(quantity()));
  for (std::size_t i = 1; i < values.size(); ++i)
    if (values[i] < values[i - 1]) wrong(out, place(at, i), values[i], "values must be sorted in ascending order");
  bool found = false;
  if (values.size() > values_max) {
    out.push_back(too_many(at, values.size(), values_max));
  } else {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (capacity < values[i])
        wrong(out, place(at, i), values[i], fmt::format("option is larger than capacity value: {}", capacity.text()));
      found = found || values[i] == usual;
    }
    std::set<std::int64_t> seen;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (!seen.insert(values[i].value()).second)
        out.push_back(duplicate_value(place(at, i), std::to_string(values[i].value())));
  }
  if (!found) wrong(out, at, usual, "default value is not valid according to the requestPolicy");
}

void check_bounds(causes& out, const quantity& capacity, const quantity& usual, const quantity& least,
                  const std::optional<quantity>& most, const place& at) {
  if (capacity < least)
    wrong(out, place(at, "min"), least, fmt::format("min is larger than capacity value: {}", capacity.text()));
  if (usual < least) wrong(out, place(at, "default"), usual, fmt::format("default is less than min: {}", least.text()));
  if (!most) return;
  if (*most < least) wrong(out, place(at, "max"), least, fmt::format("min is larger than max: {}", most->text()));
  if (capacity < *most)
    wrong(out, place(at, "max"), *most, fmt::format("max is larger than capacity value: {}", capacity.text()));
  if (*most < usual) wrong(out, place(at, "default"), usual, fmt::format("default is more than max: {}", most->text()));
}

void check_step(causes& out, const quantity& capacity, const quantity& usual, const quantity& least,
                const std::optional<quantity>& most, const quantity& step, const place& at) {
  const place here(at, "step");
  if (step.sign() <= 0) return wrong(out, here, step, "must be greater than zero");
  auto next = least;
  next += step;
  if (capacity < next)
    wrong(out, here, step, fmt::format("one step {} is larger than capacity value: {}", next.text(), capacity.text()));
  bool negative = false;
  auto not_below_zero = [&](const quantity& q, std::string_view member) {
    if (q.sign() >= 0) return;
    wrong(out, place(at, member), q, "must be greater than or equal to 0");
    negative = true;
  };
  not_below_zero(usual, "default");
  not_below_zero(least, "min");
  if (most) not_below_zero(*most, "max");
  if (negative) return;
  auto on_a_step = [&](const quantity& q) {
    if ((q.value() - least.value()) % step.value() != 0)
      wrong(out, here, q,
            fmt::format("value is not a multiple of a given step ({}) from ({})", step.text(), least.text()));
  };
  on_a_step(usual);
  if (most) on_a_step(*most);
}

}  // namespace

void check_capacity_policy(causes& out, std::string_view capacity_text, const json::value& policy, const place& at) {
  auto &values = policy["validValues"], &range = policy["validRange"];
  const place of_default(at, "default"), of_range(at, "validRange");
  if (!values.empty() && range.is_object())
    return out.push_back(forbidden_value(
        at, "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time"));
  const auto capacity = quantity::parse(capacity_text).value_or(quantity());
  const auto usual = read(policy["default"]);
  if (!values.empty()) {
    if (!usual) return out.push_back(required(of_default, "required when validValues is defined"));
    return check_values(out, capacity, *usual, values, place(at, "validValues"));
  }
  if (!range.is_object()) return;
  if (!usual) return out.push_back(required(of_default, "required when validRange is defined"));
  const auto least = read(range["min"]), most = read(range["max"]), step = read(range["step"]);
  if (!least) return out.push_back(required(place(of_range, "min"), "required when validRange is defined"));
  check_bounds(out, capacity, *usual, *least, most, of_range);
  if (step) check_step(out, capacity, *usual, *least, most, *step, of_range);
}

}  // namespace kedge::api
