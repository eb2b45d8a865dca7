// loading.h: a start: what exists, from the log into memory.
//
//   read_what_exists ─▶ (the log begins: from here on it may be written) ─▶ read_the_rest ─▶ objects
//
// What was is left in the log: it may be many times as much, and is read from there by who asks for it (past.h).
#pragma once

#include <unordered_map>

#include "store/indexed_tree.h"
#include "store/seen.h"
#include "store/settled.h"
#include "store/stored_values.h"

namespace kedge::store {

class loader {
 public:
  // All must outlive this.
  loader(const store_options& options, stored_values& values, std::shared_ptr<const index_list> indexes)
      : objects(std::move(indexes)), options_(options), values_(values) {}

  // Between the log's open() and its begin().
  task<result<void>> read_what_exists();
  // After that: what came meanwhile, and what could not be opened yet.
  task<result<void>> read_the_rest();

  indexed_tree objects;
  revision at = 0, compacted = 0;
  revision loss_told = 0;          // up to where another server says that it had seen what was lost
  seen_entry newest;               // of what exists
  std::vector<object_ref> leased;  // some may have been replaced since

 private:
  task<result<void>> read_pages();
  void note_newest(const datastore::page& p);
  void load(const datastore::entry& e);
  void open_some();

  const store_options& options_;
  stored_values& values_;
  settled_heap settled_;
  std::unordered_map<std::string, datastore::entry> sealed_;  // what can't be opened yet: its key may come after it
};

}  // namespace kedge::store
