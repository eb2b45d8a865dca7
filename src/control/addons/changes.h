// changes.h: when something changes in folders, by inotify.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "reactor/descriptor.h"
#include "reactor/task.h"

namespace kedge::control::addons {

// On one loop. Without inotify (none left, the simulated world) only time passes.
class changes {
 public:
  changes();

  // Watches these and nothing else; called again after each look.
  void watch(const std::vector<std::string>& folders);
  // Until something changed and then nothing more for a moment (limits.h), or the time is over. At once when something
  // changed since the last wait.
  task<void> wait(time_point until);

 private:
  bool drain();  // whether there was anything

  reactor::descriptor events_;
  std::map<std::string, int> watched_;  // folder → the kernel's number of the watch
};

}  // namespace kedge::control::addons
