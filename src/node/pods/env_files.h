// env_files.h: environment variables that come out of files in a pod's emptyDir volumes (fileKeyRef, KEP-3721).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace kedge::node {

// Of lines NAME='value', which may go on over more of them, with comments. nullopt: the name isn't there, or what is
// isn't anything. errc::invalid: the file is of another kind.
result<std::optional<std::string>> find_in_env_file(std::string_view text, std::string_view key);

// The container with such variables as plain ones. `folder` is the pod's. The errors are those of
// CreateContainerConfigError. Blocks: through offload.
result<json::value> with_values_of_files(json::value container, const std::string& folder);

// Whether it has any.
bool has_variables_of_files(const json::value& container);

}  // namespace kedge::node
