// parse.h: JSON text (RFC 8259) and YAML text to values. Sans-I/O, bounded, fuzzed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace kedge::json {

// A member name that stood twice in one object, as Kubernetes names its place: `spec.containers[0].image`. Of YAML,
// where the place is a line, the whole finding as go-yaml words it: `line 9: key "a" already set in map`.
using duplicate_list = std::vector<std::string>;

struct parse_options {
  std::size_t depth_max = 512;  // nested arrays and objects; deeper is errc::invalid
  duplicate_list* duplicates =
      nullptr;  // where to name duplicates; the last value of a duplicate wins (as Go's decoder)
};

// The whole text must be one document. Errors are errc::invalid with what was expected.
result<value> parse(std::string_view text, const parse_options& options = {});

// The first document of a YAML stream, converted as sigs.k8s.io/yaml does: JSON types by YAML 1.1 core scalars of
// go-yaml v2 (yes/no/on/off are booleans), non-string keys become strings, aliases are expanded up to a bound.
result<value> parse_yaml(std::string_view text, const parse_options& options = {});
// Every document of a stream; empty documents are left out.
result<std::vector<value>> parse_yaml_all(std::string_view text, const parse_options& options = {});

}  // namespace kedge::json
