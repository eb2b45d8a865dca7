#include "api/tracing/context.h"

#include <algorithm>
#include <span>

#include "base/bytes.h"
#include "base/strings.h"

namespace kedge::api::tracing {
namespace {

bool is_zero(std::span<const unsigned char> id) {
  return std::ranges::all_of(id, [](unsigned char b) { return b == 0; });
}

// `size` bytes in small hexadecimal digits, and the '-' behind them unless the text ends there.
bool take_hex(std::string_view& text, std::span<unsigned char> out) {
  const auto part = text.substr(0, text.find('-'));
  if (part.size() != 2 * out.size() || lower(part) != part) return false;
  auto read = unhex(part);
  if (!read) return false;
  std::ranges::transform(*read, out.begin(), [](char c) { return static_cast<unsigned char>(c); });
  text.remove_prefix(std::min(part.size() + 1, text.size()));
  return true;
}

template <typename Id>
Id random_id(random_source& random) {
  Id out{};
  while (is_zero(out)) random.fill(std::as_writable_bytes(std::span(out)));
  return out;
}

}  // namespace

std::optional<context> parse_traceparent(std::string_view text) {
  context out;
  unsigned char version = 0, flags = 0;
  const bool ends_there = text.size() == 55;  // version 0 has nothing behind its flags
  if (!take_hex(text, std::span(&version, 1)) || version == 0xff || !take_hex(text, out.trace) ||
      !take_hex(text, out.span) || !take_hex(text, std::span(&flags, 1)))
    return std::nullopt;
  if (version == 0 && (!ends_there || flags > 3)) return std::nullopt;
  if (is_zero(out.trace) || is_zero(out.span)) return std::nullopt;
  out.sampled = flags & 1;
  return out;
}

std::string traceparent(const context& c) {
  return "00-" + hex(std::as_bytes(std::span(c.trace))) + "-" + hex(std::as_bytes(std::span(c.span))) +
         (c.sampled ? "-01" : "-00");
}

trace_id new_trace_id(random_source& random) { return random_id<trace_id>(random); }
span_id new_span_id(random_source& random) { return random_id<span_id>(random); }

bool is_chosen(const trace_id& id, std::uint32_t per_million) noexcept {
  constexpr std::uint64_t all = std::uint64_t{1} << 63;
  if (per_million >= 1'000'000) return true;
  const auto bound = static_cast<std::uint64_t>(static_cast<double>(per_million) / 1e6 * static_cast<double>(all));
  return load_be64(std::as_bytes(std::span(id)).data() + 8) >> 1 < bound;
}

}  // namespace kedge::api::tracing
