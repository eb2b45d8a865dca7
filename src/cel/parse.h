// parse.h: text to tree, by CEL's grammar; macros are expanded on the way.
#pragma once

#include <string_view>
#include <vector>

#include "cel/ast.h"
#include "cel/environment.h"
#include "cel/issue.h"

namespace kedge::cel {

struct place {
  int line = 1;
  int column = 0;
};

struct parsed {
  node_ptr root;              // null when issues were found
  std::vector<place> places;  // by node id
};

parsed parse(std::string_view text, const environment& env, issues& found);

}  // namespace kedge::cel
