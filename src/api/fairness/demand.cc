#include "api/fairness/demand.h"

#include <algorithm>
#include <cmath>

#include "api/fairness/limits.h"

namespace kedge::api::fairness {

demand_sum& demand_sum::operator+=(const demand_sum& other) noexcept {
  seconds = std::max(seconds, other.seconds);
  average += other.average;
  deviation = std::sqrt(deviation * deviation + other.deviation * other.deviation);
  highest += other.highest;
  return *this;
}

demand_sum demand_integral::take(time_point now) noexcept {
  advance(now);
  demand_sum out{.seconds = seconds_, .highest = highest_};
  if (seconds_ > 0) {
    out.average = sum_ / seconds_;
    out.deviation = std::sqrt(std::max(0.0, squares_ / seconds_ - out.average * out.average));
  }
  seconds_ = sum_ = squares_ = 0;
  highest_ = now_;
  return out;
}

void demand::update(const demand_sum& period) noexcept {
  highest = static_cast<unsigned>(std::lround(period.highest));
  if (period.seconds <= 0) return;
  average = period.average;
  deviation = period.deviation;
  const auto envelope = average + deviation;
  const auto kept = std::pow(demand_kept, period.seconds / std::chrono::duration<double>(borrow_period).count());
  smoothed = std::max(envelope, kept * smoothed + (1 - kept) * envelope);
}

level_limits limits_of(double shares, double all_shares, unsigned total, bool exempt, int lendable_percent,
                       int borrowing_percent) {
  level_limits l{.exempt = exempt};
  if (all_shares > 0) l.nominal = static_cast<unsigned>(std::ceil(total * shares / all_shares));
  auto percent = [&](int p) { return static_cast<unsigned>(std::lround(static_cast<double>(l.nominal) * p / 100)); };
  l.lowest = l.nominal - std::min(l.nominal, percent(lendable_percent));
  l.highest = l.nominal + (borrowing_percent < 0 ? total : percent(borrowing_percent));
  return l;
}

namespace {
// What a level can't be brought below: what it used lately, up to its nominal limit.
unsigned least_of(const level_share& l) {
  if (l.limits.exempt) return std::max(l.limits.lowest, l.wants.highest);
  return std::max(l.limits.lowest, std::min(l.limits.nominal, l.wants.highest));
}
}  // namespace

double share_out(std::vector<level_share>& levels) {
  double left = 0, lowest = 0, least = 0;
  std::vector<bounded_target> items;
  for (auto& l : levels) left += l.limits.nominal;
  const double all = left;
  for (auto& l : levels) {
    const double floor = least_of(l);
    l.target = std::max(floor, l.wants.smoothed);
    if (l.limits.exempt) {
      l.gets = static_cast<unsigned>(floor);
      left -= floor;
      continue;
    }
    items.push_back({l.target, floor, static_cast<double>(l.limits.highest)});
    lowest += l.limits.lowest;
    least += floor;
  }
  // Exempt demand may leave less than the others need, or than they must have: then they don't share in proportion to
  // demand.
  const bool starved = left <= lowest, short_of = !starved && left <= least;
  const auto part = short_of ? (left - lowest) / (least - lowest) : 0.0;
  result<proportional> shared = proportional{};
  if (!starved && !short_of) shared = in_proportion(all, items);
  std::size_t i = 0;
  for (auto& l : levels) {
    if (l.limits.exempt) continue;
    if (starved)
      l.gets = l.limits.lowest;
    else if (short_of)
      l.gets = l.limits.lowest + static_cast<unsigned>(std::lround((least_of(l) - l.limits.lowest) * part));
    else if (shared)
      l.gets = static_cast<unsigned>(std::lround(shared->shares[i]));
    else
      l.gets = l.limits.nominal;  // bounds that nothing satisfies: as configured
    ++i;
  }
  return shared ? shared->fair : 0;
}

result<proportional> in_proportion(double sum, const std::vector<bounded_target>& items) {
  constexpr double close = 1e-7;
  double low = 0, high = 0;
  for (auto& i : items) {
    if (i.low < 0 || i.high < i.low || std::max(i.target, target_min) < i.low)
      return fail(errc::invalid, "a share's bounds exclude each other");
    low += i.low;
    high += i.high;
  }
  if (sum < low - close || sum > high + close)
    return fail(errc::invalid, "the bounds of all shares don't allow for their sum");
  // The sum of shares grows with the factor and bends where a share meets a bound: between two bends it is a line.
  auto share = [](const bounded_target& i, double fair) {
    return std::clamp(std::max(i.target, target_min) * fair, i.low, i.high);
  };
  auto total = [&](double fair) {
    double all = 0;
    for (auto& i : items) all += share(i, fair);
    return all;
  };
  std::vector<double> bends;
  for (auto& i : items)
    for (auto bound : {i.low, i.high}) bends.push_back(bound / std::max(i.target, target_min));
  std::ranges::sort(bends);
  proportional out;
  if (!bends.empty()) {
    auto after = std::ranges::partition_point(bends, [&](double fair) { return total(fair) < sum; });
    if (after == bends.begin()) {
      out.fair = bends.front();
    } else if (after == bends.end()) {
      out.fair = bends.back();
    } else {
      auto from = *(after - 1), to = *after;
      auto below = total(from), above = total(to);
      out.fair = above - below > 0 ? from + (to - from) * (sum - below) / (above - below) : to;
    }
  }
  for (auto& i : items) out.shares.push_back(share(i, out.fair));
  return out;
}

}  // namespace kedge::api::fairness
