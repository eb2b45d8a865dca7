// log.h: what the daemon tells its operator.
//
//   log::info("node {} registered from {}", name, address);
//
// Text lines look like K3s's (`time="…" level=info msg="…"`), or JSON objects with the same three keys. Never log a
// token, password, key or Secret; what a peer sent is quoted. May be called from every thread.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace kedge::log {

enum class level : unsigned char { debug, info, warning, error };
enum class format : unsigned char { text, json };

struct options {
  level least = level::info;
  format as = format::text;
  const char* file = nullptr;  // append here instead of standard error
};
// Call once, before threads start; false (errno set) when the file can't be opened.
bool configure(const options& o);

bool enabled(level l) noexcept;
void write(level l, std::string_view message);

template <typename... A>
void debug(fmt::format_string<A...> f, A&&... a) {
  if (enabled(level::debug)) write(level::debug, fmt::format(f, std::forward<A>(a)...));
}
template <typename... A>
void info(fmt::format_string<A...> f, A&&... a) {
  if (enabled(level::info)) write(level::info, fmt::format(f, std::forward<A>(a)...));
}
template <typename... A>
void warning(fmt::format_string<A...> f, A&&... a) {
  if (enabled(level::warning)) write(level::warning, fmt::format(f, std::forward<A>(a)...));
}
template <typename... A>
void error(fmt::format_string<A...> f, A&&... a) {
  if (enabled(level::error)) write(level::error, fmt::format(f, std::forward<A>(a)...));
}

}  // namespace kedge::log
