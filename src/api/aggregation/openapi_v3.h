// openapi_v3.h: a version 3 document of servers that only have version 2. Pure.
#pragma once

#include <string>
#include <string_view>

#include "api/aggregation/documents.h"

namespace kedge::api::aggregation {

// What was fetched of the server that has no document of its own for "apis/G/V" but a Swagger document; null: none.
const service_documents* swagger_alone(const documents& fetched, std::string_view path);
// "apis/G/V" of a server of that kind; empty: it is none.
std::string path_of_swagger(const service_documents& d);

// Made of the Swagger document's part, as k8s.io/kube-openapi does it.
std::string openapi_v3_of(const service_documents& d);

}  // namespace kedge::api::aggregation
