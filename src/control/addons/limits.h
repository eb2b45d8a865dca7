// limits.h: the bounds of this folder.
#pragma once

#include <chrono>
#include <cstddef>

namespace kedge::control::addons {

// A manifest file. The largest bundles of definitions that people deploy have 5 MB.
inline constexpr std::size_t manifest_max_bytes = 32 * 1024 * 1024;
// Documents and list elements of one file: the 10,000 objects, ten times.
inline constexpr std::size_t objects_max = 100'000;
inline constexpr std::size_t list_depth_max = 4;  // lists in lists
// Problems of one file that are told; a file of garbage has one for each line.
inline constexpr std::size_t problems_max = 20;

// Files and folders below the manifests' folder, and how deep: K3s has no bound, and a link to / would never end.
inline constexpr std::size_t entries_max = 20'000;
inline constexpr int depth_max = 32;
// Folders that are watched; the rest waits for the slow look. The kernel's bound is some 8,000 for a user.
inline constexpr std::size_t watches_max = 1'000;

// A look without a sign, as often as K3s's: for file systems that give none (NFS, FUSE).
inline constexpr std::chrono::seconds slow_look{15};
// After a sign, until nothing more comes for so long: files are written one after the other. At most so much in all.
inline constexpr std::chrono::milliseconds settle{50}, settle_max{400};
// A file that failed is tried again after so long, doubling up to the slow look.
inline constexpr std::chrono::milliseconds retry_first{500};

}  // namespace kedge::control::addons
