// history.h: ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, so that its pods can be told
// apart and it can be undone.
//
//   standing revisions ─▶ one of the template now? the newest: it is  │ an older one: it gets the next number  │ none:
//   one is made
//
// The name is the owner's and a hash of the template; where that is another's, a count goes into the hash.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "control/plan.h"
#include "control/view.h"
#include "control/workloads/members.h"

namespace kedge::control {

inline const api::resource_id controller_revisions{"apps", "v1", "controllerrevisions"};
inline constexpr std::string_view revision_hash_label =
    "controller-revision-hash";  // of pods, and of DaemonSets' revisions

// spec.template as a revision has it.
json::value template_of(const json::value& revision);
std::string_view name_of(const json::value& object) noexcept;

class history {
 public:
  // `mine` as claim() gave them; `hash_label` of the revisions.
  history(const view& cluster, const owner_kind& k, const json::value& owner, std::vector<const json::value*> mine,
          std::string_view hash_label);

  // The revision of the template now: one that stands, perhaps renumbered, or one that is made; with a name in any
  // case.
  const json::value& newest() const noexcept { return newest_; }
  std::string_view hash() const noexcept;  // of the newest
  std::int64_t collisions() const noexcept { return collisions_; }
  bool collided() const noexcept { return collided_; }
  // By its name; null: there is none.
  const json::value* find(std::string_view name) const noexcept;
  // To be written before pods are made of the newest.
  std::vector<change> changes() const;
  // Removals of those that no pod has (`live`), the oldest first, so that `limit` of the older ones stay. `live_count`:
  // whether those in use are among the ones that stay.
  std::vector<change> surplus(std::int64_t limit, bool live_count,
                              const std::function<bool(const json::value& revision)>& live) const;

 private:
  void choose(const view& cluster, const owner_kind& k, const json::value& owner);

  std::vector<const json::value*> standing_;  // the oldest first
  json::value newest_;
  std::string_view hash_label_;
  std::int64_t collisions_ = 0;
  bool made_ = false, renumbered_ = false, collided_ = false;
};

}  // namespace kedge::control
