// allocations.h: what pods of this node were given of its CPU and memory, and what their containers have of that by now
// (KEP-1287). The first is what counts for everybody else; a pod that asks for something else waits until it is given.
//
//   admission, a resize that fits ─▶ allocate ─▶ allocated_pods_state      a container that was changed ─▶ actuated ─▶
//   actuated_pods_state
//
// Both are the kubelet's files. What a container was made with is told by itself (note_resources), so that the second
// names only those that were changed while they ran, and pods that say what they have as a whole.
#pragma once

#include <set>
#include <string>

#include "node/offline/checkpoint_file.h"
#include "node/pods/allocation_ledger.h"
#include "reactor/sync.h"
#include "reactor/task.h"

namespace kedge::node {

class pod_allocations {
 public:
  // `folder`: where the files are.
  explicit pod_allocations(std::string folder);
  pod_allocations(const pod_allocations&) = delete;
  pod_allocations& operator=(const pod_allocations&) = delete;

  // Reads what was kept. Once, before anything else.
  task<void> begin();
  // Keeps what changes, until dropped. Once.
  task<void> run();
  // Returns when all that was said before is on the disk, or a warning says why not.
  task<void> save();

  // See allocation_ledger::find; good until the next change.
  const json::value* allocated(std::string_view uid) const { return allocated_.ledger.find(uid); }
  void allocate(const json::value& pod);  // all that it asks for
  // What a running container was changed to; null: it has what it was made with.
  const json::value* actuated(std::string_view uid, std::string_view container) const {
    return actuated_.ledger.find(uid, container);
  }
  void actuate(std::string_view uid, std::string_view container, json::value resources);
  // What a pod's group has as the pod says it of itself; null: nobody knows.
  const json::value* actuated_whole(std::string_view uid) const { return actuated_.ledger.find_whole(uid); }
  void actuate_whole(std::string_view uid, json::value resources);
  // It is made anew. Whether that has to be saved first.
  bool forget_container(std::string_view uid, std::string_view container);
  void forget(std::string_view uid);
  void keep_only(const std::set<std::string, std::less<>>& uids);

 private:
  struct kept {
    checkpoint_file file;
    allocation_ledger ledger = {};
  };
  task<void> read(kept& k);

  kept allocated_, actuated_;
  reactor::event changed_;
};

}  // namespace kedge::node
