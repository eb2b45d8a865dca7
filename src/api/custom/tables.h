// tables.h: which resources this core serves now: the built-in ones and those of the CustomResourceDefinitions.
//
//   store's events of CRDs ─▶ definitions (compiled once for all cores) ─▶ a new registry ─▶ swapped in: requests that
//   run
//                                                                                          keep the one they began with
//
// One instance a core, used on that core. Without CRDs it is the built-in registry.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "api/custom/definition.h"
#include "reactor/scope.h"

namespace kedge::api::custom {

class converter;

class tables {
 public:
  // Reads what is there. `s` must outlive this. `more`: built-in resources that not every server has.
  explicit tables(store::store& s, std::vector<const served*> more = {});

  const std::shared_ptr<const registry>& current() const noexcept { return now_; }
  // Who converts by webhook on this core; null: nobody. It outlives this, and is known before the first request.
  void convert_by(converter& c) noexcept { versions_ = &c; }
  converter* versions() const noexcept { return versions_; }
  // Looks at the store's state as this core sees it.
  void refresh();
  // Follows the CRDs from now on, until this is dropped.
  void follow() { following_.spawn(keep()); }

 private:
  task<void> keep();
  // The store has an index for each selectable field of what is served.
  void keep_indexes();
  task<void> drop_index(std::string name);

  store::store& store_;
  const std::vector<const served*> more_;
  std::map<std::string, std::shared_ptr<const definition>> known_;  // by CRD name
  std::map<std::string, store::object_ref> seen_;                   // the stored version that was looked at last
  std::set<std::string, std::less<>> indexed_;                      // names of the indexes that were asked for
  std::shared_ptr<const registry> now_;
  converter* versions_ = nullptr;
  reactor::scope following_;  // last: it ends first
};

// The built-in registry as tables give theirs.
std::shared_ptr<const registry> builtin_tables();

}  // namespace kedge::api::custom
