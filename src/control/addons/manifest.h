// manifest.h: the objects that a manifest's text has, YAML in documents or JSON, as K3s reads them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"

namespace kedge::control::addons {

struct manifest {
  std::vector<json::value> objects;   // lists unfolded; each has apiVersion and kind
  std::vector<std::string> problems;  // of documents that have none: "document 3: …"
};

// One bad document is no reason to leave out the others.
manifest read_manifest(std::string_view text);

}  // namespace kedge::control::addons
