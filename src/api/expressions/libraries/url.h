// url.h: a URL's parts, as Go's net/url takes it apart.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kedge::api::expressions {

struct url_parts {
  std::string scheme, host, escaped_path, query, fragment, user;
  std::string text;  // as it was written
  bool operator==(const url_parts& other) const { return text == other.text; }
};

// Absolute ones only (ParseRequestURI). The error is Go's text: `parse "x": invalid URI for request`.
std::expected<url_parts, std::string> parse_request_url(std::string_view text);

std::string hostname_of(const url_parts& u);
std::string port_of(const url_parts& u);
// Names with their values, in the order in which they came first.
std::vector<std::pair<std::string, std::vector<std::string>>> query_of(const url_parts& u);

}  // namespace kedge::api::expressions
