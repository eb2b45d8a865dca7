// reservations.h: who has what can be given only once, decided by the store between all servers.
//
// A reservation is a row of the log beside the objects, /kedge/<kind>/<what>, created only where there is none: of two
// servers that choose the same at the same moment one gets it. It is taken before the object that names it is written,
// and names that object's uid, so that who finds it can tell whether its owner is still there. Kinds: "nodeports",
// "podcidrs".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "json/value.h"
#include "store/store.h"

namespace kedge::api {

struct reservation {
  std::string uid, ns, name;  // of the object that has it
  store::revision at = 0;
};

// The rows of a kind, for scans: "/kedge/nodeports/".
std::string reservations_prefix(std::string_view kind);
std::string reservation_key(std::string_view kind, std::string_view what);
reservation parse_reservation(const store::object& row);
std::optional<reservation> find_reservation(const store::snapshot& cluster, std::string_view kind,
                                            std::string_view what);

// False: another has it. `replaces`: the revision of a left one that is taken over; 0: there must be none.
task<result<bool>> reserve(store::store& s, std::string_view kind, std::string_view what, const json::value& owner,
                           store::revision replaces = 0);
// Gives it back if it is `uid`'s. A failure leaves it to the leader's clean-up.
task<void> drop_reservation(store::store& s, std::string_view kind, std::string_view what, std::string_view uid);

}  // namespace kedge::api
