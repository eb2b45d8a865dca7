// limits.h: bounds of snapshot files.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::backup {

// Objects of one block, together: what a loop copies and a thread deflates in one go, some milliseconds.
inline constexpr std::size_t block_bytes = 256 * 1024;
// And no more than so many, however small: a turn's work.
inline constexpr std::size_t block_objects_max = 512;
// What a reader takes for a block at most: the largest object (3 MiB as protobuf, more as JSON) fits many times.
inline constexpr std::size_t block_bytes_max = 64 * 1024 * 1024;
// CAs and keys, ten to thirty KiB sealed.
inline constexpr std::size_t header_bytes_max = 1024 * 1024;
// Operations of one commit while restoring: a few hundred KiB, as the store's own batches.
inline constexpr std::size_t restore_batch_operations = 256;
inline constexpr std::size_t restore_batch_bytes = 512 * 1024;
// Revisions go on so far above the snapshot's: above all that clients and servers have seen since it was taken (etcd's
// documentation advises the same number).
inline constexpr std::uint64_t restored_revision_jump = 1'000'000'000;
// What users have said of a snapshot: a ConfigMap's data.
inline constexpr std::size_t metadata_bytes_max = 1024 * 1024;
// Files of a folder that are looked at: far more than any schedule keeps.
inline constexpr std::size_t folder_files_max = 10'000;

}  // namespace kedge::backup
