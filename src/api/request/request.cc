#include "api/request/request.h"

#include <fmt/format.h>

#include <chrono>

#include "base/strings.h"
#include "base/time.h"
#include "meta/selector.h"

namespace kedge::api {
namespace {

std::string_view verb_of(std::string_view method) {
  if (method == "POST") return "create";
  if (method == "GET" || method == "HEAD") return "get";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return "delete";
  return {};
}

bool all_digits(std::string_view s) {
  for (char c : s)
    if (c < '0' || c > '9') return false;
  return !s.empty();
}

bool is_false(std::string_view s) { return s == "0" || iequals(s, "false"); }

// A list or watch through fieldSelector=metadata.name=X asks for X; not for what can be no name.
std::string name_in(const field_selector& fields) {
  auto name = fields.exact("metadata.name");
  if (!name || *name == "." || *name == ".." || name->find_first_of("/%") != std::string::npos) return {};
  return *std::move(name);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

struct segment {
  std::string text;     // decoded
  std::size_t end = 0;  // in the path as received
};

// The path between its slashes. It is decoded before it is cut, as Go's servers do: "%2F" parts as "/" does. nullopt: a
// bad escape.
std::optional<std::vector<segment>> cut(std::string_view path) {
  std::vector<segment> out(1);
  out.reserve(8);  // /apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE
  for (std::size_t i = path.starts_with('/') ? 1 : 0; i < path.size(); ++i) {
    const auto begin = i;
    char c = path[i];
    if (c == '%') {
      const int high = i + 2 < path.size() ? hex_digit(path[i + 1]) : -1,
                low = i + 2 < path.size() ? hex_digit(path[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '/') {
      out.back().end = begin;
      out.emplace_back();
    } else {
      out.back().text += c;
    }
  }
  out.back().end = path.size();
  if (out.back().text.empty()) out.pop_back();  // behind a slash at the end
  return out;
}

// What follows the segment that ends there, its slash first.
std::string rest_of(std::string_view path, std::size_t end) {
  auto rest = path.substr(end);
  if (!rest.starts_with('%')) return std::string(rest);
  return "/" + std::string(rest.substr(3));
}

// The segments from the resource on: namespaces/NS, RESOURCE, NAME, SUBRESOURCE. What a role may be bound in is a
// namespace's own name too.
void parse_resource_path(std::string_view path, const std::vector<segment>& parts, std::size_t at,
                         const query_values& query, request_info& r) {
  // Clients of long ago: watch/… is a watch whatever the method says, and takes no subresource; proxy/… is no route any
  // more.
  const bool by_prefix = (parts[at].text == "watch" || parts[at].text == "proxy") && parts.size() > at + 1;
  if (by_prefix) r.verb = parts[at++].text;
  if (parts[at].text == "namespaces" && parts.size() > at + 1) {
    r.ns = parts[at + 1].text;
    if (parts.size() > at + 2 && parts[at + 2].text != "status" && parts[at + 2].text != "finalize")
      at += 2;
    else
      r.is_the_namespace = r.api_group.empty();
  }
  const auto count = parts.size() - at;
  r.resource = parts[at].text;
  r.names_one = count >= 2;
  if (count >= 2) r.name = parts[at + 1].text;
  if (count >= 3) {
    r.subresource = parts[at + 2].text;
    r.rest = rest_of(path, parts[at + 2].end);
  }
  // What follows a proxy's path is the backend's business, doubled slashes too; anywhere else nothing is there.
  const bool proxies = r.subresource == "proxy" && !by_prefix;
  for (std::size_t i = 0; i < (proxies ? at + 3 : parts.size()); ++i) r.malformed |= parts[i].text.empty();
  r.deeper = count > 3 && !proxies;
  r.malformed |= r.verb == "proxy" || (by_prefix && count > 2);
  if (by_prefix) return;
  if (r.names_one || (r.verb != "get" && r.verb != "delete")) return;
  if (auto fields = field_selector::parse(query.get("fieldSelector"))) r.fields = *std::move(fields);
  if (r.verb == "delete") {
    r.verb = "deletecollection";
  } else {
    r.verb = query.flag("watch") ? "watch" : "list";
    r.name = name_in(r.fields);
  }
}

}  // namespace

query_values query_values::parse(std::string_view query) {
  query_values out;
  if (query.empty()) return out;
  for (auto pair : split(query, '&')) {
    if (pair.empty() || pair.find(';') != std::string_view::npos) continue;
    auto eq = pair.find('=');
    auto name = percent_decode(pair.substr(0, eq), true);
    auto value = percent_decode(eq == std::string_view::npos ? std::string_view() : pair.substr(eq + 1), true);
    if (name && value) out.values_.emplace_back(*std::move(name), *std::move(value));
  }
  return out;
}

const std::string* query_values::find(std::string_view name) const noexcept {
  for (auto& [n, v] : values_)
    if (n == name) return &v;
  return nullptr;
}

std::string_view query_values::get(std::string_view name) const noexcept {
  auto v = find(name);
  return v ? std::string_view(*v) : std::string_view();
}

std::vector<std::string> query_values::all(std::string_view name) const {
  std::vector<std::string> out;
  for (auto& [n, v] : values_)
    if (n == name) out.push_back(v);
  return out;
}

bool query_values::flag(std::string_view name) const noexcept {
  auto v = find(name);
  return v && !is_false(*v);
}

std::optional<bool> query_values::optional_flag(std::string_view name) const noexcept {
  auto v = find(name);
  if (!v) return std::nullopt;
  return !is_false(*v);
}

std::optional<std::string> parse_go_int(std::string_view text, std::int64_t& out) {
  auto digits = text;
  if (!digits.empty() && digits.front() == '+') digits.remove_prefix(1);
  if (!digits.empty() && !(text.front() == '+' && digits.front() == '-'))
    if (auto n = parse_int(digits)) {
      out = *n;
      return std::nullopt;
    }
  if (!digits.empty() && (digits.front() == '-' || digits.front() == '+')) digits.remove_prefix(1);
  return fmt::format("strconv.ParseInt: parsing {}: {}", quote(text),
                     all_digits(digits) ? "value out of range" : "invalid syntax");
}

api_result<std::optional<std::int64_t>> query_values::integer(std::string_view name) const {
  auto v = find(name);
  if (!v || v->empty()) return std::optional<std::int64_t>();
  std::int64_t n = 0;
  if (auto problem = parse_go_int(*v, n)) return fail(bad_request(*problem));
  return std::optional<std::int64_t>(n);
}

bool request_info::long_running() const noexcept {
  if (!is_resource) return false;
  return verb == "watch" || subresource == "attach" || subresource == "exec" || subresource == "proxy" ||
         subresource == "log" || subresource == "portforward";
}

request_info parse_request(std::string_view method, std::string_view path, const query_values& query) {
  request_info r;
  r.verb = lower(method);
  r.path = "/";
  auto parts = cut(path);
  if (!parts) {
    r.path = path;
    r.malformed = true;
    return r;
  }
  r.path.reserve(path.size());
  for (auto& part : *parts) {
    if (r.path.size() > 1) r.path += '/';
    r.path += part.text;
  }
  auto is_resource = [&] {
    auto& p = *parts;
    return (p.size() >= 3 && p[0].text == "api") || (p.size() >= 4 && p[0].text == "apis");
  };
  if (!is_resource()) {
    for (auto& part : *parts) r.malformed |= part.text.empty();
    return r;
  }
  std::size_t at = 1;
  if ((*parts)[0].text == "apis") r.api_group = (*parts)[at++].text;
  r.is_resource = true;
  r.api_version = (*parts)[at++].text;
  auto verb = verb_of(method);
  r.verb = verb;
  parse_resource_path(path, *parts, at, query, r);
  // A proxy takes every method that there is.
  const bool proxied = r.subresource == "proxy";
  r.bad_method = proxied ? verb.empty() && method != "OPTIONS"
                         : verb.empty() || method == "HEAD" || (r.verb == "watch" && method != "GET");
  return r;
}

api_result<std::optional<std::uint64_t>> parse_resource_version(std::string_view text) {
  if (text.empty()) return std::optional<std::uint64_t>();
  if (auto n = parse_uint(text)) return std::optional<std::uint64_t>(*n);
  auto why = fmt::format("strconv.ParseUint: parsing {}: {}", quote(text),
                         all_digits(text) ? "value out of range" : "invalid syntax");
  return fail(
      bad_request(fmt::format("invalid resource version: resourceVersion: Invalid value: {}: {}", quote(text), why)));
}

namespace {

std::vector<cause> check_list_options(const list_options& o, bool as_watch) {
  std::vector<cause> out;
  const bool has_match = !o.resource_version_match.empty();
  if (as_watch) {
    if (o.send_initial_events) {
      if (!has_match)
        out.push_back(forbidden_value("resourceVersionMatch",
                                      "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
      else if (o.resource_version_match != "NotOlderThan")
        out.push_back(not_supported("resourceVersionMatch", o.resource_version_match, {"NotOlderThan"}));
    } else if (has_match) {
      out.push_back(forbidden_value(
          "resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"));
    }
    return out;
  }
  if (has_match) {
    if (o.resource_version.empty())
      out.push_back(forbidden_value("resourceVersionMatch",
                                    "resourceVersionMatch is forbidden unless resourceVersion is provided"));
    if (!o.continue_token.empty())
      out.push_back(
          forbidden_value("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"));
    if (o.resource_version_match != "Exact" && o.resource_version_match != "NotOlderThan")
      out.push_back(not_supported("resourceVersionMatch", o.resource_version_match, {"Exact", "NotOlderThan"}));
    if (o.resource_version_match == "Exact" && o.resource_version == "0")
      out.push_back(forbidden_value("resourceVersionMatch",
                                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
  }
  if (o.send_initial_events)
    out.push_back(forbidden_value("sendInitialEvents", "sendInitialEvents is forbidden for list"));
  return out;
}

}  // namespace

api_result<list_options> parse_list_options(const query_values& q, bool as_watch) {
  list_options o;
  o.label_selector = q.get("labelSelector");
  o.field_selector = q.get("fieldSelector");
  o.watch = as_watch;
  o.allow_bookmarks = q.flag("allowWatchBookmarks");
  o.resource_version = q.get("resourceVersion");
  o.resource_version_match = q.get("resourceVersionMatch");
  o.continue_token = q.get("continue");
  o.send_initial_events = q.optional_flag("sendInitialEvents");
  KEDGE_TRY(o.timeout_seconds, q.integer("timeoutSeconds"));
  KEDGE_TRY(auto limit, q.integer("limit"));
  o.limit = limit && *limit > 0 ? *limit : 0;
  if (auto causes = check_list_options(o, as_watch); !causes.empty())
    return fail(invalid("meta.k8s.io", "ListOptions", "", std::move(causes)));
  return o;
}

api_result<write_options> parse_write_options(const query_values& q, std::string_view kind) {
  write_options o;
  std::vector<cause> causes;
  auto dry = q.all("dryRun");
  for (auto& d : dry) {
    if (d == "All") {
      o.dry_run = true;
      continue;
    }
    json::array all;
    for (auto& x : dry) all.emplace_back(x);
    causes.push_back(not_supported("dryRun", std::move(all), {"All"}));
    break;
  }
  o.field_manager = q.get("fieldManager");
  if (o.field_manager.size() > 128) causes.push_back(too_long("fieldManager", 128));
  for (unsigned char c : o.field_manager)
    if (c < 0x20 || c == 0x7f) {
      causes.push_back(invalid_value("fieldManager", o.field_manager, "should only contain printable characters"));
      break;
    }
  auto validation = q.get("fieldValidation");
  o.asked_validation = validation;
  if (validation == "Ignore")
    o.validation = field_validation::ignore;
  else if (validation == "Strict")
    o.validation = field_validation::strict;
  else if (!validation.empty() && validation != "Warn")
    causes.push_back(not_supported("fieldValidation", validation, {"Ignore", "Strict", "Warn"}));
  o.has_force = q.has("force");
  o.force = q.flag("force");
  if (!causes.empty()) return fail(invalid("meta.k8s.io", kind, "", std::move(causes)));
  return o;
}

api_result<std::int64_t> parse_timeout_ms(const query_values& q, duration longest) {
  const auto most = std::chrono::duration_cast<std::chrono::milliseconds>(longest).count();
  auto text = q.get("timeout");
  if (text.empty()) return most;
  auto d = parse_duration(text);
  if (!d)
    return fail(bad_request(
        fmt::format("invalid timeout specified in the request URL - time: invalid duration {}", quote(text))));
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(*d).count();
  return ms <= 0 || ms > most ? most : ms;
}

}  // namespace kedge::api
