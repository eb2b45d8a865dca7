// sink.h: where the handler asks what to tell of a request, and tells it.
#pragma once

#include "api/audit/event.h"
#include "reactor/task.h"

namespace kedge::api {

// One for all cores; every function may be called from each.
class audit_sink {
 public:
  virtual ~audit_sink() = default;
  virtual audit_verdict evaluate(const attributes& asked) noexcept = 0;
  // Takes what the event says at this stage. Waits for the backends as their modes want. False when one that is strict
  // could not take it: at the first stage the request is refused then.
  virtual task<bool> process(const audit_event& e, audit_stage stage, wall_time at) = 0;
  // The same for a request whose client has gone: without waiting.
  virtual void post(const audit_event& e, audit_stage stage, wall_time at) = 0;
};

}  // namespace kedge::api
