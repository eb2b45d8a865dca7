// folder.h: the snapshots of one folder. Blocking: on the offload pool.
//
// A file is called <base>-<node>-<Unix time>, as K3s calls its own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace kedge::backup {

struct listed {
  std::string name, path;
  std::uint64_t bytes = 0;
  wall_time created{};
  std::uint64_t objects = 0, revision = 0;
  std::string node, token_id;
  std::string metadata;  // what users have said of it: JSON; empty: nothing
  std::string problem;   // in words; empty: it is whole as far as its ends tell
};
std::string file_name(const std::string& base, const std::string& node, wall_time now);
// errc::invalid: what no file may be called.
result<void> check_name(const std::string& name);

// Newest first, those of K3s's and etcd's too; files that are no snapshots are left out. A folder that isn't there is
// empty.
result<std::vector<listed>> list(const std::string& folder);
// Whether it is a file_name() of what ends the prefix ("base-node-"): a node's name may begin with another's.
bool is_of(std::string_view name, std::string_view prefix);
// Removes all but the newest `keep` of those that are of `prefix`; their names. `keep` 0: removes nothing.
result<std::vector<std::string>> prune(const std::string& folder, const std::string& prefix, std::size_t keep);
// Says something of a snapshot in the folder, where K3s looks for it: .metadata beside the folder. It goes with the
// file.
result<void> write_metadata(const std::string& folder, const std::string& name, std::string_view json);
// Those that were there.
result<std::vector<std::string>> remove(const std::string& folder, const std::vector<std::string>& names);
// Files that a save has left that was cut off, before this server ran.
void clean(const std::string& folder);

}  // namespace kedge::backup
