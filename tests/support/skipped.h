// skipped.h: for tests that can't run here. A program in which one was skipped ends with 77 (meson: SKIP) instead of
// passing.
#pragma once

#include <string_view>

namespace kedge::tests {

// Says why, and that this case looked at nothing. The case returns then.
void skip(std::string_view why);

}  // namespace kedge::tests
