// bolt_file.h: one value out of etcd's database file, as go.etcd.io/bbolt writes it (format version 2).
//
//   two meta pages, the newer one that is whole ─▶ the tree of buckets ─▶ a bucket's own tree ─▶ the key
//
// Only what the trees lead to counts: the file is full of pages that are free or hold what users have stored.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kedge::server {

// The value of that key in that bucket of the top. Nothing: there is none, or the file can't be read as such. Blocking;
// reads some pages.
std::optional<std::string> read_bolt(const std::string& file, std::string_view bucket, std::string_view key);

}  // namespace kedge::server
