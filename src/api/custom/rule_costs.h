// rule_costs.h: whether the rules of a definition's schema may be: they must compile, and what they cost at the worst
// must be bounded, each and all together. Kubernetes' limits and words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json/value.h"
#include "meta/place.h"
#include "meta/status.h"

namespace kedge::api::custom {

// Where in a schema a rule stands.
struct rule_scope {
  std::optional<std::uint64_t> times = 1;  // how often its values can be in an object; nullopt: nothing bounds it
  bool root = false;
  std::string without_past = {};  // the list around it whose items can't be matched with those of before; empty: none

  // Of the parts of a schema at this place.
  rule_scope below(const json::value& props) const;
};

// Of one schema: what was found wrong with its rules, and what they cost so far.
class rule_costs {
 public:
  // The rules at one place.
  void check(const json::value& props, const place& at, const rule_scope& s);
  // What was found, behind what was found wrong with the schema.
  void tell(causes& out);
  void tell_total(causes& out, const place& at) const;

 private:
  void add(std::uint64_t cost, std::string at);
  struct costly {
    std::uint64_t cost;
    std::string at;
  };
  causes found_;
  std::uint64_t total_ = 0;
  std::vector<costly> most_;  // the dearest first
};

}  // namespace kedge::api::custom
