// claims.h: the claims of a StatefulSet's pods: "data-db-0" of the template "data" of the set "db", and who owns them
// by the retention policy (KEP-1847). Pure.
#pragma once

#include <string_view>
#include <vector>

#include "control/plan.h"
#include "control/view.h"

namespace kedge::control {

// The number behind the last dash of a pod's name; -1: none.
std::int64_t ordinal_of(const json::value& pod) noexcept;
// What is before it; empty without a number.
std::string_view parent_of(const json::value& pod) noexcept;

// The claims that the set's templates give a pod.
std::vector<json::value> claims_of(const json::value& set, std::int64_t ordinal);
// Whether the pod's volumes are those claims; and makes them so.
bool uses_claims(const json::value& pod, const json::value& set, std::int64_t ordinal);
void use_claims(json::value& pod_spec, const json::value& set, std::int64_t ordinal);

// A claim that still belongs to an earlier pod of this name, and goes with it.
bool claim_is_stale(const view& cluster, const json::value& set, const json::value& pod, std::int64_t ordinal);
// Updates of the claims whose owners aren't what the retention policy says; a claim that somebody else manages is told
// of in `p`.
std::vector<change> claim_owners(const view& cluster, const json::value& set, const json::value& pod,
                                 std::int64_t ordinal, plan& p);

}  // namespace kedge::control
