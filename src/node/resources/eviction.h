// eviction.h: when a node is short of something, and which pod then has to go: the kubelet's rules
// (pkg/kubelet/eviction). Pure.
//
//   readings ─▶ pressure_watch: thresholds that are met, since when ─▶ conditions of the Node, and what to make room
//   for pods and what they use ─▶ rank ─▶ the one that goes first, and what it is told
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"
#include "node/kubelet_settings.h"

namespace kedge::node {

// What --eviction-* say, each a list "memory.available<100Mi,nodefs.available<5%" or "memory.available=30s".
result<std::vector<eviction_threshold>> parse_thresholds(std::string_view hard, std::string_view soft,
                                                         std::string_view soft_grace, std::string_view reclaim);
std::string_view name_of(eviction_signal s);  // "memory.available"
// "memory", "ephemeral-storage", "inodes", "pids": as messages name it.
std::string_view resource_of(eviction_signal s);
std::uint64_t amount_of(const eviction_amount& a, std::uint64_t capacity);

struct reading {
  std::uint64_t available = 0, capacity = 0;
};
using readings = std::map<eviction_signal, reading>;  // of what could be read

struct node_pressure {
  bool memory = false, disk = false, pid = false;
  bool any() const { return memory || disk || pid; }
  friend bool operator==(const node_pressure&, const node_pressure&) = default;
};

// One that has to be made room for.
struct met_threshold {
  eviction_threshold what;
  reading seen;
};

class pressure_watch {
 public:
  pressure_watch(std::vector<eviction_threshold> thresholds, duration transition)
      : thresholds_(std::move(thresholds)), transition_(transition) {}
  // Of these readings: those that are met and have been for their grace, memory first.
  std::vector<met_threshold> look(const readings& now_read, time_point now);
  // A condition stays for the transition period after its cause went.
  const node_pressure& pressure() const { return pressure_; }
  // Whether after these readings nothing has to go: more than the threshold is there, by what has to be reclaimed.
  bool is_relieved(const readings& now_read) const;

 private:
  bool is_met(const eviction_threshold& t, const readings& r, bool with_reclaim) const;

  std::vector<eviction_threshold> thresholds_;
  duration transition_;
  std::map<std::size_t, time_point> since_;  // by threshold
  std::set<std::size_t> unresolved_;         // met for their grace, until what has to be reclaimed is
  std::map<int, time_point> seen_at_;        // by condition
  node_pressure pressure_;
};

struct container_load {
  std::string name;
  std::uint64_t memory = 0, disk = 0;
};
// A pod that runs, and what it uses.
struct pod_load {
  const json::value* pod = nullptr;
  std::uint64_t memory = 0, disk = 0, inodes = 0, processes = 0;
  std::vector<container_load> containers;
  std::map<std::string, std::uint64_t, std::less<>> empty_dirs;  // bytes by volume, of those on the disk
};

// Who goes first comes first.
void rank(std::vector<pod_load>& pods, eviction_signal s);
// Static pods and those of the system's priorities stay.
bool is_critical(const json::value& pod);
// Whether a pod says how much of the disk it may take.
bool limits_disk(const json::value& pod);
// What it is told when it takes more than that; empty: it doesn't.
std::string beyond_disk_limits(const pod_load& pod);
// What its status and its event say.
std::string eviction_message(const pod_load& pod, const met_threshold& why);

}  // namespace kedge::node
