// health.h: /healthz, /livez and /readyz. Callers register named checks; a check must not wait.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::api {

enum class health_group : unsigned char { healthz = 1, livez = 2, readyz = 4, all = 7 };

struct health_answer {
  int status = 200;
  std::string body;
};

class health {
 public:
  // Before the first request. `in` says where the check counts.
  void add(std::string name, health_group in, std::function<result<void>()> check);
  // `sub` is the path after "/readyz/"; `excluded` names that don't count.
  health_answer ask(health_group group, std::string_view sub, bool verbose,
                    const std::vector<std::string>& excluded) const;
  std::vector<std::string> paths() const;
  // Each check's outcome now, and how often they came to what, in Prometheus' text format.
  std::string metrics() const;

 private:
  struct check {
    std::string name;
    unsigned in;
    std::function<result<void>()> run;
    // Asked on any core, read for metrics: no order needed. By group and outcome.
    std::unique_ptr<std::array<std::atomic<std::uint64_t>, 6>> asked =
        std::make_unique<std::array<std::atomic<std::uint64_t>, 6>>();
  };
  std::vector<check> checks_;
};

}  // namespace kedge::api
