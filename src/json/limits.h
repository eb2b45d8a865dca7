// limits.h: the bounds of this folder.
#pragma once

#include <cstddef>

namespace kedge::json {

// A parser that grew beyond this is dropped after use: a 3 MiB body must not pin its 40 MB of scratch memory to a core.
inline constexpr std::size_t parser_kept_bytes = 64 * 1024;

// What a YAML document's aliases may expand to, all together. Far above any manifest, far below what a "billion laughs"
// document needs to hurt.
inline constexpr std::size_t alias_nodes_max = 100'000;
inline constexpr std::size_t alias_bytes_max = 8 * 1024 * 1024;

// Documents in one YAML stream (a folder of manifests joined together has hundreds).
inline constexpr std::size_t yaml_documents_max = 10'000;

// kube-apiserver's limits on a JSON patch: operations, and bytes that its `copy` operations may add up to.
inline constexpr std::size_t patch_operations_max = 10'000;
inline constexpr std::size_t patch_copied_bytes_max = 3 * 1024 * 1024;

// Elements and members that the operations of a JSON patch may move or walk through, all together: each insertion at
// the front of a list moves the whole list. Ten thousand insertions into a list of a thousand; 0.1 s.
inline constexpr std::size_t patch_moves_max = 10'000'000;

// Duplicate members that are named, and how much of the way to each: a body of 3 MB can hold 300,000 of them, below a
// name of 1 MB. kube-apiserver names as many.
inline constexpr std::size_t duplicates_named_max = 100;
inline constexpr std::size_t place_bytes_max = 1'024;

// A JSON patch may not nest deeper than this by repeated `add` and `copy`; same number as the parser's default.
inline constexpr std::size_t patched_depth_max = 512;

}  // namespace kedge::json
