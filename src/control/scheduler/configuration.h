// configuration.h: what kube-scheduler is told by a file: KubeSchedulerConfiguration
// (kubescheduler.config.k8s.io/v1), as far as it means something here.
#pragma once

#include "control/scheduler/extenders/extender.h"
#include "control/scheduler/profile.h"

namespace kedge::control::scheduler {

struct configuration {
  std::vector<profile> profiles;
  std::vector<extender> extenders;  // in the order in which they are asked
  std::chrono::seconds backoff_first{1}, backoff_most{10};
  // Whoever no event has helped for so long is tried anyway.
  std::chrono::nanoseconds unschedulable_most = std::chrono::minutes(5);
  // What was understood, and has no meaning here: told at the start.
  std::vector<std::string> without_effect;

  const profile* find(std::string_view scheduler_name) const noexcept;
};

configuration default_configuration();
// YAML or JSON of a KubeSchedulerConfiguration. errc::invalid names what is wrong, and where.
result<configuration> parse_configuration(std::string_view text);

}  // namespace kedge::control::scheduler
