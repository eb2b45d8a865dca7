// user_namespaces.h: whom the users of pods with hostUsers: false are on the machine: a block of ids a pod, nobody
// else's, as the kubelet's pkg/kubelet/userns has it: what was given stands in the pod's folder, in the kubelet's file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "node/runtime/pod_runtime.h"
#include "reactor/sync.h"
#include "reactor/task.h"

namespace kedge::node {

// What a pod's folder says of its ids, as text. errc::corrupt: it is none that a kubelet wrote.
std::string write_id_range(const id_range& ids);
result<id_range> read_id_range(std::string_view text);
// "0: kubelet 65536 4294901760": the machine's ids for pods, as getsubids tells them.
result<id_range> parse_subordinate_ids(std::string_view text);

// Blocks of ids. Values, no I/O.
class id_blocks {
 public:
  // `all`: the machine's for pods, in blocks of `length`. errc::invalid: it can't be cut into as many as `pods_max`.
  static result<id_blocks> make(const id_range& all, std::uint32_t length, int pods_max);

  // The pod's, or one of its own from now on. errc::exhausted: none is left.
  result<id_range> give(std::string_view uid);
  // The pod has these. errc::conflict: they are no such block, or another's.
  result<void> take(std::string_view uid, const id_range& ids);
  std::optional<id_range> find(std::string_view uid) const;
  void keep_only(const std::function<bool(std::string_view uid)>& is_there);

 private:
  std::uint32_t first_ = 0, count_ = 0, length_ = 0, next_ = 0;  // in blocks but for `length_`
  std::map<std::string, std::uint32_t, std::less<>> given_;      // by uid: the block
  std::set<std::uint32_t> used_;
};

class user_namespaces {
 public:
  struct parts {
    std::string pods;  // "/var/lib/kubelet/pods"
    std::uint32_t ids_per_pod = 65536;
    int pods_max = 110;
    std::function<bool(std::string_view uid)> is_there;  // the pod isn't gone for good
    std::function<bool()> knows_all;                     // whether all pods are known by now
  };
  explicit user_namespaces(parts p) : parts_(std::move(p)) {}

  // Finds out which ids there are, and which pods have them. Once, before all else.
  task<void> begin();
  // The pod's ids; written to its folder before they are told.
  task<result<id_range>> ids_of(std::string uid);

 private:
  parts parts_;
  std::optional<id_blocks> blocks_;  // none: see problem_
  std::string problem_;
  reactor::event begun_;
};

}  // namespace kedge::node
