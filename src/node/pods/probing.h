// probing.h: the probes of one pod's containers, each on its own beat.
//
//   startup until it succeeds ─▶ liveness, readiness each period ─▶ thresholds ─▶ findings ─▶ changed()
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/exposition.h"
#include "node/pods/handlers.h"
#include "node/pods/seen.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::node {

// What became of a container's probes of one kind, over all runs of it here.
struct probe_counts {
  std::uint64_t successful = 0, failed = 0;
  histogram took;  // of the successful ones
};
using probe_totals = std::map<std::pair<std::string, probe_kind>, probe_counts>;  // by container's name

class pod_probing {
 public:
  struct parts {
    pod_runtime& runtime;
    reactor::network* network = nullptr;
    std::function<void()> changed;
    // A probe that failed: the container, and the event's reason and message.
    std::function<void(const std::string&, std::string, std::string)> tell;
  };
  explicit pod_probing(parts p) : parts_(std::move(p)) {}

  // Probes what runs now, and stops for what doesn't. `before`: the status that was told last; containers that were
  // ready before this agent started stay so until a probe says otherwise. Not to be called from a probe.
  void follow(const json::value& pod, const pod_seen& seen, const json::value& before, std::int64_t agent_started_at);
  // The pod ends: only readiness still counts.
  void pod_ends();
  void stop();
  const probes_seen& found() const { return found_; }
  const probe_totals& totals() const { return totals_; }

 private:
  struct run {
    json::value probe, container;
    probe_kind kind;
    std::string id;
    std::int64_t started_at = 0;
    reactor::scope task;
  };
  void start(const json::value& container, const container_seen& c, probe_kind kind, const char* member);
  task<void> keep_probing(run& r);
  task<bool> try_once(run& r, probe_outcome& out);
  void found_out(const run& r, probe_result result);
  std::optional<probe_result>& place(const run& r);

  parts parts_;
  std::string pod_ip_;
  bool ending_ = false;
  probes_seen found_;
  probe_totals totals_;
  reactor::event started_;  // pulses when a startup probe has succeeded
  std::map<std::pair<std::string, probe_kind>, std::unique_ptr<run>> runs_;
};

}  // namespace kedge::node
