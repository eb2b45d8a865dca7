#include "shim/json.h"

#include <cstdint>

namespace kedge::shim::json {

namespace {

constexpr std::size_t depth_max = 512;  // of Go's decoder it is 10,000; a container's configuration has some ten

void skip_space(std::string_view& in) {
  auto n = in.find_first_not_of(" \t\r\n");
  in.remove_prefix(n == std::string_view::npos ? in.size() : n);
}

bool take_char(std::string_view& in, char c) {
  skip_space(in);
  if (in.empty() || in.front() != c) return false;
  in.remove_prefix(1);
  return true;
}

// A string with its quotes.
std::optional<std::string_view> take_string(std::string_view& in) {
  if (in.empty() || in.front() != '"') return {};
  for (std::size_t i = 1; i < in.size(); ++i) {
    if (in[i] == '\\') {
      ++i;
    } else if (in[i] == '"') {
      auto out = in.substr(0, i + 1);
      in.remove_prefix(i + 1);
      return out;
    }
  }
  return {};
}

void put_utf8(std::uint32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

std::optional<std::uint32_t> hex4(std::string_view in) {
  if (in.size() < 4) return {};
  std::uint32_t out = 0;
  for (char c : in.substr(0, 4)) {
    out <<= 4;
    if (c >= '0' && c <= '9')
      out |= static_cast<std::uint32_t>(c - '0');
    else if (c >= 'a' && c <= 'f')
      out |= static_cast<std::uint32_t>(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F')
      out |= static_cast<std::uint32_t>(c - 'A' + 10);
    else
      return {};
  }
  return out;
}

}  // namespace

std::optional<std::string_view> take_value(std::string_view& in) {
  skip_space(in);
  auto all = in;
  if (in.empty()) return {};
  if (in.front() == '"') return take_string(in);
  if (in.front() != '{' && in.front() != '[') {
    auto n = in.find_first_of(",]} \t\r\n");
    if (n == 0) return {};
    if (n == std::string_view::npos) n = in.size();
    in.remove_prefix(n);
    return all.substr(0, n);
  }
  std::string open;  // the brackets that are open
  do {
    char c = in.front();
    if (c == '"') {
      if (!take_string(in)) return {};
      continue;
    }
    if (c == '{' || c == '[') {
      if (open.size() == depth_max) return {};
      open += c;
    }
    if (c == '}' || c == ']') {
      if (open.back() != (c == '}' ? '{' : '[')) return {};
      open.pop_back();
    }
    in.remove_prefix(1);
  } while (!open.empty() && !in.empty());
  if (!open.empty()) return {};
  return all.substr(0, all.size() - in.size());
}

members::members(std::string_view object) : rest_(object) { ok_ = take_char(rest_, '{'); }

bool members::next() {
  if (!ok_ || take_char(rest_, '}')) return false;
  if (!std::exchange(first_, false) && !take_char(rest_, ',')) return ok_ = false;
  skip_space(rest_);
  auto name = take_string(rest_);
  if (!name || !take_char(rest_, ':')) return ok_ = false;
  auto value = take_value(rest_);
  if (!value) return ok_ = false;
  name_ = name->substr(1, name->size() - 2);
  value_ = *value;
  return true;
}

elements::elements(std::string_view array) : rest_(array) { ok_ = take_char(rest_, '['); }

std::optional<std::string_view> elements::next() {
  if (!ok_ || take_char(rest_, ']')) return {};
  if (!std::exchange(first_, false) && !take_char(rest_, ',')) {
    ok_ = false;
    return {};
  }
  auto value = take_value(rest_);
  if (!value) ok_ = false;
  return value;
}

std::optional<std::string_view> member(std::string_view object, std::string_view name) {
  std::optional<std::string_view> out;
  for (members m(object); m.next();)
    if (m.name() == name) out = m.value();
  return out;
}

std::optional<std::string> text_of(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return {};
  value = value.substr(1, value.size() - 2);
  std::string out;
  while (!value.empty()) {
    auto plain = value.substr(0, value.find('\\'));
    out += plain;
    value.remove_prefix(plain.size());
    if (value.empty()) break;
    if (value.size() < 2) return {};
    char c = value[1];
    value.remove_prefix(2);
    switch (c) {
      case 'n': out += '\n'; break;
      case 't': out += '\t'; break;
      case 'r': out += '\r'; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'u': {
        auto high = hex4(value);
        if (!high) return {};
        value.remove_prefix(4);
        if (*high >= 0xd800 && *high < 0xdc00 && value.starts_with("\\u"))
          if (auto low = hex4(value.substr(2)); low && *low >= 0xdc00 && *low < 0xe000) {
            value.remove_prefix(6);
            put_utf8(0x10000 + ((*high - 0xd800) << 10) + (*low - 0xdc00), out);
            break;
          }
        put_utf8(*high >= 0xd800 && *high < 0xe000 ? 0xfffd : *high, out);
        break;
      }
      default: out += c;
    }
  }
  return out;
}

std::string quote(std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out = "\"";
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (u < 0x20) {
      out += "\\u00";
      out += digits[u >> 4];
      out += digits[u & 15];
    } else {
      out += c;
    }
  }
  return out += '"';
}

}  // namespace kedge::shim::json
