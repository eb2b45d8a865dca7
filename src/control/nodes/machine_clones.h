// machine_clones.h: machines that were made of one image, and kept its machine-id under names of their own: two Nodes
// of one machine-id that were booted apart. Agents side by side on one machine have one boot. Of each machine-id one
// Node is remembered, by hashes: some hundred bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

#include "json/value.h"

namespace kedge::control {

class machine_clones {
 public:
  // A Node as it stands now. The other Node that has its machine-id and was booted apart, as far as it has said so:
  // after a boot agents of one machine tell theirs one after the other. Empty: there is none.
  std::string saw(std::string_view name, const json::value& node);
  void gone(std::string_view name, const json::value& node);

 private:
  struct machine {
    std::string name;
    std::size_t boot;
  };
  std::unordered_map<std::size_t, machine> machines_;  // by their ids
};

// As both Nodes stand now.
bool are_clones(const json::value& one, const json::value& other);
// What is told of both.
std::string clones_text(std::string_view one, std::string_view other);

}  // namespace kedge::control
