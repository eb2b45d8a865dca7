// table.h: one table that many write to, each its own part; a change costs what changed, not what is there.
//
//   owner ─▶ part (wanted) ─▶ diff with what the owner has there ─▶ batch ─▶ kernel ─▶ remembered
//
// What was committed is remembered, never listed. An element that two owners want with one value is shared; with
// different values the first keeps it, and the other gets it when the first lets go.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "node/nft/batch.h"

namespace kedge::node::nft {

// The value of a map's element: bytes or a verdict; both empty for a set's.
struct element_value {
  std::string data;
  std::string go_to;                 // a chain
  std::optional<std::int32_t> code;  // a verdict without chain: drop, accept
  friend bool operator==(const element_value&, const element_value&) noexcept = default;
};
struct element_key {
  std::string set, key;
  std::string to = {};  // of a set of spans: its end
  friend auto operator<=>(const element_key&, const element_key&) noexcept = default;
};

struct part {
  std::map<std::string, std::vector<std::string>> chains;  // name → rules (rule::take)
  std::map<std::string, set_options> sets;                 // a set of another kind has another name
  std::map<element_key, element_value> elements;
};

class table {
 public:
  table(std::uint8_t family, std::string name) : family_(family), name_(std::move(name)) {}

  // Makes the table anew: `base` is what all parts build on. Everything remembered is forgotten: parts must be set
  // again, in the same batch.
  batch begin_anew(const part& base, const std::vector<base_chain>& hooks);
  batch begin() const { return batch(family_, name_); }

  // Puts into `b` what makes `owner`'s part this one (an empty one: nothing of it is left). The batch must be
  // committed, or the table begun anew.
  // Sets that it had and is to have no more can be kept until other owners' rules that name them are others:
  // drop_unwanted_sets(), in the same batch.
  enum class old_sets : unsigned char { drop, keep };
  void set(batch& b, const std::string& owner, part wanted, old_sets old = old_sets::drop);
  void drop_unwanted_sets(batch& b, const std::string& owner);
  // Chains that nobody leads to any more are emptied at once and removed later: kernels before 6.2 know of a removed
  // element's end only then. Puts those that have rested into `b`.
  void remove_stale(batch& b, time_point now);
  bool has_stale() const noexcept { return !stale_.empty(); }

  const std::string& name() const noexcept { return name_; }
  std::uint8_t family() const noexcept { return family_; }
  // Owners that want an element which another has.
  std::vector<std::string> waiting(const element_key& key) const;

 private:
  struct owned {
    std::map<std::string, std::size_t> chains;     // name → hash of its rules
    std::vector<std::string> sets, unwanted_sets;  // unwanted: of `sets`
    std::map<element_key, element_value> elements;
  };
  struct slot {
    element_value value;
    std::vector<std::string> owners;
    std::vector<std::string> waiting;
  };
  void put(batch& b, const element_key& key, const element_value& v);
  void let_go(batch& b, const std::string& owner, const element_key& key);

  std::uint8_t family_;
  std::string name_;
  std::map<std::string, owned> parts_;
  std::map<element_key, slot> slots_;
  std::map<std::string, time_point> stale_;  // chains; max(): since this change
};

}  // namespace kedge::node::nft
