// limits.h: the bounds of this folder.
#pragma once

#include <cstddef>

namespace kedge::json {

// A parser that grew beyond this is dropped after use: a 3 MiB body must not pin its 40 MB of scratch memory to a core.
inline constexpr std::size_t parser_kept_bytes = 64 * 1024;

// Duplicate keys that are named, as by the decoder of Kubernetes: a hostile body of 3 MiB holds 300,000.
inline constexpr std::size_t duplicates_named_max = 100;

// What a YAML document's aliases may expand to, all together. Far above any manifest, far below what a "billion laughs"
// document needs to hurt.
inline constexpr std::size_t alias_nodes_max = 100'000;
inline constexpr std::size_t alias_bytes_max = 8 * 1024 * 1024;

// Documents in one YAML stream (a folder of manifests joined together has hundreds).
inline constexpr std::size_t yaml_documents_max = 10'000;

// kube-apiserver's limits on a JSON patch: operations, and bytes that its `copy` operations may add up to.
inline constexpr std::size_t patch_operations_max = 10'000;
inline constexpr std::size_t patch_copied_bytes_max = 3 * 1024 * 1024;

// A JSON patch may not nest deeper than this by repeated `add` and `copy`; same number as the parser's default.
inline constexpr std::size_t patched_depth_max = 512;

}  // namespace kedge::json
