// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <cstddef>

namespace kedge::api {

// What is larger is worked on one at a time (storage::take_turn): below this the work on a request is a millisecond or
// two.
inline constexpr std::size_t large_bytes = 128 * 1024;

// Of one list of a pod. A body has room for 900,000 that say nothing, each of which admission gives a mount; etcd would
// store some ten thousand, and no node runs so many.
inline constexpr std::size_t containers_max = 4'096;

// A name made from generateName: base cut to 58, 5 random characters, at most 8 tries.
inline constexpr std::size_t generated_base_max = 58;
inline constexpr int generate_name_tries = 8;

// Internal retries of a patch or unconditional update that lost a race.
inline constexpr int conflict_tries = 5;
// Of a create whose namespace was changed before it landed: somebody who labels it all the time holds nobody up.
inline constexpr int namespace_tries = 16;

}  // namespace kedge::api
