#include "json/syntax.h"

#include <vector>

#include "base/strings.h"

namespace kedge::json {
namespace {

constexpr const char* end_of_input = "unexpected end of JSON input";

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
constexpr bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string quoted(char c) {
  if (c == '\'') return R"('\'')";
  if (c == '"') return "'\"'";
  // A byte stands for the character of its number.
  auto byte = static_cast<unsigned char>(c);
  auto text = byte < 0x80 ? std::string(1, c)
                          : std::string{static_cast<char>(0xc0 | byte >> 6), static_cast<char>(0x80 | (byte & 0x3f))};
  auto q = quote(text);
  return "'" + q.substr(1, q.size() - 2) + "'";
}

// Reads on until something is wrong. Containers are kept in a list, not on the stack.
class scanner {
 public:
  explicit scanner(std::string_view text) : text_(text) {}

  std::string run() {
    do {
      if (!value()) return problem_;
    } while (!open_.empty());
    skip();
    return at_ < text_.size() ? "invalid character " + quoted(text_[at_]) + " after top-level value" : std::string();
  }

 private:
  enum class container : unsigned char { object, array };

  void skip() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  bool wrong(std::string_view context) {
    problem_ =
        at_ < text_.size() ? "invalid character " + quoted(text_[at_]) + " " + std::string(context) : end_of_input;
    return false;
  }
  bool sees(char c) const { return at_ < text_.size() && text_[at_] == c; }

  // A whole scalar, or the beginning of a container; then what closes behind it.
  bool value() {
    skip();
    if (at_ == text_.size()) return wrong("");
    const char c = text_[at_];
    if (c == '{') {
      ++at_;
      open_.push_back(container::object);
      skip();
      if (!sees('}')) return key();
      ++at_;
      open_.pop_back();
      return close();
    }
    if (c == '[') {
      ++at_;
      open_.push_back(container::array);
      skip();
      if (!sees(']')) return true;
      ++at_;
      open_.pop_back();
      return close();
    }
    const bool good = c == '"'   ? string()
                      : c == 't' ? literal("true")
                      : c == 'f' ? literal("false")
                      : c == 'n' ? literal("null")
                                 : number();
    return good && close();
  }

  // Behind a value: ends of containers, then a comma with what follows it; true before the next value.
  bool close() {
    while (!open_.empty()) {
      skip();
      const bool in_object = open_.back() == container::object;
      if (sees(',')) {
        ++at_;
        return !in_object || key();
      }
      if (!sees(in_object ? '}' : ']')) return wrong(in_object ? "after object key:value pair" : "after array element");
      ++at_;
      open_.pop_back();
    }
    return true;
  }

  bool key() {
    skip();
    if (!sees('"')) return wrong("looking for beginning of object key string");
    if (!string()) return false;
    skip();
    if (!sees(':')) return wrong("after object key");
    ++at_;
    return true;
  }

  bool string() {
    constexpr int unicode_digits = 4;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return wrong("in string literal");
      if (c != '\\') continue;
      if (++at_ == text_.size()) break;
      if (std::string_view("bfnrt\\/\"u").find(text_[at_]) == std::string_view::npos)
        return wrong("in string escape code");
      if (text_[at_] != 'u') continue;
      for (int i = 0; i < unicode_digits; ++i)
        if (++at_ == text_.size() || !is_hex(text_[at_])) return wrong("in \\u hexadecimal character escape");
    }
    return wrong("");
  }

  bool literal(std::string_view word) {
    for (std::size_t i = 0; i < word.size(); ++i, ++at_)
      if (!sees(word[i])) return wrong("in literal " + std::string(word) + " (expecting " + quoted(word[i]) + ")");
    return true;
  }

  bool digits(std::string_view otherwise) {
    if (at_ == text_.size() || !is_digit(text_[at_])) return wrong(otherwise);
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return true;
  }

  bool number() {
    if (!sees('-') && !is_digit(text_[at_])) return wrong("looking for beginning of value");
    if (sees('-')) ++at_;
    if (sees('0'))
      ++at_;
    else if (!digits("in numeric literal"))
      return false;
    if (sees('.')) {
      ++at_;
      if (!digits("after decimal point in numeric literal")) return false;
    }
    if (!sees('e') && !sees('E')) return true;
    ++at_;
    if (sees('+') || sees('-')) ++at_;
    return digits("in exponent of numeric literal");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<container> open_;
  std::string problem_;
};

}  // namespace

std::string syntax_problem(std::string_view text) { return scanner(text).run(); }

}  // namespace kedge::json
