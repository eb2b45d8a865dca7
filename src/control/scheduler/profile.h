// profile.h: which plugins place the pods of one spec.schedulerName, and with which weights
// (KubeSchedulerConfiguration, kubescheduler.config.k8s.io/v1).
#pragma once

#include <chrono>

#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {

struct profile {
  struct scorer {
    const plugin* of;
    std::int64_t weight;
  };
  std::string scheduler_name = "default-scheduler";
  std::vector<std::unique_ptr<plugin>> plugins;  // that this profile has, in order
  std::vector<const plugin*> filters;
  std::vector<scorer> scorers;
  bool preempts = true;                                          // DefaultPreemption is on
  std::int64_t candidates_percent = 10, candidates_least = 100;  // its arguments: nodes looked at for victims
};

struct configuration {
  std::vector<profile> profiles;
  std::chrono::seconds backoff_first{1}, backoff_most{10};
  // What was understood, and has no meaning here: told at the start.
  std::vector<std::string> without_effect;

  const profile* find(std::string_view scheduler_name) const noexcept;
};

configuration default_configuration();
// YAML or JSON of a KubeSchedulerConfiguration. errc::invalid names what is wrong, and where.
result<configuration> parse_configuration(std::string_view text);

}  // namespace kedge::control::scheduler
