// unescape.h: what a string literal stands for.
#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace kedge::cel {

// `token`: the literal with its quotes and an r in front, but without the b of bytes. In bytes \x and octal escapes are
// bytes, in text they are characters. The error is a message.
std::expected<std::string, std::string> unescape(std::string_view token, bool bytes);

}  // namespace kedge::cel
