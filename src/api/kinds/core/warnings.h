// warnings.h: what several kinds warn of: labels of nodes that have new names, addresses in a form that will be
// refused.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"
#include "meta/place.h"

namespace kedge::api {

using warnings = std::vector<std::string>;

// "deprecated since v1.14; use …"; empty for labels that are good.
std::string_view deprecated_node_label(std::string_view key) noexcept;
// Keys of a node selector's term. `values`: they must be labels' values, else a warning says so.
void warn_node_selector_term(warnings& out, const json::value& term, const place& at, bool values);

// Of an address or a range that was found valid.
void warn_ip(warnings& out, std::string_view text, const place& at);
void warn_cidr(warnings& out, std::string_view text, const place& at);
// metadata.name of what pods are named by, when it is no DNS label. `what`: "Pod names and hostnames".
void warn_name(warnings& out, const json::value& o, std::string_view what);

}  // namespace kedge::api
