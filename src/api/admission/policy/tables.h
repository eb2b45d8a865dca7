// tables.h: the policies and bindings that are in force, as this core sees them.
//
//   store's events of policies and bindings ─▶ compiled once for all cores ─▶ a new table ─▶ swapped in: requests that
//   run keep the one they began with
//
// One instance a core, used on that core. Requests on resources that no policy names pay a look into a hash table.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/admission/policy/compiled.h"
#include "base/strings.h"
#include "reactor/scope.h"
#include "store/store.h"

namespace kedge::api::policy {

// A policy with its bindings; without one it isn't in force.
template <typename Policy>
struct hook {
  std::shared_ptr<const Policy> policy;
  std::vector<std::shared_ptr<const binding>> bindings;  // by name
};

template <typename Policy>
class hooks {
 public:
  hooks() = default;
  explicit hooks(std::vector<hook<Policy>> all);  // by name

  // Those that may be about a resource of this name, by name.
  std::vector<const hook<Policy>*> about(std::string_view resource) const;

 private:
  std::vector<hook<Policy>> all_;
  std::vector<std::size_t> any_;  // of all resources
  std::unordered_map<std::string, std::vector<std::size_t>, string_hash, std::equal_to<>> named_;
};

struct table {
  hooks<validating_policy> validating;
  hooks<mutating_policy> mutating;
};

class tables {
 public:
  // Reads what is there. `s` must outlive this.
  explicit tables(store::store& s);

  const std::shared_ptr<const table>& current() const noexcept { return now_; }
  // Looks at the store's state as this core sees it.
  void refresh();
  // Follows them from now on, until this is dropped.
  void follow();

 private:
  task<void> keep(std::string prefix);

  store::store& store_;
  std::shared_ptr<const table> now_;
  reactor::scope following_;  // last: it ends first
};

}  // namespace kedge::api::policy
