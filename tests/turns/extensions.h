// extensions.h: requests that are heavy by what a cluster's administrator has added: custom resources of megabytes with
// schemas and rules, policies whose expressions cost what they may.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "world.h"

namespace kedge::turns {

struct extension_case {
  std::string text;
  bool large = false;  // its work grows with the body; else it is expressions', whatever the body's size
  // Asks once, with a body of about so many bytes where it is a large one.
  std::function<measured(world& w, std::size_t bytes)> ask;
};

// Puts the definitions and policies into the world, and gives what can be asked then.
std::vector<extension_case> extension_cases(world& w);

}  // namespace kedge::turns
