// device_taints.h: which devices are tainted so that who uses them must go (effect NoExecute), and which claims have
// devices of which pools: what slices, rules and claims say, as they came. No I/O.
//
//   slices of a pool: those of its newest generation count ─┐
//   DeviceTaintRules ───────────────────────────────────────┴▶ taints of an allocated device, but for those that its
//   claim tolerates ─▶ when its users go
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "json/value.h"

namespace kedge::control {

struct device_pool_name {
  std::string driver, pool;
  auto operator<=>(const device_pool_name&) const = default;
};

// When a pod is to go, and the rules among the reasons: their names by their uids.
struct device_eviction {
  wall_time when{};
  std::map<std::string, std::string, std::less<>> rules;
  void join(const device_eviction& other);
  friend bool operator==(const device_eviction&, const device_eviction&) = default;
};

// A DeviceTaintRule, whatever its effect.
struct taint_rule {
  std::string name, uid;
  std::optional<std::string> driver, pool, device;
  bool selects = false;  // without a selector it means no device
  json::value taint;
  bool means(const device_pool_name& in, std::string_view device_name) const noexcept;
};
taint_rule taint_rule_of(const json::value& object);
using taint_rules = std::map<std::string, taint_rule, std::less<>>;  // by name

class device_taints {
 public:
  // The slice is there as `now` says it, or gone (null), after `before` (null: it is new). Gives the pool whose tainted
  // devices are others now.
  std::optional<device_pool_name> see_slice(const json::value& before, const json::value& now);
  // The same of a rule. True: others must go now, or needn't any more.
  bool see_rule(const json::value& before, const json::value& now);
  // A claim ("namespace/name") as it is, or gone (null).
  void see_claim(const std::string& key, const json::value& now);

  // Whether anybody may have to go at all.
  bool any() const noexcept { return !rules_.empty() || tainted_ > 0; }
  // The rules that make pods go.
  const taint_rules& rules() const noexcept { return rules_; }
  std::vector<std::string> claims() const;
  std::vector<std::string> claims_in(const device_pool_name& pool) const;
  bool is_newest(const json::value& slice) const;
  // When users of an allocated claim are to go, were these the rules; nothing: they may stay.
  std::optional<device_eviction> eviction_of(const json::value& claim, const taint_rules& rules) const;

 private:
  struct tainted_device {
    std::string name;
    json::value taint;
    friend bool operator==(const tainted_device&, const tainted_device&) = default;
  };
  struct slice_part {
    std::int64_t generation = 0;
    std::vector<tainted_device> devices;
  };
  using parts = std::map<std::string, slice_part, std::less<>>;  // by the slice's name
  std::vector<tainted_device> tainted_in(const device_pool_name& pool) const;
  void remove(const json::value& slice);
  void add(const json::value& slice);

  std::map<device_pool_name, parts> pools_;
  std::size_t tainted_ = 0;  // devices in all parts
  taint_rules rules_;
  std::map<std::string, std::set<device_pool_name>, std::less<>> claims_;
  std::map<device_pool_name, std::set<std::string>> claims_in_;
};

}  // namespace kedge::control
