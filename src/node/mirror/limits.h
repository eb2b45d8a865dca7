// limits.h: bounds of images that nodes give each other. containerd waits for each answer, and has the registry to ask
// behind it: a peer of the same network answers within milliseconds, and whoever doesn't isn't asked for a while.
#pragma once

#include <cstddef>

#include "base/time.h"

namespace kedge::node {

using namespace std::chrono_literals;

inline constexpr duration mirror_peer_deadline = 2s;
inline constexpr duration mirror_search_max = 4s;
inline constexpr duration mirror_peer_rest = 30s;
inline constexpr duration mirror_idle_max = 30s;  // of bytes on their way: a peer's disk may be busy
inline constexpr std::size_t mirror_peers_at_once = 8;
// Of those whose Nodes don't list the image: a chance, not a search of a thousand nodes for each layer.
inline constexpr std::size_t mirror_peers_asked_max = 32;
inline constexpr unsigned mirror_attempts_max = 3;  // a peer may have lost it since it said that it has it
// containerd takes three layers of an image at a time, and pulls some images at once; each holds some pieces of 64 KiB
// and, where it leaves, one of a MiB.
inline constexpr std::size_t mirror_streams_max = 64;
inline constexpr std::size_t mirror_manifest_bytes_max = 4 * 1024 * 1024;  // registries' own bound

}  // namespace kedge::node
