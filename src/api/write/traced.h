// traced.h: what a trace tells of a write in the store, by the names that kube-apiserver's storage has.
#pragma once

#include <string_view>

#include "api/write/storage.h"

namespace kedge::api {

// "Create etcd3", of the object with that key.
tracing::live_span storage_span(const call& c, std::string_view name, std::string_view key);

}  // namespace kedge::api
