// other_owners.h: what an owner is worth that another API server has: it is asked, by its kind and name.
//
// Nothing goes because a server can't be asked: an owner is absent only when the server that lists its kind says in a
// Status that there is none of the name, or shows another one (uid).
#pragma once

#include <map>
#include <string>

#include "control/cleanup/ownership.h"
#include "control/shell.h"

namespace kedge::control {

class other_owners {
 public:
  // Of a reference whose kind isn't served here. `ns`: the object's own namespace; empty without one.
  task<owner_worth> worth_of(shell& s, std::string ns, json::value reference);

 private:
  struct kind {
    std::string plural;
    bool namespaced = false;
    time_point known_until{};
  };
  task<result<kind>> kind_of(shell& s, std::string path, std::string name);
  std::map<std::string, kind, std::less<>> kinds_;  // by path and kind; bounded
};

}  // namespace kedge::control
