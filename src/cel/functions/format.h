// format.h: "%s is %.2f".format([…]), when it runs and, as far as constants go, when it is checked.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "cel/value.h"

namespace kedge::cel {

// A clause of a format: its letter, and the digits behind the point.
struct format_clause {
  char letter;
  std::optional<int> precision;
};

// Goes through a format. `clause` gives the text for the argument of that number, or why not. The error is a message.
std::expected<std::string, std::string> walk_format(
    std::string_view format, std::size_t arguments,
    const std::function<std::expected<std::string, std::string>(std::size_t, format_clause)>& clause);

std::expected<std::string, std::string> format_text(std::string_view format, const value& arguments, arena& memory);

// What is told of an argument of a kind that a clause can't take; `kind` as kind_text.
std::string format_refusal(char letter, std::string_view kind);

}  // namespace kedge::cel
