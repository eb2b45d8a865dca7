// snapshot.h: the inside of snapshots, for store/ only.
#pragma once

#include "store/tree.h"

namespace kedge::store {

struct snapshot::state {
  revision at = 0;
  tree objects;
};

class store_access {
 public:
  static snapshot make(revision at, tree objects);
  // Empty for a snapshot that was never made.
  static tree objects(const snapshot& s);
};

}  // namespace kedge::store
