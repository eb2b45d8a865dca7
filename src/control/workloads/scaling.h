// scaling.h: how many replicas an autoscaler wants: from usage to a proposal, from proposals to what is allowed now.
// Pure but for the history that it is given.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "json/value.h"

namespace kedge::control {

// ---- from usage

struct tolerances {
  double down = 0.1, up = 0.1;
  bool allow(double ratio) const noexcept { return 1 - down <= ratio && ratio <= 1 + up; }
};

struct pod_usage {
  std::int64_t milli = 0;
  wall_time at{};
  duration window = std::chrono::minutes(1);
};
using usages = std::map<std::string, pod_usage, std::less<>>;  // by pod

struct usage_target {
  std::string resource;                     // "cpu", "memory"; empty: a metric of another kind
  std::string container;                    // empty: the whole pod
  std::optional<std::int64_t> utilization;  // percent of the requests
  std::int64_t average_milli = 0;           // else
};

struct proposal {
  std::int64_t replicas = 0;
  std::int64_t average_milli = 0;
  std::optional<std::int64_t> utilization;
  std::string error;  // empty: it is one
};

struct readiness_delays {
  duration cpu_initialization = std::chrono::minutes(5), initial_readiness = std::chrono::seconds(30);
};

// Pods without a metric are taken for idle where more are wanted, and for busy where fewer are; those that aren't ready
// for idle.
proposal propose(const std::vector<const json::value*>& pods, usages metrics, const usage_target& target,
                 std::int64_t current, const tolerances& t, const readiness_delays& delays, wall_time now);

// From a metric that isn't its pods': an object's, or one from elsewhere.
struct whole_usage {
  std::int64_t milli = 0;         // now
  std::int64_t target_milli = 1;  // as much as is wanted, in all or by pod
  bool by_pod = false;
};
struct scale_counts {
  std::int64_t spec = 0, status = 0;  // the Scale's replicas
};
// Of a metric in all, as many more as it is above its target, counted from the pods that are ready; by pod, as many as
// share it.
proposal propose(const std::vector<const json::value*>& pods, const whole_usage& used, scale_counts now,
                 const tolerances& t);

// ---- to what is allowed

struct scale_history {
  struct recommendation {
    std::int64_t replicas;
    time_point at;
  };
  struct step {
    std::int64_t change;
    time_point at;
  };
  std::vector<recommendation> recommendations;
  std::vector<step> up, down;

  void recommend(std::int64_t replicas, time_point now, duration keep);
  void scaled(std::int64_t from, std::int64_t to, const json::value& behavior, time_point now);
};

struct scale_limits {
  std::int64_t least = 1, most = 1;
  duration downscale_stabilization = std::chrono::minutes(5);
};

struct allowed_scale {
  std::int64_t replicas = 0;
  std::string able_reason, able_message;  // condition AbleToScale
  bool limited = false;
  std::string limit_reason, limit_message;  // condition ScalingLimited
};
// `behavior`: spec.behavior, null when there is none. The proposal becomes part of the history.
allowed_scale allow(scale_history& h, const json::value& behavior, const scale_limits& l, std::int64_t current,
                    std::int64_t wanted, time_point now);

}  // namespace kedge::control
