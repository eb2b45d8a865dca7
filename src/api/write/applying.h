// applying.h: server-side apply (KEP-555): a PATCH of type application/apply-patch+yaml, and who owns which fields.
//
//   patch ─▶ checks ─▶ schema::apply::apply (merge, prune, conflicts) ─▶ storage::update as any other change
//                 └─ no such object ─▶ storage::create
//
// Every object is tracked from its creation on, as by kube-apiserver: who writes without applying gets an Update entry.
// Objects without managedFields (after a reset, or from another cluster) stay untracked until they are applied.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/write/storage.h"

namespace kedge::api {

inline constexpr std::string_view apply_patch_type = "application/apply-patch+yaml";
bool is_apply_patch(std::string_view content_type) noexcept;

// What a PATCH of this type must have in its options: 422.
api_result<void> check_patch_options(const write_options& options, bool applies);

// Who a write is by: fieldManager, or the User-Agent up to its first slash; empty when neither says.
std::string manager_of(const write_options& options, std::string_view user_agent);

struct apply_request {
  part changes = part::whole;
  std::string body;  // YAML or JSON
};
// c.may_create is asked when the object is not there yet.
task<api_result<written>> serve_apply(storage& to, apply_request q, call& c);

// The same through the scale subresource: `replicas` is where the object has them, as the names of its members.
task<api_result<written>> serve_scale_apply(storage& to, apply_request q, const std::vector<std::string>& replicas,
                                            call& c);

// metadata.managedFields of an object about to be created: what an apply found (which leaves the call), or an entry for
// the writer. Takes what the writer sent out of `object`.
task<json::value> ownership_of_new(const served& s, json::value& object, call& c);

// The same for a change, of values in the served version: `held` is what the object has, `asked` what the writer sent.
// None of them is changed.
task<json::value> ownership_after(const served& s, json::value& before, json::value& after, json::value& held,
                                  json::value& asked, part what, call& c);

// metadata.managedFields, which leaves `object`.
json::value take_ownership(json::value& object);

}  // namespace kedge::api
