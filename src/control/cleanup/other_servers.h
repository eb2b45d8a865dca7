// other_servers.h: asking the API servers behind this one, over the API, as anybody asks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/aggregation/services.h"
#include "control/shell.h"

namespace kedge::control {

// Of all groups, the preferred version of a group first.
std::vector<api::aggregation::api_service> other_services(const store::snapshot& cluster);

// Of a resource as discovery tells it.
bool has_verb(const json::value& resource, std::string_view verb);

// The answer as a value; an error tells why there is none. errc::not_found: there is no such path or method.
task<result<json::value>> ask_other(shell& s, api::raw_request q);
inline task<result<json::value>> ask_other(shell& s, std::string path, std::string method = "GET") {
  return ask_other(s, {.path = std::move(path), .method = std::move(method)});
}

}  // namespace kedge::control
