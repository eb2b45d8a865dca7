// limits.h: bounds of the volumes that others serve.
#pragma once

#include <cstddef>

#include "base/time.h"

namespace kedge::node {

using namespace std::chrono_literals;

inline constexpr duration csi_deadline = 2min;       // csiTimeout: one call of a driver
inline constexpr duration csi_brief_deadline = 10s;  // of what a driver knows by heart
inline constexpr std::size_t csi_answer_bytes_max = 1024 * 1024;
inline constexpr std::size_t csi_texts_max = 1000;           // entries of a map that a driver gives
inline constexpr std::size_t volume_data_bytes_max = 65536;  // vol_data.json

// How often it is asked whether a volume is attached: after the first of these, doubling up to the last; so long at a
// time.
inline constexpr duration attach_wait = 10s;
inline constexpr duration attach_poll_first = 100ms, attach_poll_most = 2s;
// A write of CSINode or Node that found it changed is done again, so often, each after a pause.
inline constexpr int csi_node_tries = 5;
inline constexpr duration csi_node_pause = 50ms;
inline constexpr std::size_t csi_drivers_max = 100;  // of a node; each is an entry of CSINode

inline constexpr duration figures_interval = 1min;  // volumeStatsAggPeriod
inline constexpr duration figures_pause = 5s;

// What nobody has any more is unstaged as soon as its driver can; tried so often.
inline constexpr duration leftover_retry = 10s;

// mount(8) and umount(8): after that umount is tried by force (unMountTimeout). What they say is an event's.
inline constexpr duration mount_deadline = 2min, unmount_deadline = 1min;
inline constexpr std::size_t mount_output_max = 16 * 1024;

inline constexpr std::size_t snapshot_mounts_max = 16;  // of one snapshot: containerd's have one

}  // namespace kedge::node
