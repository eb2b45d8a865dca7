#include "api/metrics/loop_metrics.h"

#include <fmt/format.h>

namespace kedge::api {
namespace {

using reactor::turn_meter;

double seconds(duration d) { return static_cast<double>(d.count()) / 1e9; }

void append_histogram(std::string& out, const std::string& loop, const turn_meter::totals& t) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < t.turns.size(); ++i) {
    sum += t.turns[i];
    auto le = i < turn_meter::bounds.size() ? fmt::format("{}", seconds(turn_meter::bounds[i])) : std::string("+Inf");
    out += fmt::format("kedge_reactor_turn_seconds_bucket{{loop=\"{}\",le=\"{}\"}} {}\n", loop, le, sum);
  }
  out += fmt::format(
      "kedge_reactor_turn_seconds_sum{{loop=\"{0}\"}} {1}\nkedge_reactor_turn_seconds_count{{loop=\"{0}\"}} {2}\n",
      loop, seconds(t.sum), sum);
}

}  // namespace

void append_loop_metrics(std::string& out, std::span<const measured_loop> loops) {
  std::vector<std::pair<std::string, turn_meter::totals>> all;
  for (auto& [name, loop] : loops) all.emplace_back(name, loop->turns().count());
  out +=
      "# HELP kedge_reactor_turn_seconds Time between two looks of an event loop at its sockets.\n# TYPE "
      "kedge_reactor_turn_seconds histogram\n";
  for (auto& [loop, t] : all) append_histogram(out, loop, t);
  out +=
      "# HELP kedge_reactor_long_turns_total Turns of an event loop of more than 100 ms.\n# TYPE "
      "kedge_reactor_long_turns_total counter\n";
  for (auto& [loop, t] : all)
    out += fmt::format("kedge_reactor_long_turns_total{{loop=\"{}\"}} {}\n", loop, t.long_turns);
  out +=
      "# HELP kedge_reactor_longest_turn_seconds The longest turn of an event loop since the start.\n# TYPE "
      "kedge_reactor_longest_turn_seconds gauge\n";
  for (auto& [loop, t] : all)
    out += fmt::format("kedge_reactor_longest_turn_seconds{{loop=\"{}\"}} {}\n", loop, seconds(t.longest));
}

}  // namespace kedge::api
