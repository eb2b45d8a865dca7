// snapshot.h: the inside of snapshots, for store/ only.
#pragma once

#include "store/indexed_tree.h"

namespace kedge::store {

struct snapshot::state {
  revision at = 0;
  indexed_tree objects;
};

class store_access {
 public:
  static snapshot make(revision at, indexed_tree objects);
  // Null without any. Lives as long as the snapshot.
  static const index_list* indexes(const snapshot& s);
  // Empty for a snapshot that was never made.
  static indexed_tree objects(const snapshot& s);
};

}  // namespace kedge::store
