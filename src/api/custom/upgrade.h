// upgrade.h: objects that an older API version is stored in, as kube-apiserver does: it keeps CustomResourceDefinitions
// as apiextensions.k8s.io/v1beta1 to this day. The store calls this for what it reads from a database.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "json/value.h"

namespace kedge::api::custom {

// The canonical text in the served version; nullopt for what needs no change.
std::optional<std::string> upgrade_stored(std::string_view key, std::string_view text);

// apiextensions.k8s.io/v1beta1 to v1, in place.
void upgrade_definition(json::value& crd);

}  // namespace kedge::api::custom
