// allocation_ledger.h: pods' resources by their uids, as the kubelet keeps them in files (allocated_pods_state,
// actuated_pods_state: pkg/kubelet/allocation/state). Values, no I/O.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "json/value.h"

namespace kedge::node {

class allocation_ledger {
 public:
  // {"ContainerResources": {"main": {"limits": …, "requests": …}}, "PodLevelResources": …}; null: nothing is kept of
  // it. Good until the next change.
  const json::value* find(std::string_view uid) const;
  void set(std::string_view uid, json::value resources);
  // Of one container.
  const json::value* find(std::string_view uid, std::string_view container) const;
  void set(std::string_view uid, std::string_view container, json::value resources);
  // Of the pod as a whole; null: nothing is kept of that.
  const json::value* find_whole(std::string_view uid) const;
  void set_whole(std::string_view uid, json::value resources);
  // Whether there was something.
  bool erase(std::string_view uid, std::string_view container);
  bool erase(std::string_view uid);
  bool keep_only(const std::set<std::string, std::less<>>& uids);

  // The kubelet's file, with its checksum.
  std::string checkpoint() const;
  // errc::corrupt: it isn't as it was written.
  result<void> restore(std::string_view text);

 private:
  std::map<std::string, json::value, std::less<>> pods_;
};

}  // namespace kedge::node
