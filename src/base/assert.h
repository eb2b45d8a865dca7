// assert.h: kedge_assert states an invariant. It stays on in release builds, prints the expression, and ends the
// process: the system is built to survive that, and not to run on with a broken mental model.
#pragma once

namespace kedge {
[[noreturn, gnu::cold]] void assertion_failed(const char* expression, const char* file, int line) noexcept;
}

#define kedge_assert(expression) \
  (static_cast<bool>(expression) ? void(0) : ::kedge::assertion_failed(#expression, __FILE__, __LINE__))
