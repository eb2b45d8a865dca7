// write.h: values to JSON and YAML text.
#pragma once

#include <string>
#include <string_view>

#include "json/value.h"

namespace kedge::json {

// Compact, with Go's escaping (encoding/json with HTML escaping off: control characters, quote, backslash; invalid
// UTF-8 becomes U+FFFD; U+2028/2029 escaped). Doubles print as Go prints float64.
void write(const value& v, std::string& out);
std::string write(const value& v);
// The beginning of it: little more than `bytes`, with "..." where it was cut. Takes no longer than that needs.
std::string write_beginning(const value& v, std::size_t bytes);
std::string write_indented(const value& v, int spaces);  // as json.MarshalIndent; no newline at the end
void write_string(std::string_view text, std::string& out);

// Block-style YAML, keys sorted, as sigs.k8s.io/yaml prints it.
std::string write_yaml(const value& v);

}  // namespace kedge::json
