// save.h: from what a running store shows to a file.
//
// The snapshot is immutable, so writes go on. The loop only walks: a block's objects a turn; deflating, sealing and
// writing are the pool's, a block at a time.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "backup/format.h"
#include "store/store.h"

namespace kedge::backup {

struct save_options {
  std::string path;
  std::string password;  // the cluster's token's
  header about;          // kedge, cluster, node, datastore, token_id; the rest is filled in
};
// How far it is; any thread.
struct progress {
  std::atomic<std::uint64_t> objects = 0, of = 0;
};
struct saved {
  std::uint64_t bytes = 0, objects = 0, revision = 0;
};
// On the loop that the snapshot came from. Dropped: no file is left.
task<result<saved>> save(save_options o, store::snapshot s, std::shared_ptr<progress> told);

// Whether a row says only who lives now, or what the datastore keeps for itself.
bool is_left_out(std::string_view key);

}  // namespace kedge::backup
