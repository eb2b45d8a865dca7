#include "api/expressions/libraries/url.h"

#include <algorithm>

#include "base/strings.h"

namespace kedge::api::expressions {

namespace {

using parsed = std::expected<url_parts, std::string>;

bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool digit(char c) { return c >= '0' && c <= '9'; }

// What is wrong with the escapes of a part: the three characters, quoted.
std::optional<std::string> bad_escape(std::string_view text) {
  const auto hexadecimal = [](char c) { return digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') continue;
    if (i + 2 >= text.size() || !hexadecimal(text[i + 1]) || !hexadecimal(text[i + 2]))
      return "invalid URL escape " + quote(text.substr(i, 3));
    i += 2;
  }
  return std::nullopt;
}

std::optional<std::string> check_host(std::string_view host) {
  if (host.starts_with('[')) {
    const std::size_t end = host.rfind(']');
    if (end == std::string_view::npos) return "missing ']' in host";
    const std::string_view port = host.substr(end + 1);
    if (!port.empty() && (port[0] != ':' || !std::ranges::all_of(port.substr(1), digit)))
      return "invalid port " + quote(port) + " after host";
    return std::nullopt;
  }
  if (const std::size_t colon = host.rfind(':'); colon != std::string_view::npos) {
    const std::string_view port = host.substr(colon);
    if (!std::ranges::all_of(port.substr(1), digit)) return "invalid port " + quote(port) + " after host";
  }
  for (char c : host)
    if (static_cast<unsigned char>(c) < 0x80 && !letter(c) && !digit(c) &&
        !std::string_view("-_.~!$&'()*+,;=:[]<>\"%").contains(c))
      return "invalid character " + quote(std::string_view(&c, 1)) + " in host name";
  return std::nullopt;
}

// Characters that a path may hold as they are; all others are escaped when it is written.
std::string escape_path(std::string_view path) {
  std::string out;
  constexpr std::string_view plain = "-_.~$&+,/:;=@!'()*%[]";
  constexpr std::string_view digits = "0123456789ABCDEF";
  for (char c : path) {
    if (letter(c) || digit(c) || plain.contains(c)) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  return out;
}

parsed parse(std::string_view text, url_parts out) {
  if (text.empty()) return std::unexpected("empty url");
  if (std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }))
    return std::unexpected("net/url: invalid control character in URL");
  std::string_view rest = text;
  if (const std::size_t hash = rest.find('#'); hash != std::string_view::npos) {
    out.fragment = rest.substr(hash + 1);
    rest = rest.substr(0, hash);
  }
  for (std::size_t i = 0; i < rest.size(); ++i) {
    const char c = rest[i];
    if (letter(c)) continue;
    if ((digit(c) || c == '+' || c == '-' || c == '.') && i > 0) continue;
    if (c != ':') break;
    if (i == 0) return std::unexpected("missing protocol scheme");
    out.scheme = lower(rest.substr(0, i));
    rest = rest.substr(i + 1);
    break;
  }
  if (const std::size_t mark = rest.find('?'); mark != std::string_view::npos) {
    out.query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  if (!rest.starts_with('/')) {
    if (!out.scheme.empty()) return out;  // opaque: mailto:x
    return std::unexpected("invalid URI for request");
  }
  if ((!out.scheme.empty() || !rest.starts_with("///")) && rest.starts_with("//")) {
    std::string_view authority = rest.substr(2);
    const std::size_t slash = authority.find('/');
    rest = slash == std::string_view::npos ? std::string_view() : authority.substr(slash);
    authority = authority.substr(0, slash);
    if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
      out.user = authority.substr(0, at);
      authority = authority.substr(at + 1);
    }
    if (auto wrong = check_host(authority)) return std::unexpected(*wrong);
    out.host = authority;
  }
  if (auto wrong = bad_escape(rest)) return std::unexpected(*wrong);
  out.escaped_path = escape_path(rest);
  return out;
}

}  // namespace

std::expected<url_parts, std::string> parse_request_url(std::string_view text) {
  url_parts out;
  out.text = text;
  auto done = parse(text, std::move(out));
  if (!done) return std::unexpected("parse " + quote(text) + ": " + done.error());
  return done;
}

std::string hostname_of(const url_parts& u) {
  std::string_view host = u.host;
  const std::size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) host = host.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return std::string(host);
}

std::string port_of(const url_parts& u) {
  const std::size_t colon = u.host.rfind(':');
  if (colon == std::string::npos || u.host.find(']', colon) != std::string::npos) return {};
  return u.host.substr(colon + 1);
}

std::vector<std::pair<std::string, std::vector<std::string>>> query_of(const url_parts& u) {
  std::vector<std::pair<std::string, std::vector<std::string>>> out;
  if (u.query.empty()) return out;
  for (std::string_view pair : split(u.query, '&')) {
    if (pair.empty() || pair.contains(';')) continue;
    const std::size_t equals = pair.find('=');
    auto name = percent_decode(pair.substr(0, equals), true);
    auto v = percent_decode(equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1), true);
    if (!name || !v) continue;
    auto there = std::ranges::find(out, *name, &std::pair<std::string, std::vector<std::string>>::first);
    if (there == out.end())
      out.emplace_back(*name, std::vector{*v});
    else
      there->second.push_back(*v);
  }
  return out;
}

}  // namespace kedge::api::expressions
