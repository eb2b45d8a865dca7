// devices_view.h: the cluster's devices as the scheduler sees them: who has them, who wants them, who has got them.
//
//   events ─▶ set_…, remove_… ─▶ pools, classes, claims ─▶ what is taken
//   the scheduler's own decisions ─▶ assume ─▶ written: confirm │ not: forget
//
// Invariant: what is taken is the sum over the claims' allocations and over those that are on their way. Pure, one
// thread.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/expressions/device.h"
#include "base/strings.h"
#include "base/time.h"
#include "control/scheduler/devices/objects.h"

namespace kedge::control::scheduler {

class devices_view {
 public:
  void set_slice(const json::value& object);
  void remove_slice(std::string_view name);
  // By name, of one pool.
  using slices = std::map<std::string, slice_ref, std::less<>>;
  const slices& pool(const pool_id& id) const;
  // Those that can only be reached from `node`; those that say otherwise from where.
  const slices& slices_of(std::string_view node) const;
  const slices& shared_slices() const noexcept { return shared_; }

  void set_class(const json::value& object);
  void remove_class(std::string_view name);
  class_ref find_class(std::string_view name) const;

  void set_rule(const json::value& object);
  void remove_rule(std::string_view name);
  const std::map<std::string, taint_rule, std::less<>>& rules() const noexcept { return rules_; }

  // What an event, or an answer to a write, says; an older version than is known changes nothing.
  void set_claim(const json::value& object);
  void remove_claim(std::string_view ns, std::string_view name);
  device_claim_ref find_claim(std::string_view ns, std::string_view name) const;

  // The claim, with its allocation, is being written.
  void assume(const device_claim_ref& allocated);
  bool is_assumed(std::string_view uid) const { return assumed_.contains(uid); }
  void forget(std::string_view uid);

  // ---- what is taken
  bool is_taken(const device_id& id) const { return taken_.contains(id); }
  bool is_shared(const device_id& id) const { return shared_by_.contains(id); }
  // Of a device that is shared; null when nothing of it is.
  const pod::amounts* consumed(const device_id& id) const;

  // When it is: what was allocated long ago and isn't bound yet may be given up.
  void look_at(wall_time now) noexcept { now_ = now; }
  wall_time now() const noexcept { return now_; }

  // Compiled once, and kept while it is asked for.
  bool has_selector(const std::string& expression) const { return selectors_.contains(expression); }
  const api::expressions::device_selector& selector(const std::string& expression) const;

  void forget_slices();
  void forget_classes() { classes_.clear(); }
  void forget_rules() { rules_.clear(); }
  void forget_claims();

 private:
  void count(const device_claim& claim, int n);

  template <typename T>
  using by_name = std::unordered_map<std::string, T, string_hash, std::equal_to<>>;
  by_name<slice_ref> slices_;
  std::map<pool_id, slices> pools_;
  by_name<slices> of_node_;
  slices shared_;
  by_name<class_ref> classes_;
  std::map<std::string, taint_rule, std::less<>> rules_;
  by_name<device_claim_ref> claims_;   // by key()
  by_name<device_claim_ref> assumed_;  // by uid
  std::map<device_id, int> taken_;     // by so many claims; more than one only while an assumed one is confirmed
  struct sharing {
    int claims = 0, consumers = 0;
    pod::amounts consumed;
  };
  std::map<device_id, sharing> shared_by_;
  wall_time now_{};
  mutable by_name<api::expressions::device_selector> selectors_;
};

}  // namespace kedge::control::scheduler
