#include "control/scheduler/devices/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/strings.h"

namespace kedge::control::scheduler {
namespace {

using schema::quantity;
using amount = std::expected<quantity, std::string>;
using rule = device_capacity::rule;

constexpr auto most = std::numeric_limits<std::int64_t>::max();
constexpr std::string_view not_representable =
    "capacity request cannot be represented in the device's range arithmetic";

// As it is written: 1Gi is of another format than 1073741824.
quantity::format format_of(const quantity& q) {
  auto text = q.text();
  if (text.ends_with('i')) return quantity::format::binary_si;
  return text.find('e') != text.npos ? quantity::format::decimal_exponent : quantity::format::decimal_si;
}

// Steps from `min` up to at least `wanted`; nothing when 64 bits can't hold it.
std::optional<std::int64_t> step_up(std::int64_t wanted, std::int64_t min, std::int64_t step) {
  if (step <= 0) return std::nullopt;
  const auto above = wanted - min;
  auto n = above / step;
  if (above % step != 0) ++n;
  if (min >= 0 && n > (most - min) / step) return std::nullopt;
  return min + step * n;
}

// In whole numbers: thousandths are for clusters of which no server is older than 1.37 (DRAFractionalCapacityRange).
amount up_in_range(const quantity& wanted, const rule& r) {
  if (wanted < *r.min) return *r.min;
  if (!r.step) return wanted;
  const auto format = format_of(*r.step);
  auto wrong = [&](std::string_view why) { return std::unexpected(fmt::format("{}: {}", not_representable, why)); };
  if (quantity::of(most) < wanted) return wrong(fmt::format("request {} exceeds MaxInt64", wanted.text()));
  auto n = step_up(wanted.value(), r.min->value(), r.step->value());
  if (!n) return wrong(fmt::format("rounding request {} up to the next step passes MaxInt64", wanted.text()));
  return quantity::of(*n, format);
}

amount taken_of(const device_capacity& c, const quantity* wanted) {
  if (!wanted) return c.policy && c.policy->otherwise ? *c.policy->otherwise : c.value;
  if (!c.policy) return *wanted;
  auto& r = *c.policy;
  if (r.in_range && r.min) return up_in_range(*wanted, r);
  for (auto& v : r.values)
    if (!(v < *wanted)) return v;
  return *wanted;
}

bool breaks(const quantity& taken, const std::optional<rule>& policy) {
  if (!policy || (policy->otherwise && taken == *policy->otherwise)) return false;
  auto& r = *policy;
  if (!r.in_range) return !r.values.empty() && std::ranges::find(r.values, taken) == r.values.end();
  if (r.max && *r.max < taken) return true;
  if (!r.step || !r.min) return false;
  return r.step->value() <= 0 || (taken.value() - r.min->value()) % r.step->value() != 0;
}

const quantity* find(const pod::amounts& in, const std::string& name) {
  auto it = in.find(name);
  return it == in.end() ? nullptr : &it->second;
}

}  // namespace

std::expected<pod::amounts, std::string> consumption(const device& d, const pod::amounts& requested) {
  pod::amounts out;
  for (auto& [name, c] : d.capacities) {
    auto taken = taken_of(c, find(requested, name));
    if (!taken) return std::unexpected(fmt::format("capacity {}: {}", quote(name), taken.error()));
    if (taken->sign() < 0) return std::unexpected(fmt::format("capacity {}: capacity value is negative", quote(name)));
    out.emplace(name, *taken);
  }
  return out;
}

std::expected<bool, std::string> has_capacity(const device& d, const pod::amounts& requested,
                                              const pod::amounts* consumed, const pod::amounts* promised) {
  for (auto& [name, amount] : requested)
    if (!d.capacities.contains(name)) return false;
  auto taken = consumption(d, requested);
  if (!taken) return std::unexpected(taken.error());
  for (auto& [name, c] : d.capacities) {
    auto sum = taken->at(name);
    if (breaks(sum, c.policy)) return false;
    for (auto* more : {consumed, promised})
      if (auto q = more ? find(*more, name) : nullptr) sum += *q;
    if (c.value < sum) return false;
  }
  return true;
}

}  // namespace kedge::control::scheduler
