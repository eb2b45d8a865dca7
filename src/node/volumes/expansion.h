// expansion.h: a claim's volume that has grown where it is, and whose file system this node grows (NodeExpandVolume).
// Pure: what the claim says, and what it is to say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "json/value.h"

namespace kedge::node {

struct volume_growth {
  std::int64_t bytes = 0;
  bool claim_is_done = false;  // it says so already: grown on another node
};
// Whether a volume that this node has at `known_bytes` (0: not known) is to be grown here.
std::optional<volume_growth> growth_of(const json::value& claim, const json::value& volume, std::int64_t known_bytes);

// Merge patches of the claim's status.
json::value growth_begun(const json::value& claim);
json::value growth_done(const json::value& claim);
// `infeasible`: not to be tried again with this size. `now`: of the condition, as RFC 3339.
json::value growth_failed(const json::value& claim, std::string_view why, bool infeasible, std::string_view now);

}  // namespace kedge::node
