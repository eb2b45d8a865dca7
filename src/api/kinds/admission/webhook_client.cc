#include "api/kinds/admission/webhook_client.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace kedge::api {
namespace {

constexpr std::string_view form = "; desired format: https://host[/path]";

// What is asked of a URL, as Go's net/url takes it apart.
struct url_parts {
  std::string_view scheme, user, host, query, fragment;
  bool has_user = false;
  std::string wrong;  // why it is no URL
};

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string wrong_escape(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') continue;
    if (i + 2 >= text.size() || !is_hex(text[i + 1]) || !is_hex(text[i + 2]))
      return fmt::format("invalid URL escape {}", quote(text.substr(i, 3)));
    i += 2;
  }
  return {};
}

// The scheme before the first colon, when there is one: a path's first segment has none.
std::string take_scheme(std::string_view& rest, url_parts& out) {
  for (std::size_t i = 0; i < rest.size(); ++i) {
    const char c = rest[i];
    if (is_letter(c) || (i > 0 && ((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.'))) continue;
    if (c != ':') return {};
    if (i == 0) return "missing protocol scheme";
    out.scheme = rest.substr(0, i);
    rest.remove_prefix(i + 1);
    return {};
  }
  return {};
}

std::string take_authority(std::string_view authority, url_parts& out) {
  if (auto at = authority.rfind('@'); at != authority.npos) {
    out.user = authority.substr(0, at);
    out.has_user = true;
    authority.remove_prefix(at + 1);
  }
  out.host = authority;
  for (char c : authority)
    if (c == ' ' || c == '"' || c == '<' || c == '>' || c == '\\' || c == '^' || c == '`' || c == '{' || c == '|' ||
        c == '}')
      return fmt::format("invalid character {} in host name", quote(std::string(1, c)));
  if (authority.starts_with('[') && authority.find(']') == authority.npos) return "missing ']' in host";
  auto colon = authority.rfind(':');
  if (colon == authority.npos || authority.ends_with(']')) return {};
  auto port = authority.substr(colon);
  if (std::ranges::any_of(port.substr(1), [](char c) { return c < '0' || c > '9'; }))
    return fmt::format("invalid port {} after host", quote(port));
  return {};
}

url_parts parse_url(std::string_view text) {
  url_parts out;
  auto rest = text;
  auto fail = [&](std::string why) {
    out.wrong = fmt::format("parse {}: {}", quote(text), why);
    return out;
  };
  if (std::ranges::any_of(text, [](unsigned char c) { return c < ' ' || c == 0x7f; })) {
    out.wrong = fmt::format("parse {}: net/url: invalid control character in URL", quote(text));
    return out;
  }
  if (auto hash = rest.find('#'); hash != rest.npos) {
    out.fragment = rest.substr(hash + 1);
    rest = rest.substr(0, hash);
  }
  if (auto wrong = take_scheme(rest, out); !wrong.empty()) return fail(std::move(wrong));
  if (auto mark = rest.find('?'); mark != rest.npos) {
    out.query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  if (!rest.starts_with('/') && out.scheme.empty())
    if (auto first = rest.substr(0, rest.find('/')); first.find(':') != first.npos)
      return fail("first path segment in URL cannot contain colon");
  if (rest.starts_with("//") && (!out.scheme.empty() || !rest.starts_with("///"))) {
    rest.remove_prefix(2);
    auto authority = rest.substr(0, rest.find('/'));
    rest.remove_prefix(authority.size());
    if (auto wrong = take_authority(authority, out); !wrong.empty()) return fail(std::move(wrong));
  }
  if (auto wrong = wrong_escape(rest); !wrong.empty()) return fail(std::move(wrong));
  return out;
}

void check_url(causes& out, std::string_view text, const place& at) {
  auto url = parse_url(text);
  if (!url.wrong.empty())
    return out.push_back(required(at, fmt::format("url must be a valid URL: {}{}", url.wrong, form)));
  auto scheme = lower(url.scheme);
  if (scheme != "https")
    out.push_back(invalid_value(at, scheme, fmt::format("'https' is the only allowed URL scheme{}", form)));
  if (url.host.empty()) out.push_back(invalid_value(at, url.host, fmt::format("host must be specified{}", form)));
  if (url.has_user) out.push_back(invalid_value(at, url.user, "user information is not permitted in the URL"));
  if (!url.fragment.empty()) out.push_back(invalid_value(at, url.fragment, "fragments are not permitted in the URL"));
  if (!url.query.empty()) out.push_back(invalid_value(at, url.query, "query parameters are not permitted in the URL"));
}

// Each step of it is a name.
void check_path(causes& out, std::string_view path, const place& at) {
  if (path.empty() || path == "/") return;
  if (path == "//") return out.push_back(invalid_value(at, path, "segment[0] may not be empty"));
  if (!path.starts_with('/')) out.push_back(invalid_value(at, path, "must start with a '/'"));
  auto rest = path.substr(1);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  auto steps = split(rest, '/');
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].empty())
      out.push_back(invalid_value(at, path, fmt::format("segment[{}] may not be empty", i)));
    else
      for (auto& text : check_dns1123_subdomain(steps[i]))
        out.push_back(invalid_value(at, path, fmt::format("segment[{}]: {}", i, text)));
  }
}

// kube-apiserver has the two names in each other's place.
void check_service(causes& out, const json::value& service, const place& at) {
  if (service["namespace"].as_string().empty()) out.push_back(required(place(at, "name")));
  if (service["name"].as_string().empty()) out.push_back(required(place(at, "namespace")));
  auto port = service["port"].as_integer();
  if (auto wrong = check_port_number(port); !wrong.empty())
    out.push_back(invalid_value(place(at, "port"), port, "port is not valid: " + join(wrong, ", ")));
  if (auto& path = service["path"]; path.is_string()) check_path(out, path.as_string(), place(at, "path"));
}

}  // namespace

void check_webhook_client(causes& out, const json::value& config, const place& at) {
  auto &url = config["url"], &service = config["service"];
  if (url.is_string() == service.is_object())
    out.push_back(required(at, "exactly one of url or service is required"));
  else if (url.is_string())
    check_url(out, url.as_string(), place(at, "url"));
  else
    check_service(out, service, place(at, "service"));
}

}  // namespace kedge::api
