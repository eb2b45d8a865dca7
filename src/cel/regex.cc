#include "cel/regex.h"

#include <re2/re2.h>

#include <utility>

#include "cel/limits.h"

namespace kedge::cel {

namespace {

const char* go_text(re2::RE2::ErrorCode code) {
  switch (code) {
    case re2::RE2::ErrorBadEscape: return "invalid escape sequence";
    case re2::RE2::ErrorBadCharClass: return "invalid character class";
    case re2::RE2::ErrorBadCharRange: return "invalid character class range";
    case re2::RE2::ErrorMissingBracket: return "missing closing ]";
    case re2::RE2::ErrorMissingParen: return "missing closing )";
    case re2::RE2::ErrorUnexpectedParen: return "unexpected )";
    case re2::RE2::ErrorTrailingBackslash: return "trailing backslash at end of expression";
    case re2::RE2::ErrorRepeatArgument: return "missing argument to repetition operator";
    case re2::RE2::ErrorRepeatSize: return "invalid repeat count";
    case re2::RE2::ErrorRepeatOp: return "invalid nested repetition operator";
    case re2::RE2::ErrorBadPerlOp: return "invalid or unsupported Perl syntax";
    case re2::RE2::ErrorBadUTF8: return "invalid UTF-8";
    case re2::RE2::ErrorBadNamedCapture: return "invalid named capture";
    case re2::RE2::ErrorPatternTooLarge: return "expression too large";
    default: return "internal error";
  }
}

}  // namespace

std::expected<regex, std::string> regex::compile(std::string_view pattern) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(regex_memory_max_bytes);
  auto re = std::make_shared<const re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (re->ok()) return regex(std::move(re));
  std::string part = re->error_code() == re2::RE2::ErrorMissingParen ? std::string(pattern) : re->error_arg();
  std::string message = std::string("error parsing regexp: ") + go_text(re->error_code());
  if (re->error_code() == re2::RE2::ErrorTrailingBackslash) part.clear();
  return std::unexpected(message + ": `" + part + "`");
}

bool regex::matches(std::string_view text) const {
  return re_->Match(re2::StringPiece(text.data(), text.size()), 0, text.size(), re2::RE2::UNANCHORED, nullptr, 0);
}

std::optional<regex::found> regex::find(std::string_view text, std::size_t from) const {
  re2::StringPiece match;
  if (!re_->Match(re2::StringPiece(text.data(), text.size()), from, text.size(), re2::RE2::UNANCHORED, &match, 1))
    return std::nullopt;
  const auto begin = static_cast<std::size_t>(match.data() - text.data());
  return found{begin, begin + match.size()};
}

}  // namespace kedge::cel
