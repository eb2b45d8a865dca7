#include "api/fairness/retry_after.h"

#include <algorithm>

#include "api/fairness/limits.h"

namespace kedge::api::fairness {

int retry_after::refuse(time_point now) {
  const auto second = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  if (second == current_.at) {
    ++current_.refused;
    return seconds_;
  }
  if (current_.refused > 0) history_.push_back(current_);
  current_ = {second, 1};
  const auto kept = std::min<std::int64_t>(2 * seconds_, retry_after_max);
  while (!history_.empty() && second - history_.front().at > kept) history_.pop_front();

  std::uint64_t refused = 0;
  for (auto& s : history_)
    if (second - s.at <= seconds_) refused += s.refused;
  if (second - grown_at_ >= seconds_ && refused >= 3u * static_cast<unsigned>(seconds_)) {
    seconds_ = std::min(2 * seconds_, retry_after_max);
    grown_at_ = second;
  } else if (refused < static_cast<unsigned>(seconds_) && seconds_ > 1) {
    --seconds_;
  }
  return seconds_;
}

}  // namespace kedge::api::fairness
