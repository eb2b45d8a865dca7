// event_recorder.h: tells people what a controller did to an object, as core/v1 Events (kubectl describe shows them).
//
//   tell(): at once ─▶ queue (notices_max; beyond it the newest is dropped, as client-go does) ─▶ run(): correlated,
//   written
//
// One a component. Failures are logged at debug level only.
#pragma once

#include <deque>
#include <string>

#include "api/objects.h"
#include "control/event_correlator.h"
#include "reactor/sync.h"

namespace kedge::control {

class event_recorder {
 public:
  event_recorder(api::objects& objects, std::string component) : objects_(objects), component_(std::move(component)) {}

  void tell(notice n);
  // The same at once, for who waits for it. `about` has apiVersion, kind and metadata; type: "Normal" or "Warning".
  task<void> record(const json::value& about, std::string type, std::string reason, std::string message);
  // Writes what is told, until dropped.
  task<void> run();

 private:
  struct waiting {
    notice what;
    wall_time when;
  };
  task<void> write(waiting w);
  json::value event_of(const waiting& w, const event_correlator::answer& a, const std::string& ns,
                       const std::string& name) const;

  api::objects& objects_;
  std::string component_;
  event_correlator correlator_;
  std::deque<waiting> queue_;
  wall_time last_{};  // when the last one was told
  reactor::event told_;
};

}  // namespace kedge::control
