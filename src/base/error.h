// error.h: the one error type, and result<T>.
//
// Operating errors are values. A layer adds what it knows (which file, which peer, what to do) to the message on the
// way up with `error::with`, and whoever can act on the code does so. A broken invariant is not an error: assert.h.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace kedge {

enum class errc : unsigned char {
  invalid,          // the input can't be accepted: syntax, range, grammar
  not_found,        // the thing named isn't there
  already_exists,   // the thing named is there
  conflict,         // it changed since it was read
  expired,          // it was there, and is gone for good (compacted revision, ended certificate)
  too_large,        // over a limit of limits.h
  unsupported,      // understood, but not served here
  unauthenticated,  // who is asking is not known
  forbidden,        // who is asking may not
  timeout,          // a deadline passed
  cancelled,        // nobody waits for the answer any more
  closed,           // the peer, or this end, closed the connection
  refused,          // the peer can't be reached
  unavailable,      // try again later: starting, draining, database away
  unknown_outcome,  // a write may or may not have landed
  exhausted,        // out of disk, memory, file descriptors, or a queue's bound
  io,               // the system call failed; os_error says how
  protocol,         // the peer broke the protocol
  corrupt,          // stored data is not what was written
  internal,         // a bug that could be contained
};

// The code's name as a word for logs: "not_found".
std::string_view name_of(errc code) noexcept;

struct error {
  errc code = errc::internal;
  std::string message;  // for a person: what happened, to what, and what to do
  int os_error = 0;     // errno where the system said so, else 0

  error() = default;
  error(errc c, std::string text, int os = 0) : code(c), message(std::move(text)), os_error(os) {}

  // The same error with what the caller knows in front: `open /x: ` + message.
  error with(std::string_view context) &&;
};

// errno as an error: `message` + ": " + strerror; the code follows from errno (ENOENT → not_found, ENOSPC → exhausted
// …).
error os_error(int number, std::string_view message);

template <typename T>
using result = std::expected<T, error>;

inline std::unexpected<error> fail(errc code, std::string message) {
  return std::unexpected<error>(std::in_place, code, std::move(message));
}
inline std::unexpected<error> fail(error e) { return std::unexpected<error>(std::move(e)); }

}  // namespace kedge

// KEDGE_TRY(auto x, f()) gives x the value of f() or returns its error to the caller. KEDGE_CHECK(f()) the same for
// result<void>. The CO forms are for coroutines (co_return). Plain declarations rather than statement expressions, so
// that co_await may stand in the expression with every compiler.
#define KEDGE_CONCAT_(a, b) a##b
#define KEDGE_CONCAT(a, b) KEDGE_CONCAT_(a, b)
#define KEDGE_TRY_(tmp, decl, ret, ...)          \
  auto tmp = (__VA_ARGS__);                      \
  if (!tmp) [[unlikely]]                         \
    ret std::unexpected(std::move(tmp).error()); \
  decl = *std::move(tmp)
#define KEDGE_CHECK_(tmp, ret, ...)                \
  do {                                             \
    auto tmp = (__VA_ARGS__);                      \
    if (!tmp) [[unlikely]]                         \
      ret std::unexpected(std::move(tmp).error()); \
  } while (0)
#define KEDGE_TRY(decl, ...) KEDGE_TRY_(KEDGE_CONCAT(kedge_try_, __COUNTER__), decl, return, __VA_ARGS__)
#define KEDGE_CO_TRY(decl, ...) KEDGE_TRY_(KEDGE_CONCAT(kedge_try_, __COUNTER__), decl, co_return, __VA_ARGS__)
#define KEDGE_CHECK(...) KEDGE_CHECK_(KEDGE_CONCAT(kedge_try_, __COUNTER__), return, __VA_ARGS__)
#define KEDGE_CO_CHECK(...) KEDGE_CHECK_(KEDGE_CONCAT(kedge_try_, __COUNTER__), co_return, __VA_ARGS__)
