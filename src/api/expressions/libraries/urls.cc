#include "api/expressions/libraries/libraries.h"
#include "api/expressions/libraries/url.h"

namespace kedge::api::expressions {

namespace {

using cel::value;
using args = std::span<const value>;

const cel::type& url_type() {
  static const cel::type t = cel::type::object("kubernetes.URL");
  return t;
}

value to_url(args a, cel::arena& memory) {
  auto parts = parse_request_url(a[0].as_text());
  if (!parts) return value::error(memory, "URL parse error during conversion from string: " + parts.error());
  return own(url_type(), std::move(*parts), memory);
}

value is_url(args a, cel::arena&) { return value::boolean(parse_request_url(a[0].as_text()).has_value()); }

const url_parts& of(args a) { return content_of<url_parts>(a[0]); }

value scheme(args a, cel::arena&) { return value::string(of(a).scheme); }
value host(args a, cel::arena&) { return value::string(of(a).host); }
value hostname(args a, cel::arena& memory) { return value::string(memory.copy(hostname_of(of(a)))); }
value port(args a, cel::arena& memory) { return value::string(memory.copy(port_of(of(a)))); }
value escaped_path(args a, cel::arena&) { return value::string(of(a).escaped_path); }

value query(args a, cel::arena& memory) {
  std::vector<std::pair<value, value>> entries;
  for (const auto& [name, values] : query_of(of(a))) {
    std::vector<value> list;
    for (const std::string& v : values) list.push_back(value::string(memory.copy(v)));
    entries.emplace_back(value::string(memory.copy(name)), value::list(memory, list));
  }
  return value::map(memory, entries);
}

}  // namespace

void add_urls(cel::environment::builder& b) {
  const cel::type &string = cel::type::string(), &url = url_type();
  b.function({"url", {global("string_to_url", {string}, url, to_url)}});
  b.function({"isURL", {global("is_url_string", {string}, cel::type::boolean(), is_url)}});
  b.function({"getScheme", {method("url_get_scheme", {url}, string, scheme)}});
  b.function({"getHost", {method("url_get_host", {url}, string, host)}});
  b.function({"getHostname", {method("url_get_hostname", {url}, string, hostname)}});
  b.function({"getPort", {method("url_get_port", {url}, string, port)}});
  b.function({"getEscapedPath", {method("url_get_escaped_path", {url}, string, escaped_path)}});
  b.function({"getQuery", {method("url_get_query", {url}, cel::type::map(string, cel::type::list(string)), query)}});
}

}  // namespace kedge::api::expressions
