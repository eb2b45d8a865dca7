#include "meta/names.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ip.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

bool lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool alnum(char c) { return alpha(c) || digit(c); }

std::string too_long_text(std::size_t n) { return fmt::format("must be no more than {} characters", n); }
std::string too_many_bytes_text(std::size_t n) { return fmt::format("must be no more than {} bytes", n); }

bool is_label(std::string_view s) {
  if (s.empty() || !lower_alnum(s.front()) || !lower_alnum(s.back())) return false;
  for (char c : s)
    if (!lower_alnum(c) && c != '-') return false;
  return true;
}

bool is_subdomain(std::string_view s) {
  for (;;) {
    auto dot = s.find('.');
    if (!is_label(s.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    s.remove_prefix(dot + 1);
  }
}

bool is_name_part(std::string_view s) {
  if (s.empty() || !alnum(s.front()) || !alnum(s.back())) return false;
  for (char c : s)
    if (!alnum(c) && c != '-' && c != '_' && c != '.') return false;
  return true;
}

constexpr std::string_view label_text =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view subdomain_text =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with "
    "an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view label1035_text =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end "
    "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view name_part_text =
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
constexpr std::string_view label_value_text =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with "
    "an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

}  // namespace

problems check_dns1123_label(std::string_view s) {
  problems out;
  if (s.size() > 63) out.push_back(too_long_text(63));
  if (!is_label(s)) {
    if (is_subdomain(s))
      out.emplace_back("must not contain dots");
    else
      out.emplace_back(label_text);
  }
  return out;
}

problems check_dns1123_subdomain(std::string_view s) {
  problems out;
  if (s.size() > 253) out.push_back(too_long_text(253));
  if (!is_subdomain(s)) out.emplace_back(subdomain_text);
  return out;
}

problems check_any_case_subdomain(std::string_view s) {
  problems out;
  if (s.size() > 253) out.emplace_back("must be no more than 253 bytes");
  if (!is_subdomain(lower(s)))
    out.emplace_back(
        "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an "
        "alphanumeric "
        "character (e.g. 'Example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
  return out;
}

problems check_wildcard_dns1123_subdomain(std::string_view s) {
  problems out;
  if (s.size() > 253) out.push_back(too_long_text(253));
  if (s.size() < 3 || s.substr(0, 2) != "*." || !is_subdomain(s.substr(2)))
    out.emplace_back(
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
        "regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
  return out;
}

problems check_dns1035_label(std::string_view s) {
  problems out;
  if (s.size() > 63) out.push_back(too_long_text(63));
  if (!is_label(s) || digit(s.front())) out.emplace_back(label1035_text);
  return out;
}

problems check_qualified_name(std::string_view s) {
  auto slash = s.find('/');
  const bool prefixed = slash != s.npos;
  if (prefixed && s.find('/', slash + 1) != s.npos)
    return {
        "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric "
        "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
        "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. "
        "'example.com/MyName')"};
  problems out;
  if (prefixed && slash == 0) {
    out.emplace_back("prefix part must be non-empty");
  } else if (prefixed) {
    auto prefix = s.substr(0, slash);
    if (prefix.size() > 253) out.push_back("prefix part " + too_many_bytes_text(253));
    if (!is_subdomain(prefix)) out.push_back("prefix part " + std::string(subdomain_text));
  }
  auto name = prefixed ? s.substr(slash + 1) : s;
  if (name.empty())
    out.emplace_back("name part must be non-empty");
  else if (name.size() > 63)
    out.push_back("name part " + too_many_bytes_text(63));
  if (!is_name_part(name)) out.emplace_back(name_part_text);
  return out;
}

problems check_label_value(std::string_view s) {
  problems out;
  if (s.size() > 63) out.push_back(too_many_bytes_text(63));
  if (!s.empty() && !is_name_part(s)) out.emplace_back(label_value_text);
  return out;
}

problems check_path_segment(std::string_view s) {
  if (s == "." || s == "..") return {fmt::format("may not be '{}'", s)};
  problems out;
  for (std::string_view bad : {"/", "%"})
    if (s.find(bad) != std::string_view::npos) out.push_back(fmt::format("may not contain '{}'", bad));
  return out;
}

problems check_config_map_key(std::string_view s) {
  problems out;
  if (s.size() > 253) out.push_back(too_long_text(253));
  bool good = !s.empty();
  for (char c : s) good = good && (alnum(c) || c == '-' || c == '_' || c == '.');
  if (!good)
    out.emplace_back(
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME', "
        " "
        "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')");
  if (s == ".") out.emplace_back("must not be '.'");
  if (s == "..")
    out.emplace_back("must not be '..'");
  else if (s.starts_with(".."))
    out.emplace_back("must not start with '..'");
  return out;
}

problems check_env_var_name(std::string_view s) {
  if (s.empty()) return {"environment variable name must be non-empty"};
  for (char c : s)
    if (c < 0x20 || c > 0x7e || c == '=')
      return {"a valid environment variable name must consist only of printable ASCII characters other than '='"};
  return {};
}

problems check_port_number(std::int64_t port) {
  if (port >= 1 && port <= 65535) return {};
  return {"must be between 1 and 65535, inclusive"};
}

problems check_port_name(std::string_view s) {
  problems out;
  if (s.size() > 15) out.push_back(too_long_text(15));
  bool good = !s.empty(), letter = false;
  for (char c : s) {
    good = good && (lower_alnum(c) || c == '-');
    letter = letter || (c >= 'a' && c <= 'z');
  }
  if (!good) out.emplace_back("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  if (!letter) out.emplace_back("must contain at least one letter (a-z)");
  if (s.find("--") != std::string_view::npos) out.emplace_back("must not contain consecutive hyphens");
  if (!s.empty() && (s.front() == '-' || s.back() == '-')) out.emplace_back("must not begin or end with a hyphen");
  return out;
}

problems check_c_identifier(std::string_view s) {
  bool good = !s.empty() && (alpha(s[0]) || s[0] == '_');
  for (char c : s) good = good && (alnum(c) || c == '_');
  if (good) return {};
  return {
      "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
      "characters or '_' "
      "(e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"};
}

bool is_http_header_name(std::string_view s) {
  if (s.empty()) return false;
  for (char c : s)
    if (!alnum(c) && c != '-') return false;
  return true;
}

problems check_condition_reason(std::string_view s) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const bool good =
      !s.empty() && letter(s.front()) && (alnum(s.back()) || s.back() == '_') &&
      std::all_of(s.begin(), s.end(), [](char c) { return alnum(c) || c == '_' || c == ',' || c == ':'; });
  if (good) return {};
  return {
      "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
      "characters or '_,:', and must end "
      "with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or "
      "'ReasonA:ReasonB', regex "
      "used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"};
}

problems check_http_path(std::string_view s) {
  constexpr std::string_view others = "/-._~%!$&'()*+,;=:";
  const bool good =
      !s.empty() && std::all_of(s.begin(), s.end(), [&](char c) { return alnum(c) || others.find(c) != others.npos; });
  if (good) return {};
  return {R"(Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+'))"};
}

problems check_ip(std::string_view s) {
  auto address = ip_address::parse_sloppy(s);
  if (!address) return {"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"};
  if (!ip_address::parse(s)) return {"must not have leading 0s"};
  if (address->is_v4() && s.find(':') != s.npos) return {"must not be an IPv4-mapped IPv6 address"};
  return {};
}

problems check_canonical_ip(std::string_view s) {
  if (auto wrong = check_ip(s); !wrong.empty()) return wrong;
  if (auto text = ip_address::parse(s)->text(); text != s)
    return {fmt::format("must be in canonical form ({})", quote(text))};
  return {};
}

problems check_cidr(std::string_view s) {
  auto range = ip_range::parse_sloppy(s);
  if (!range) return {"must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"};
  if (range->is_v4() && s.find(':') != s.npos) return {"must not have an IPv4-mapped IPv6 address"};
  if (!ip_range::parse(s)) return {"must not have leading 0s in IP or prefix length"};
  if (ip_address::parse(s.substr(0, s.find('/'))) != range->network())
    return {"must not have bits set beyond the prefix length"};
  return {};
}

problems check_canonical_cidr(std::string_view s) {
  if (auto wrong = check_cidr(s); !wrong.empty()) return wrong;
  if (auto text = ip_range::parse(s)->text(); text != s)
    return {fmt::format("must be in canonical form ({})", quote(text))};
  return {};
}

problems check_endpoint_ip(std::string_view s) {
  auto address = ip_address::parse_sloppy(s);
  if (!address) return {"must be a valid IP address"};
  if (address->is_unspecified()) return {fmt::format("may not be unspecified ({})", s)};
  if (address->is_loopback()) return {"may not be in the loopback range (127.0.0.0/8, ::1/128)"};
  if (address->is_link_local_unicast()) return {"may not be in the link-local range (169.254.0.0/16, fe80::/10)"};
  if (address->is_link_local_multicast())
    return {"may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"};
  return {};
}

problems in_bytes(problems found) {
  constexpr std::string_view unit = " characters";
  for (auto& text : found)
    if (text.ends_with(unit)) text.replace(text.size() - unit.size(), unit.size(), " bytes");
  return found;
}

}  // namespace kedge::api
