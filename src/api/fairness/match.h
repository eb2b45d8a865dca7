// match.h: which FlowSchema a request belongs to. Without I/O.
#pragma once

#include <unordered_map>
#include <vector>

#include "api/fairness/config.h"
#include "api/request/attributes.h"

namespace kedge::api::fairness {

bool matches(const subject& s, const user_info& who);
bool matches(const resource_rule& r, const attributes& a);
bool matches(const path_rule& r, const attributes& a);

// The first schema in order that has a rule for the request; catch-all when there is none.
const flow_schema& match(const configuration& c, const attributes& a);

// The same, for one core and one configuration: of each user it knows which rules are about him at all, so that a
// request costs what its own few rules cost.
class matcher {
 public:
  // `c` outlives this.
  explicit matcher(const configuration& c) noexcept : configuration_(c) {}
  const flow_schema& match(const attributes& a);

 private:
  struct of_user {
    user_ref who;  // keeps the address, which names him, from being another's
    std::vector<std::pair<const flow_schema*, const rule*>> rules;
  };
  const of_user& rules_of(const user_ref& who);

  const configuration& configuration_;
  std::unordered_map<const user_info*, of_user> known_;
};

// The part of a flow's name that its schema's distinguisher takes, and its hash for shuffle sharding: SHA-256 of both
// names, as kube-apiserver has it.
std::string_view distinguisher_of(const flow_schema& s, const attributes& a);
std::uint64_t hash_of(std::string_view schema, std::string_view distinguisher);

}  // namespace kedge::api::fairness
