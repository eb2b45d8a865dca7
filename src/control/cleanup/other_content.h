// other_content.h: what other API servers have in a namespace that goes. They are asked over the API, as anybody asks.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/shell.h"

namespace kedge::control {

struct other_content {
  std::map<std::string, std::size_t> by_resource;  // "flunders.wardle.example.com" → how many are left
  std::map<std::string, std::size_t> by_finalizer;
  std::vector<std::string> errors;  // of removals that were refused
  std::vector<std::string> unread;  // groups' versions whose server doesn't say what it has, sorted
};

// Deletes all of it. Of a resource in several versions the preferred one is asked.
task<other_content> empty_others(shell& s, std::string ns);

}  // namespace kedge::control
