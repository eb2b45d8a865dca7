// signal.h: signals as something to wait for.
#pragma once

#include <initializer_list>

#include "reactor/descriptor.h"

namespace kedge::reactor {

class signal_waiter {
 public:
  // Blocks `numbers` for this thread (and those it starts later) and reads them by signalfd.
  static result<signal_waiter> make(std::initializer_list<int> numbers);
  task<result<int>> next();

 private:
  explicit signal_waiter(int fd) : descriptor_(fd) {}
  descriptor descriptor_;
};

}  // namespace kedge::reactor
