// disk_owner.h: notices that this disk ran in another machine before: a clone, an image of a machine that had joined.
// Two machines under one node's name and password would take the Node from each other.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::node {

// What tells machines apart.
struct machine_marks {
  std::string machine_id;                  // /etc/machine-id; a clone has its original's unless somebody empties it
  std::vector<std::string> mac_addresses;  // of the interfaces that are hardware; sorted
  friend bool operator==(const machine_marks&, const machine_marks&) = default;
};
machine_marks marks_of_this_machine();

// Whether `now` is another machine than `before`: another machine-id, or none of its interfaces. What has no marks of a
// kind isn't judged by it.
bool is_another(const machine_marks& before, const machine_marks& now);

// Compares with what `file` says, and notes what is now: a warning in words when it was another's; empty else.
// Blocking.
result<std::string> look_at_owner(const std::string& file, const machine_marks& now, const std::string& node_name);

}  // namespace kedge::node
