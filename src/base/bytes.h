// bytes.h: how bytes are passed. `bytes` is a view to read; nothing here owns memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace kedge {

using bytes = std::span<const std::byte>;
using mutable_bytes = std::span<std::byte>;

inline bytes as_bytes(std::string_view text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }
inline std::string_view as_text(bytes b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

inline std::uint16_t load_be16(const std::byte* p) {
  return static_cast<std::uint16_t>(std::uint16_t(p[0]) << 8 | std::uint16_t(p[1]));
}
inline std::uint32_t load_be32(const std::byte* p) {
  return std::uint32_t(p[0]) << 24 | std::uint32_t(p[1]) << 16 | std::uint32_t(p[2]) << 8 | std::uint32_t(p[3]);
}
inline std::uint64_t load_be64(const std::byte* p) { return std::uint64_t(load_be32(p)) << 32 | load_be32(p + 4); }
inline void append_be16(std::string& out, std::uint16_t v) {
  out += static_cast<char>(v >> 8);
  out += static_cast<char>(v);
}
inline void append_be32(std::string& out, std::uint32_t v) {
  append_be16(out, static_cast<std::uint16_t>(v >> 16));
  append_be16(out, static_cast<std::uint16_t>(v));
}
inline void append_be64(std::string& out, std::uint64_t v) {
  append_be32(out, static_cast<std::uint32_t>(v >> 32));
  append_be32(out, static_cast<std::uint32_t>(v));
}

}  // namespace kedge
