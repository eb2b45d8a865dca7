// instance.h: which API server of the cluster this is, as kube-apiserver names itself by its machine.
#pragma once

#include <string>
#include <string_view>

namespace kedge::server {

// "apiserver-…". `process`: <host>_<uuid>.
std::string instance_of(std::string_view process);
// As labels tell names that are nobody's business: "sha256:…"; empty of nothing.
std::string label_hash(std::string_view name);

}  // namespace kedge::server
