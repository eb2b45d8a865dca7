// key.h: keys of several parts, for tables of what was found out once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kedge {

// Adds a part to a key. Its length goes first, so that two lists of parts are one key only when they are the same list,
// whatever the parts hold.
inline void append_part(std::string& key, std::string_view part) {
  for (auto n = static_cast<std::uint32_t>(part.size()), i = std::uint32_t{0}; i < 4; ++i, n >>= 8)
    key += static_cast<char>(n & 0xff);
  key += part;
}

}  // namespace kedge
