// issue.h: what is wrong with an expression's text, and how that is shown.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kedge::cel {

struct issue {
  int line = 1;    // from 1
  int column = 0;  // from 0, in characters
  std::string message;
};

// In order of their place once `issues_text` was asked.
struct issues {
  std::vector<issue> all;
  std::size_t count = 0;  // of all, those beyond issues_max too
  // The text is right, but can't be made ready to run (a constant that doesn't convert): told instead of the above.
  std::string no_program;

  void add(int line, int column, std::string message);
  bool empty() const noexcept { return count == 0 && no_program.empty(); }
};

// As cel-go shows them, a paragraph each:
//
//   ERROR: <input>:1:5: undeclared reference to 'x' (in container '')
//    | 1 + x
//    | ....^
std::string issues_text(const issues& found, std::string_view text);

}  // namespace kedge::cel
