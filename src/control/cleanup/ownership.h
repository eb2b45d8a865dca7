// ownership.h: what an object's owners are worth: the questions of the garbage collector, answered from a snapshot.
// Pure.
//
// Identity is the uid, and a reference counts only where it points: in the object's own namespace, or to what has none.
#pragma once

#include <string>
#include <vector>

#include "control/view.h"

namespace kedge::control {

// Where an object is served, from what it says of itself; what is null isn't served.
const api::served* served_as(const view& cluster, const json::value& object);

enum class owner_worth : unsigned char {
  solid,     // it is there
  waiting,   // it is there, and waits for its dependents to be deleted
  absent,    // there is nothing where the reference points, or another (uid)
  unknown,   // its kind isn't served here: never a reason to delete
  misplaced  // the object has no namespace and the owner's kind has one: no such owner can be, never a reason to delete
};
owner_worth worth_of(const view& cluster, const json::value& object, const json::value& reference);

struct owners_found {
  std::size_t solid = 0, waiting = 0, absent = 0, unknown = 0, misplaced = 0;
  std::vector<std::string> gone;  // uids of those absent and waiting
};
void count(owners_found& into, owner_worth worth, const json::value& reference);
owners_found look_at_owners(const view& cluster, const json::value& object);

// The same question for the usual answer, from the texts alone: whether every owner is there and nothing waits.
bool owners_are_solid(const view& cluster, const store::object& object);

bool waits_for_dependents(const json::value& object) noexcept;  // being deleted in the foreground
bool waits_for_orphans(const json::value& object) noexcept;     // being deleted, its dependents are to be left
// Whether the object's reference to this owner keeps it from going.
bool blocks(const json::value& dependent, std::string_view owner_uid) noexcept;

// The objects that depend on the owner, of kinds that are served. What lies in another namespace than the owner can't
// depend on it, whatever it says: nobody holds up what is in a namespace that isn't his.
void each_dependent(const view& cluster, const json::value& owner,
                    const std::function<bool(const json::value&)>& visit);

// Without the references to these; unchanged otherwise.
json::value without_owners(json::value object, const std::vector<std::string>& uids);
// None of its references keeps an owner from going.
json::value unblocking(json::value object);

}  // namespace kedge::control
