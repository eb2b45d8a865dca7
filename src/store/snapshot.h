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
  // Empty for a snapshot that was never made.
  static indexed_tree objects(const snapshot& s);
};

}  // namespace kedge::store
