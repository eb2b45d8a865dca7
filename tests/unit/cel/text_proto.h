// text_proto.h: protobuf's text format, as far as test data goes: messages as JSON objects whose members are lists,
// because a field may be there more than once. Numbers and enum words stay text, strings are marked by a '"' in front.
#pragma once

#include <cctype>
#include <optional>
#include <string>
#include <string_view>

#include "json/value.h"

namespace kedge::cel {

class text_proto {
 public:
  explicit text_proto(std::string_view text) : text_(text) {}

  // Nothing when the text is wrong.
  std::optional<json::value> read() {
    json::value out = message('\0');
    return failed_ ? std::nullopt : std::optional(std::move(out));
  }

 private:
  char peek() {
    while (at_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_])) || text_[at_] == ',' || text_[at_] == ';')
        ++at_;
      else if (text_[at_] == '#')
        at_ = std::min(text_.find('\n', at_), text_.size());
      else
        return text_[at_];
    }
    return '\0';
  }

  std::string word() {
    peek();
    std::string out;
    if (at_ < text_.size() && text_[at_] == '[') {  // a type's name
      const std::size_t end = text_.find(']', at_);
      if (end == std::string_view::npos) {
        failed_ = true;
        return out;
      }
      out = text_.substr(at_, end + 1 - at_);
      at_ = end + 1;
      return out;
    }
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) || std::string_view("_.+-").contains(text_[at_])))
      out += text_[at_++];
    if (out.empty()) failed_ = true;
    return out;
  }

  void escape(std::string& out) {
    const char c = text_[at_++];
    const auto digits = [&](std::size_t most, int base) {
      unsigned n = 0;
      for (std::size_t i = 0; i < most && at_ < text_.size() && std::isxdigit(static_cast<unsigned char>(text_[at_]));
           ++i) {
        const char d = text_[at_];
        if (base == 8 && (d < '0' || d > '7')) break;
        n = n * static_cast<unsigned>(base) + static_cast<unsigned>(d <= '9' ? d - '0' : (d | 0x20) - 'a' + 10);
        ++at_;
      }
      return n;
    };
    const auto character = [&](unsigned code) {
      if (code < 0x80) {
        out += static_cast<char>(code);
      } else if (code < 0x800) {
        out += static_cast<char>(0xC0 | code >> 6);
        out += static_cast<char>(0x80 | (code & 0x3F));
      } else if (code < 0x10000) {
        out += static_cast<char>(0xE0 | code >> 12);
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
      } else {
        out += static_cast<char>(0xF0 | code >> 18);
        out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
      }
    };
    constexpr std::string_view letters = "abfnrtv", codes = "\a\b\f\n\r\t\v";
    if (const std::size_t i = letters.find(c); i != letters.npos) {
      out += codes[i];
    } else if (c == 'x' || c == 'X') {
      out += static_cast<char>(digits(2, 16));
    } else if (c == 'u') {
      character(digits(4, 16));
    } else if (c == 'U') {
      character(digits(8, 16));
    } else if (c >= '0' && c <= '7') {
      --at_;
      out += static_cast<char>(digits(3, 8));
    } else {
      out += c;
    }
  }

  // One or more literals in a row.
  std::string string() {
    std::string out = "\"";
    while (peek() == '"' || peek() == '\'') {
      const char quote = text_[at_++];
      while (at_ < text_.size() && text_[at_] != quote) {
        if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
          ++at_;
          escape(out);
        } else {
          out += text_[at_++];
        }
      }
      ++at_;
    }
    return out;
  }

  json::value one() {
    const char c = peek();
    if (c == '{') {
      ++at_;
      return message('}');
    }
    if (c == '"' || c == '\'') return json::value(string());
    return json::value(word());
  }

  json::value message(char end) {
    json::value out = json::object{};
    while (!failed_) {
      const char c = peek();
      if (c == end) {
        if (end) ++at_;
        return out;
      }
      if (c == '\0') {
        failed_ = true;
        return out;
      }
      const std::string name = word();
      if (peek() == ':') ++at_;
      if (peek() != '[') {
        out.member(name).push_back(one());
        continue;
      }
      for (++at_; peek() != ']' && peek() != '\0';) out.member(name).push_back(one());
      ++at_;
    }
    return out;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

}  // namespace kedge::cel
