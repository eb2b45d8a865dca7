// subresources.h: subresources whose body is not the object: scale, binding, eviction, token. And patch documents.
#pragma once

#include <functional>

#include "api/body.h"
#include "api/storage.h"

namespace kedge::api {

// What a PUT or PATCH on this subresource may change.
part part_of(std::string_view subresource) noexcept;

struct patch_document {
  patch_kind kind = patch_kind::json;
  json::value patch;
  json::duplicate_list duplicates;
};
// By Content-Type: JSON, merge and strategic merge patches. 415, 400.
api_result<patch_document> parse_patch(std::string_view content_type, std::string_view text);

struct subresource_request {
  storage& store;
  const served& what;
  const served_subresource& sub;
  const request_info& info;
  std::string_view body;
  wire format = wire::json;
  std::string_view content_type;
};

task<api_result<written>> serve_scale(subresource_request q, call& c);
// pods/binding and pods/eviction.
task<api_result<written>> serve_pod_action(subresource_request q, call& c);
using virtual_create = std::function<api_result<json::value>(const attributes&, const json::value& body, const store::snapshot&)>;
task<api_result<written>> serve_token(subresource_request q, call& c, const virtual_create& create);

task<api_result<written>> bind_pod(storage& s, const served& pods, std::string ns, std::string name, json::value binding, call& c);

}  // namespace kedge::api
