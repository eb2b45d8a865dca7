// trust_config.h: the ConfigMap kube-system/extension-apiserver-authentication, by which other API servers know whom
// this cluster trusts. Pure.
#pragma once

#include "json/value.h"

namespace kedge::api {

inline constexpr std::string_view trust_config_name = "extension-apiserver-authentication";

// Puts what this server trusts into the ConfigMap's data beside what other servers put there: certificates and lists
// add up. False when it is all there. What can't be read is replaced.
bool add_trust(json::value& config_map, const json::value& own_data);

}  // namespace kedge::api
