// sequence.h: the order in which the parts of a server start, leave and stop.
//
//   start ▼   in the order of `parts`; the first failure ends it
//   leave ▼   in the order of `leaving`, of those that stand
//   stop  ▼   in the order of `stopping`, of those whose start has begun
//
// Invariant: a part is stopped exactly once if its start has begun, and never otherwise.
#pragma once

#include <set>
#include <vector>

#include "reactor/sync.h"
#include "server/part.h"

namespace kedge::server {

class sequence {
 public:
  // Every part of `leaving` and `stopping` is one of `parts`, and every part is in `stopping`. They outlive the
  // sequence.
  sequence(std::vector<part*> parts, std::vector<part*> leaving, std::vector<part*> stopping);

  // Until all stand, one has failed (its error, with its name in front of it in the log), or `stop` is set
  // (errc::cancelled).
  task<result<void>> start(reactor::event& stop);
  task<void> leave();
  task<void> stop();

 private:
  std::vector<part*> parts_, leaving_, stopping_;
  std::set<part*> begun_, standing_;
};

}  // namespace kedge::server
