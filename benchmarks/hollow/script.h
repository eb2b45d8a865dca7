// script.h: what the pods of hollow nodes do, and how that looks in their status. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "json/value.h"

namespace kedge::hollow {

inline constexpr std::string_view script_annotation = "hollow.kedge.io/script";

struct script {
  duration ready = std::chrono::milliseconds(100);  // after the start
  std::optional<duration> exit = {};                // after it is ready; null: never
  int code = 0;
  std::string reason = {};           // empty: by the code
  duration stop = duration::zero();  // what an end takes that was asked for
};
// "ready=100ms,exit=5s,code=137,reason=OOMKilled" over `otherwise`. errc::invalid names what can't be read.
result<script> parse_script(std::string_view text, script otherwise = {});

// Where a pod is in its life.
struct moment_of_pod {
  enum class state : unsigned char { running, waiting, ended };
  state is = state::running;
  wall_time started{};                      // the pod
  wall_time run_began{};                    // its containers' present run
  std::optional<wall_time> run_ended = {};  // waiting: of the run before; ended: of the last one
  unsigned restarts = 0;
};

// Whether containers that ended with this code are started again.
bool is_restarted(const json::value& pod, int code) noexcept;
// The kubelet's back-off before the restart of that number (1 is the first): 0, 10 s, 20 s, … 5 min.
duration restart_pause(unsigned number) noexcept;
// The whole of status that the pod has then; `pod` as the server gave it.
json::value status_of(const json::value& pod, const script& s, const moment_of_pod& m, std::string_view node_address,
                      std::string_view pod_address);

}  // namespace kedge::hollow
