// part.h: one part of a server: what it takes to start, to take leave, and to end.
//
// A server is a sequence of parts (sequence.h). Its end is not the mirror of its start: first it tells everybody that
// it goes while it still answers, and only then takes things apart, in an order of its own. Hence three verbs.
#pragma once

#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "reactor/task.h"

namespace kedge::server {

class part {
 public:
  virtual ~part() = default;
  virtual std::string_view name() const noexcept = 0;

  // Returns when what comes after it may begin. Dropped when the server is told to stop meanwhile.
  virtual task<result<void>> start() = 0;
  // Tells others that it goes, and goes on serving whoever is here. Only after a start that was good.
  virtual task<void> leave() { co_return; }
  // Gives back what it took; also after a start that failed, or was dropped, halfway. Nothing of it runs afterwards.
  virtual task<void> stop() { co_return; }
};

}  // namespace kedge::server
