// limits.h: what expressions may cost. The numbers are Kubernetes' (apiserver/pkg/apis/cel, apiextensions validation):
// they decide which objects and definitions are accepted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::api::expressions {

// One evaluation.
inline constexpr std::uint64_t call_budget = 1'000'000;
// Variables that are computed within each other, which takes stack: more than people write. Deeper ones are computed
// first.
inline constexpr int variables_depth_max = 8;
// All evaluations for one object: of a custom resource's rules, of a policy's binding.
inline constexpr std::uint64_t object_budget = 10'000'000;
// All match conditions of a webhook or a policy, for one request.
inline constexpr std::uint64_t match_conditions_budget = 2'500'000;
// What one rule of a definition, and all of one schema, may cost by the estimate.
inline constexpr std::uint64_t rule_cost_max = 10'000'000;
inline constexpr std::uint64_t schema_cost_max = 100'000'000;
// A message that an expression gives.
inline constexpr std::size_t message_max_bytes = 5 * 1024;
// What is told of a variable that failed through those that build on it: some twenty of them.
inline constexpr std::size_t told_through_max_bytes = 1024;
// The largest request, by which the size of data without bounds is estimated.
inline constexpr std::int64_t request_max_bytes = std::int64_t{3} * 1024 * 1024;
// Levels of schemas that are looked into.
inline constexpr int schema_depth_max = 200;

}  // namespace kedge::api::expressions
