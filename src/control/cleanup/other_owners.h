// other_owners.h: what an owner is worth that another API server has: it is asked, by its kind and name.
//
// A server that hangs holds few of the collector's workers: who would be one more isn't told, and comes again later.
//
// Nothing goes because a server can't be asked: an owner is absent only when the server that lists its kind says in a
// Status that there is none of the name, which it repeats, or shows another one (uid).
#pragma once

#include <map>
#include <string>

#include "control/cleanup/ownership.h"
#include "control/shell.h"
#include "reactor/sync.h"

namespace kedge::control {

class other_owners {
 public:
  // Of twenty workers (--concurrent-gc-syncs).
  static constexpr std::size_t asks_at_once = 4;
  // Of a reference whose kind isn't served here. `ns`: the object's own namespace; empty without one.
  task<owner_worth> worth_of(shell& s, std::string ns, json::value reference);
  // When a dependent whose owner is there shall be looked at again: after a while, and no two at once, so that a
  // hundred thousand dependents are asked about as often a second as some are.
  time_point next_look(time_point now);

 private:
  struct kind {
    std::string plural;
    bool namespaced = false;
    time_point known_until{};
  };
  task<result<kind>> kind_of(shell& s, std::string path, std::string name);
  std::map<std::string, kind, std::less<>> kinds_;  // by path and kind; bounded
  time_point next_look_{};
  reactor::semaphore turns_{asks_at_once};
};

}  // namespace kedge::control
