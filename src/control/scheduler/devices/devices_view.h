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
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
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
  // The class whose devices are given for that extended resource; of several the newest. Null: none.
  class_ref class_for_resource(std::string_view resource) const;

  void set_rule(const json::value& object);
  void remove_rule(std::string_view name);
  const std::map<std::string, taint_rule, std::less<>>& rules() const noexcept { return rules_; }

  // What an event, or an answer to a write, says; an older version than is known changes nothing.
  void set_claim(const json::value& object);
  void remove_claim(std::string_view ns, std::string_view name);
  device_claim_ref find_claim(std::string_view ns, std::string_view name) const;
  // The claim that was made for the pod's extended resources; null: there is none.
  device_claim_ref claim_for_resources(std::string_view ns, std::string_view pod_uid) const;

  // The claim, with its allocation, is being written.
  void assume(const device_claim_ref& allocated);
  bool is_assumed(std::string_view uid) const { return assumed_.contains(uid); }
  void forget(std::string_view uid);

  // ---- what is taken
  bool is_taken(const device_id& id) const { return taken_.contains(id); }
  bool is_shared(const device_id& id) const { return shared_by_.contains(id); }
  // Of a device that is shared; null when nothing of it is.
  const pod::amounts* consumed(const device_id& id) const;

  // Another number: a search for devices that began before may be wrong, whatever it finds. What others got since is
  // told by takings().
  std::uint64_t generation() const noexcept { return generation_; }
  std::uint64_t takings() const noexcept { return takings_; }
  // Which of them was the last in that pool.
  std::uint64_t last_taking(const pool_id& pool) const {
    auto it = last_taking_.find(pool);
    return it == last_taking_.end() ? 0 : it->second;
  }
  // From where nodes reach devices may be another.
  void nodes_changed() noexcept { ++generation_; }

  // When it is: what was allocated long ago and isn't bound yet may be given up.
  void look_at(wall_time now) noexcept { now_ = now; }
  wall_time now() const noexcept { return now_; }

  // Compiled once, and kept while it is asked for.
  bool has_selector(const std::string& expression) const { return selectors_.contains(expression); }
  const api::expressions::device_selector& selector(const std::string& expression) const;
  // Which of the slice's devices the class's selectors choose; null: one of them fails. Kept while neither changes.
  const std::vector<bool>* chosen_by(const class_ref& c, const slice_ref& s) const;

  void forget_slices();
  void forget_classes();
  void forget_rules();
  void forget_claims();

 private:
  void count(const device_claim& claim, int n);
  void forget_resources_of(const device_claim& claim);

  template <typename T>
  using by_name = std::unordered_map<std::string, T, string_hash, std::equal_to<>>;
  by_name<slice_ref> slices_;
  std::map<pool_id, slices> pools_;
  by_name<slices> of_node_;
  slices shared_;
  by_name<class_ref> classes_;
  by_name<std::vector<class_ref>> classes_of_resource_;  // that are named in the classes
  std::map<std::string, taint_rule, std::less<>> rules_;
  by_name<device_claim_ref> claims_;             // by key()
  by_name<device_claim_ref> assumed_;            // by uid
  by_name<std::set<std::string>> of_resources_;  // keys of claims for extended resources, by their pods' uids
  std::map<device_id, int> taken_;  // by so many claims; more than one only while an assumed one is confirmed
  struct sharing {
    int claims = 0, consumers = 0;
    pod::amounts consumed;
  };
  std::map<device_id, sharing> shared_by_;
  std::uint64_t generation_ = 0, takings_ = 0;
  std::map<pool_id, std::uint64_t> last_taking_;
  wall_time now_{};
  mutable by_name<api::expressions::device_selector> selectors_;
  mutable std::map<std::pair<class_ref, slice_ref>, std::optional<std::vector<bool>>> chosen_;
  mutable std::uint64_t chosen_at_ = 0;  // generation
};

}  // namespace kedge::control::scheduler
