// codec.h: custom resources between the wire, the store and their versions. Where a webhook converts between those,
// conversion.h comes first: here only the apiVersion changes.
#pragma once

#include <string>
#include <vector>

#include "api/custom/definition.h"
#include "api/request/request.h"
#include "base/time.h"
#include "json/parse.h"
#include "reactor/task.h"

namespace kedge::api::custom {

// A body or a patched object, as body.h's decode_body: apiVersion and kind must be there, metadata is decoded, what the
// schema doesn't know is pruned, and told as `validation` says.
api_result<json::value> decode(const served& s, json::value v, field_validation validation,
                               json::duplicate_list duplicates, std::vector<std::string>& warnings, bool for_patch);

// kind, apiVersion and metadata first, metadata canonical, all other members sorted by name at every level: equal
// objects have equal bytes.
void canonicalise(const served& s, json::value& object);

// An object as stored (in whatever version) brought to `s`: pruned and defaulted by today's schemas.
void bring_to(const served& s, json::value& stored);
// Whether the stored bytes tell the object in the version of `s`.
bool is_in_version(const served& s, const store::object& o) noexcept;
// Whether the stored bytes are already what a client of `s` should see.
bool is_ready(const served& s, const store::object& o) noexcept;

// The value of a field that a selector may name, as a client of `s` sees it. A view of the text, or of `buffer`.
std::string_view field_text(const served& s, const selectable_field& field, const store::object& o,
                            std::string& buffer);

// Whether the definition is gone or going in this state of the cluster, which may be newer than the tables: then no
// object may be created, for nobody would remove it.
bool is_ending(const definition& d, const store::snapshot& cluster);

// By the schema, its rules among it, with others' turns between two of those. `warnings`: what is wrong, and was so
// before. All that is given outlives it.
task<void> validate(causes& out, std::vector<std::string>& warnings, const served& s, const json::value& object,
                    const json::value* before);
// The same in one go, on whatever thread.
void validate_at_once(causes& out, std::vector<std::string>& warnings, const served& s, const json::value& object,
                      const json::value* before);

// Texts for Warning headers: finalizers that are new and that another one could mean otherwise.
void warn(std::vector<std::string>& out, const json::value& object, const json::value* before);

// The cells of a Table row.
json::array cells(const served& s, const json::value& object, wall_time now);

// The autoscaling/v1 Scale of an object, and the object with a Scale's replicas.
json::value scale_of(const served& s, const json::value& object);
void set_replicas(const served& s, json::value& object, std::int64_t replicas);

}  // namespace kedge::api::custom
