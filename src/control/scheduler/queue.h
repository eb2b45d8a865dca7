// queue.h: the pods that wait for a place. Pure but for the times that it is given.
//
//   add ─▶ active (priority, then age) ─▶ pop ─▶ tried: placed │ refused by plugins ─▶ unschedulable ─▶ an event that
//   may help ─▶ backoff ─▶ active
//                                                              │ failed otherwise
//                                                              ───────────────────────────────────────────▶ backoff ─▶
//                                                              active
//   gated pods wait beside, until their gates go
//
// Bounded by the number of pods that exist.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <unordered_map>

#include "base/time.h"
#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {

struct queue_limits {
  duration backoff_first = std::chrono::seconds(1), backoff_most = std::chrono::seconds(10);
  // Whoever no event has helped for so long is tried anyway (kube-scheduler's flush).
  duration unschedulable_most = std::chrono::minutes(5);
};

class queue {
 public:
  // Who mustn't be tried yet, and the plugin that says so: it waits until something happens that may help.
  using waits_for = std::function<const plugin*(const pod_view&)>;
  explicit queue(queue_limits limits = {}, waits_for waits = {}) : limits_(limits), waits_(std::move(waits)) {}

  // A pending pod that is new, or changed in what scheduling depends on.
  void add(const pod_ref& p, time_point now);
  void remove(std::string_view key);

  // The next to be tried, now being tried; null when none is ready. It stays known until remove() or refuse() or
  // retry().
  pod_ref pop(time_point now);
  // No node will do; `by` are the plugins that said so (none: any event may help).
  void refuse(const pod_ref& p, std::vector<const plugin*> by, time_point now);
  // The attempt came to nothing for another reason (a write failed): again after its backoff.
  void retry(const pod_ref& p, time_point now);

  // Something happened: those that it may help are tried again. Gives how many.
  std::size_t happened(const cluster_event& e, time_point now);
  // When to look again if nothing happens meanwhile; max() for never.
  time_point next_due() const;

  std::size_t active() const noexcept { return active_.size(); }
  std::size_t backing_off() const noexcept { return due_.size(); }
  std::size_t unschedulable() const noexcept { return refused_.size(); }
  std::size_t gated() const noexcept { return gated_; }
  unsigned attempts(std::string_view key) const;
  // When it came; time_point() when it isn't known.
  time_point since(std::string_view key) const;

 private:
  enum class place : unsigned char { active, backoff, refused, gated, trying };
  struct entry {
    pod_ref pod;
    place at = place::active;
    unsigned attempts = 0, failures = 0;
    time_point since{};  // in the queue, for the order
    time_point backoff_end{};
    time_point refused_at{};
    std::vector<const plugin*> by;
    std::multimap<time_point, entry*>::iterator due;
  };
  struct earlier {
    bool operator()(const entry* a, const entry* b) const noexcept;
  };
  void leave(entry& e);
  void activate(entry& e, time_point now);

  queue_limits limits_;
  waits_for waits_;
  std::unordered_map<std::string, std::unique_ptr<entry>, string_hash, std::equal_to<>> all_;
  std::set<entry*, earlier> active_;
  std::multimap<time_point, entry*> due_;
  std::multimap<time_point, entry*> refused_;  // by when they were refused
  std::size_t gated_ = 0;
};

}  // namespace kedge::control::scheduler
