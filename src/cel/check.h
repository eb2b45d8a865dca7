// check.h: the types of all parts, and what names and calls mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cel/ast.h"
#include "cel/environment.h"
#include "cel/issue.h"
#include "cel/parse.h"
#include "cel/type.h"

namespace kedge::cel {

// What an identifier or a call is, by node id.
struct reference {
  enum class to : std::uint8_t { nothing, variable, local, constant, function } what = to::nothing;
  std::size_t slot = 0;                          // of a variable
  const environment::named* constant = nullptr;  // lives as long as the environment
  const cel::function* function = nullptr;       // likewise
  std::vector<const overload*> overloads;        // those that may fit, in their order
};

struct checked {
  std::vector<type> types;            // by node id
  std::vector<reference> references;  // by node id
};

// Nodes of qualified names become identifiers; calls of namespaced functions lose their target.
checked check(parsed& expression, const environment& env, issues& found);

// Of literals that are strict (environment::builder::strict_literals), once types are known.
void check_literals(const parsed& expression, const checked& types, issues& found);

}  // namespace kedge::cel
