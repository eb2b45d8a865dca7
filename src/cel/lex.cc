#include "cel/lex.h"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "cel/utf8.h"

namespace kedge::cel {

namespace {

bool letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool hex_digit(char c) noexcept { return digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool octal_digit(char c) noexcept { return c >= '0' && c <= '7'; }

constexpr std::pair<std::string_view, token_kind> operators[] = {
    // Longer ones first.
    {"==", token_kind::equal},
    {"!=", token_kind::not_equal},
    {"<=", token_kind::less_equal},
    {">=", token_kind::greater_equal},
    {"&&", token_kind::logical_and},
    {"||", token_kind::logical_or},
    {"<", token_kind::less},
    {">", token_kind::greater},
    {"[", token_kind::left_bracket},
    {"]", token_kind::right_bracket},
    {"{", token_kind::left_brace},
    {"}", token_kind::right_brace},
    {"(", token_kind::left_parenthesis},
    {")", token_kind::right_parenthesis},
    {".", token_kind::dot},
    {",", token_kind::comma},
    {"-", token_kind::minus},
    {"!", token_kind::exclamation},
    {"?", token_kind::question},
    {":", token_kind::colon},
    {"+", token_kind::plus},
    {"*", token_kind::star},
    {"/", token_kind::slash},
    {"%", token_kind::percent},
};

class lexer {
 public:
  lexer(std::string_view text, issues& found) : text_(text), found_(found) {}

  std::vector<token> all() {
    std::vector<token> out;
    for (skip_space(); at_ < text_.size(); skip_space()) {
      std::size_t end = at_;
      const token_kind kind = next(end);
      if (kind == token_kind::end) {
        refuse(end);
        continue;
      }
      out.push_back({kind, text_.substr(at_, end - at_), line_, column_});
      move_to(end);
    }
    out.push_back({token_kind::end, "<EOF>", line_, column_});
    return out;
  }

 private:
  char peek(std::size_t at) const noexcept { return at < text_.size() ? text_[at] : '\0'; }

  void move_to(std::size_t end) {
    while (at_ < end) {
      const std::size_t n = utf8_length(text_.substr(at_));
      if (text_[at_] == '\n') {
        ++line_;
        column_ = 0;
      } else {
        ++column_;
      }
      at_ += n;
    }
  }

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f')
        move_to(at_ + 1);
      else if (c == '/' && peek(at_ + 1) == '/')
        move_to(std::min(text_.find('\n', at_), text_.size()));
      else
        return;
    }
  }

  // From the token's beginning through the character that doesn't go on with it, which is skipped with the rest.
  void refuse(std::size_t end) {
    if (end < text_.size()) end += utf8_length(text_.substr(end));
    found_.add(line_, column_,
               "Syntax error: token recognition error at: '" + std::string(text_.substr(at_, end - at_)) + "'");
    move_to(end);
  }

  // The kind of the token at at_, and where it ends; token_kind::end for none, `end` then stands at what is wrong.
  token_kind next(std::size_t& end) const {
    const char c = text_[at_];
    if (auto kind = quoted(end); kind != token_kind::end) return kind;
    if (end != at_) return token_kind::end;  // a string that doesn't end
    if (letter(c)) return word(end);
    if (digit(c) || (c == '.' && digit(peek(at_ + 1)))) return number(end);
    if (c == '`') return escaped(end);
    for (auto [text, kind] : operators) {
      if (!text_.substr(at_).starts_with(text)) continue;
      end = at_ + text.size();
      return kind;
    }
    end = c == '=' || c == '&' || c == '|' ? at_ + 1 : at_;
    return token_kind::end;
  }

  token_kind word(std::size_t& end) const {
    while (letter(peek(end)) || digit(peek(end))) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    if (word == "in") return token_kind::in;
    if (word == "true") return token_kind::true_;
    if (word == "false") return token_kind::false_;
    if (word == "null") return token_kind::null;
    return token_kind::identifier;
  }

  token_kind escaped(std::size_t& end) const {
    ++end;
    const auto allowed = [](char c) { return letter(c) || digit(c) || c == '.' || c == '-' || c == '/' || c == ' '; };
    while (end < text_.size() && allowed(text_[end])) ++end;
    if (peek(end) != '`' || end == at_ + 1) return token_kind::end;
    ++end;
    return token_kind::escaped_identifier;
  }

  token_kind number(std::size_t& end) const {
    if (text_.substr(at_).starts_with("0x") && hex_digit(peek(at_ + 2))) {
      end += 2;
      while (hex_digit(peek(end))) ++end;
      return unsigned_mark(end) ? token_kind::unsigned_integer : token_kind::integer;
    }
    bool real = false;
    while (digit(peek(end))) ++end;
    if (peek(end) == '.' && digit(peek(end + 1))) {
      real = true;
      for (++end; digit(peek(end));) ++end;
    }
    if (peek(end) == 'e' || peek(end) == 'E') {
      std::size_t power = end + 1;
      if (peek(power) == '+' || peek(power) == '-') ++power;
      if (digit(peek(power))) {
        real = true;
        for (end = power; digit(peek(end));) ++end;
      }
    }
    if (real) return token_kind::real;
    return unsigned_mark(end) ? token_kind::unsigned_integer : token_kind::integer;
  }

  bool unsigned_mark(std::size_t& end) const {
    if (peek(end) != 'u' && peek(end) != 'U') return false;
    ++end;
    return true;
  }

  // A string with its prefixes. token_kind::end with end == at_: none begins here.
  token_kind quoted(std::size_t& end) const {
    std::size_t at = at_;
    const bool bytes = peek(at) == 'b' || peek(at) == 'B';
    if (bytes) ++at;
    const bool raw = peek(at) == 'r' || peek(at) == 'R';
    if (raw) ++at;
    const char quote = peek(at);
    if (quote != '"' && quote != '\'') return token_kind::end;
    const std::string three(3, quote);
    std::size_t wrong = at;
    if (text_.substr(at).starts_with(three)) {
      if (auto ends = string_end(at + 3, three, raw, true, wrong)) {
        end = *ends;
        return bytes ? token_kind::bytes : token_kind::string;
      }
      // The longest that is a token: an empty string, and another begins behind it.
      end = at + 2;
      return bytes ? token_kind::bytes : token_kind::string;
    }
    if (auto ends = string_end(at + 1, three.substr(0, 1), raw, false, wrong)) {
      end = *ends;
      return bytes ? token_kind::bytes : token_kind::string;
    }
    if (at > at_) return token_kind::end;  // the prefix is a name of its own
    end = wrong;
    return token_kind::end;
  }

  std::optional<std::size_t> string_end(std::size_t at, std::string_view close, bool raw, bool lines,
                                        std::size_t& wrong) const {
    while (at < text_.size()) {
      if (text_.substr(at).starts_with(close)) return at + close.size();
      const char c = text_[at];
      if (!lines && (c == '\n' || c == '\r')) break;
      if (c == '\\' && !raw) {
        const std::size_t n = escape_length(at);
        if (n == 0) {
          ++at;
          break;
        }
        at += n;
      } else {
        ++at;
      }
    }
    wrong = at;
    return std::nullopt;
  }

  // Of an escape sequence; 0 when it is none.
  std::size_t escape_length(std::size_t at) const {
    const auto all = [&](std::size_t n, bool (*is)(char)) {
      for (std::size_t i = 0; i < n; ++i)
        if (!is(peek(at + 2 + i))) return false;
      return true;
    };
    const char c = peek(at + 1);
    if (c != '\0' && std::string_view("abfnrtv\"'\\?`").contains(c)) return 2;
    if (c == 'x' || c == 'X') return all(2, hex_digit) ? 4 : 0;
    if (c == 'u') return all(4, hex_digit) ? 6 : 0;
    if (c == 'U') return all(8, hex_digit) ? 10 : 0;
    if (c >= '0' && c <= '3') return all(2, octal_digit) ? 4 : 0;
    return 0;
  }

  std::string_view text_;
  issues& found_;
  std::size_t at_ = 0;
  int line_ = 1;
  int column_ = 0;
};

}  // namespace

std::vector<token> lex(std::string_view text, issues& found) { return lexer(text, found).all(); }

}  // namespace kedge::cel
