// bolt_file.h: what is in etcd's database file, as go.etcd.io/bbolt writes it (format version 2).
//
//   two meta pages, the newer one that is whole ─▶ the tree of buckets ─▶ a bucket's own tree ─▶ the key
//
// Only what the trees lead to counts: the file is full of pages that are free or hold what users have stored.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::datastore::etcd {

// The value of that key in that bucket of the top. Nothing: there is none, or the file can't be read as such. Blocking;
// reads some pages.
std::optional<std::string> read_bolt(const std::string& file, std::string_view bucket, std::string_view key);

// Gives every entry of that bucket of the top, in the order of the keys. errc::not_found: there is no such bucket;
// errc::corrupt: the file is damaged, and not all of it could be given. Blocking; a leaf's page is in memory at a time.
result<void> each_in_bolt(const std::string& file, std::string_view bucket,
                          const std::function<result<void>(std::string_view key, std::string_view value)>& give);

// Whether the file begins as such a database does. Blocking.
bool is_bolt(const std::string& file);

}  // namespace kedge::datastore::etcd
