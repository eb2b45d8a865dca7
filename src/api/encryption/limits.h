// limits.h: the bounds of this room, with the reason for each number. Kubernetes' own decide what its other servers
// read.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::api::encryption {

// --- what a plugin says (k8s.io/kms v2): of a key's id, of an encrypted seed, of all annotations.
inline constexpr std::size_t key_id_max_bytes = 1024;
inline constexpr std::size_t encrypted_seed_max_bytes = 1024;
inline constexpr std::size_t annotations_max_bytes = 32 * 1024;
// Its messages hold no more than these.
inline constexpr std::size_t plugin_message_max_bytes = 64 * 1024;
// Of a call, unless the configuration says otherwise.
inline constexpr std::chrono::seconds plugin_timeout{3};

// Between two looks at a plugin that was well, and at one that wasn't: what kube-apiserver's health checks give.
inline constexpr std::chrono::seconds plugin_look_again{20}, plugin_look_again_ill{3};
// How long values may still be sealed with a key after the plugin was last well.
inline constexpr std::chrono::minutes seed_write_time{3};
// How long a changed configuration's plugins have to be well before it counts.
inline constexpr std::chrono::seconds reload_patience{10};
// Between two attempts to have a key opened that values which are there need.
inline constexpr std::chrono::seconds fetch_pause{1};
// A key that a plugin doesn't open is asked for as often as this before its values count as lost: plugins answer in the
// same words when they stumble. With this between.
inline constexpr int refused_tries = 3;
inline constexpr std::chrono::milliseconds refused_pause{200};

// Seeds that are remembered, some hundred bytes each: one for each start of a server and each key of the plugin, of
// which a datastore holds some dozens. More than a page of the log has entries.
inline constexpr std::size_t seeds_max = 16'384;

}  // namespace kedge::api::encryption
