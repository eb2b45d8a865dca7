// lex.h: an expression's text as tokens, each with its place.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "cel/issue.h"

namespace kedge::cel {

enum class token_kind : std::uint8_t {
  end,
  equal,
  not_equal,
  in,
  less,
  less_equal,
  greater_equal,
  greater,
  logical_and,
  logical_or,
  left_bracket,
  right_bracket,
  left_brace,
  right_brace,
  left_parenthesis,
  right_parenthesis,
  dot,
  comma,
  minus,
  exclamation,
  question,
  colon,
  plus,
  star,
  slash,
  percent,
  true_,
  false_,
  null,
  real,
  integer,
  unsigned_integer,
  string,
  bytes,
  identifier,
  escaped_identifier,  // `a-b`
};

struct token {
  token_kind kind = token_kind::end;
  std::string_view text;
  int line = 1;
  int column = 0;
};

// The last token is `end`. What is no token is told and skipped. The text must live as long as the tokens.
std::vector<token> lex(std::string_view text, issues& found);

}  // namespace kedge::cel
