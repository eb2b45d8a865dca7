// documents.h: what other servers say that they serve, as it is merged into what this one says. Pure.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/aggregation/services.h"
#include "api/publish/discovery.h"
#include "json/value.h"

namespace kedge::api::aggregation {

// What was fetched for one API service. Immutable, for any core.
struct service_documents {
  bool fresh = false;                             // the server answered when it was asked last
  json::array resources;                          // of its version, as aggregated discovery has them
  std::map<std::string, std::string> openapi_v3;  // "apis/G/V" → where that document is
  json::object v2_paths, v2_definitions;          // below its version, and what these refer to
  std::string v2_digest;                          // of both
};
// By the API service's name; one that was not asked yet isn't there.
using documents = std::map<std::string, std::shared_ptr<const service_documents>, std::less<>>;

// The resources of a group's version in an APIGroupDiscoveryList; nullopt: it isn't in it.
std::optional<json::array> resources_in(const json::value& discovery, std::string_view group, std::string_view version);
// The same from an APIResourceList, as older servers answer.
json::array resources_of_list(const json::value& list);
// Leaves the first of them, resources_max_bytes at most. Whether that are all.
bool cut_resources(json::array& all);
// The part of an index that is about a group's version.
std::map<std::string, std::string> openapi_v3_part(const json::value& index, std::string_view group,
                                                   std::string_view version);
// The part of a Swagger document that is below `path` ("/apis/G/V"), with the definitions that it needs.
void take_openapi_v2(service_documents& into, const json::value& swagger, std::string_view path);

// What discovery is told of others.
std::vector<other_version> versions_of(const service_table& all, const documents& fetched);

// The server's own documents with those of others in them; what is there already stays as it is.
std::string with_openapi_v3(std::string index, const documents& fetched);
std::string with_openapi_v2(std::string own, const documents& fetched);
std::string with_openapi_v2_protobuf(std::string own, const documents& fetched, std::string_view version);
// Hex digits; another one whenever the others' part of the v2 document is; empty without one.
std::string openapi_v2_mark(const documents& fetched);
// The API service whose server has a v3 document ("apis/G/V"); empty: none.
std::string openapi_v3_owner(const documents& fetched, std::string_view path);

}  // namespace kedge::api::aggregation
