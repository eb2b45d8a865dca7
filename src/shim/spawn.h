// spawn.h: a program as a child.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::shim {

struct program {
  std::vector<std::string> argv;         // argv[0] is the file
  int in = -1, out = -1, err = -1;       // what it has as 0, 1, 2; -1: /dev/null
  std::vector<int> more;                 // as 3, 4, …
  std::string folder;                    // where it runs; empty: here
  std::vector<std::string> environment;  // added to ours
  bool dies_with_us = false;
  bool own_group = false;
  // A mount that it doesn't see, and the one on which that lies: it has a mount namespace of its own then. Empty: none.
  std::string hidden, hidden_in;
};

// Its pid; the error says why it couldn't be executed. The descriptors stay the caller's.
result<int> spawn(const program& p);

}  // namespace kedge::shim
