// guards.h: the guards of a batch, each once: many operations have the same.
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "datastore/log.h"

namespace kedge::datastore {

struct numbered_guards {
  std::vector<std::string_view> names;  // into the operations
  std::vector<revision> expected;
  // Each operation that has guards, by its place, with the places of its guards above.
  std::vector<std::pair<std::size_t, std::vector<std::size_t>>> of;
};
numbered_guards number_guards(std::span<const operation> ops);

}  // namespace kedge::datastore
