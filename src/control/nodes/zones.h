// zones.h: how fast nodes that went silent get the taint that evicts their pods: by zone, as kube-controller-manager's
// node life cycle decides it. Without I/O and clock.
//
//   a zone's nodes: ready, not ready ─▶ normal: --node-eviction-rate
//                                       partial disruption (≥ 3 and --unhealthy-zone-threshold of them):
//                                       --secondary-node-eviction-rate,
//                                                          and none at all in a zone of --large-cluster-size-threshold
//                                                          nodes or less
//                                       full disruption (none is ready): as normal, unless all zones are so: then
//                                       nobody is evicted,
//                                                          because it is more likely that this server is cut off
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"
#include "json/value.h"

namespace kedge::control {

enum class zone_state : unsigned char { initial, normal, partial_disruption, full_disruption };

struct zone_rates {
  double normal = 0.1, secondary = 0.01;  // nodes a second
  unsigned large_cluster_size = 50;
  double unhealthy = 0.55;
};

// The zone of a node by its topology labels: "" without any.
std::string zone_of(const json::value& node);
zone_state state_of_zone(std::size_t ready, std::size_t not_ready, double unhealthy_threshold) noexcept;

// At most so many a second, one at once. A rate of 0: never.
class rate_limiter {
 public:
  rate_limiter(double per_second, time_point now) noexcept : rate_(per_second), at_(now) {}
  bool try_take(time_point now) noexcept;
  // When the next may be taken; nullopt: never.
  std::optional<time_point> next(time_point now) const noexcept;
  // Another rate. What was taken just now counts for it as well.
  void change(double per_second, time_point now) noexcept;

 private:
  void fill(time_point now) noexcept;
  double rate_, tokens_ = 1;
  time_point at_;
};

class zones {
 public:
  explicit zones(zone_rates rates) : rates_(rates) {}

  // A zone with a node in it; known from now on.
  void know(const std::string& zone, time_point now);

  struct count {
    std::size_t ready = 0, not_ready = 0;
    std::size_t all() const noexcept { return ready + not_ready; }
  };
  // What a round of all nodes found. stop_all: every node of every zone is not ready since now: their taints are to go.
  // resume: since now some are ready again: nobody's silence counts from before it.
  enum class turn : unsigned char { none, stop_all, resume };
  turn judge(const std::map<std::string, count>& found, time_point now);
  zone_state state(const std::string& zone) const;

  // A node waits for its taint; nothing when it waits already, or had its turn and wasn't taken out since.
  void queue(const std::string& zone, const std::string& node, time_point now);
  // The same for one that has no taint, though it may have had its turn: somebody took it off.
  void queue_again(const std::string& zone, const std::string& node, time_point now);
  void remove(const std::string& zone, const std::string& node);

  // The next node that may be tainted, which counts against the zone's rate. done() or retry() must follow.
  std::optional<std::string> take(const std::string& zone, time_point now);
  void retry(const std::string& zone, const std::string& node, time_point when);
  // When take() may give something; nullopt: as things are, never.
  std::optional<time_point> next(time_point now) const;
  std::vector<std::string> names() const;

 private:
  struct zone {
    zone_state state = zone_state::initial;
    rate_limiter limiter;
    struct waiting {
      std::string node;
      time_point from;
    };
    std::deque<waiting> queue;     // by time
    std::set<std::string> queued;  // waits, or had its turn
  };
  double rate_for(std::size_t nodes, zone_state s) const noexcept;

  zone_rates rates_;
  std::map<std::string, zone> zones_;
};

}  // namespace kedge::control
