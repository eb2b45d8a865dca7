// subresources.h: subresources whose body is not the object: scale, binding, eviction, token. And patch documents.
#pragma once

#include <functional>

#include "api/write/body.h"
#include "api/write/storage.h"

namespace kedge::api {

// What a PUT or PATCH on this subresource may change.
part part_of(std::string_view subresource) noexcept;

// What a delete says of its object's dependents. `orphan_said`: in the old way, too.
void check_propagation(causes& out, std::string_view policy, bool orphan_said);

struct patch_document {
  patch_kind kind = patch_kind::json;
  json::value patch;
  json::duplicate_list duplicates;
};
// By Content-Type: JSON, merge and strategic merge patches. 415, 400.
api_result<patch_document> parse_patch(std::string_view content_type, std::string_view text);

struct subresource_request {
  storage& store;
  const served_subresource& sub;
  std::string body;
  wire format = wire::json;
  std::string_view content_type;
};

// What admission sees of a connection: the options of its kind (PodExecOptions, NodeProxyOptions …) from the query.
// `rest`: the path behind a proxy.
json::value connect_options(const served_subresource& sub, const query_values& query, std::string_view rest);

task<api_result<written>> serve_scale(subresource_request q, call& c);
// pods/binding and pods/eviction.
task<api_result<written>> serve_pod_action(subresource_request q, call& c);
// What is asked lives until the answer is there.
using virtual_create = std::function<task<api_result<json::value>>(
    const authorized&, const json::value& body, const store::snapshot&, std::vector<std::string>& warnings)>;
task<api_result<written>> serve_token(subresource_request q, call& c, const virtual_create& create);

// Of the pod that `c.to` names; admission has seen the Binding.
task<api_result<written>> bind_pod(storage& s, json::value binding, call& c);

}  // namespace kedge::api
