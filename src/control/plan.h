// plan.h: what a look at the cluster gives: what to write, what to tell people, when to look again. Data, without a
// store or a clock, so that a test can say what it expects.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/objects.h"
#include "base/time.h"

namespace kedge::control {

// An object as an Event refers to it.
struct reference {
  std::string api_version, kind, ns, name, uid;
  friend bool operator==(const reference&, const reference&) = default;
};
// Of a value with apiVersion, kind and metadata.
reference reference_to(const json::value& object);

// A core/v1 Event about an object (kubectl describe shows them).
struct notice {
  reference about;
  bool warning = false;
  std::string reason, message;
  friend bool operator==(const notice&, const notice&) = default;
};

// One write. An update carries the object whole, with the uid and resourceVersion that it was planned on; a removal
// names them as its preconditions: what another one changed meanwhile is looked at again, never overwritten.
struct change {
  enum class what : unsigned char { create, update, apply, remove };
  what kind;
  api::resource_id resource;
  std::string ns, name;
  std::string subresource = {};      // update: "" or "status" …
  json::value object = {};           // create, update, apply
  std::string manager = {};          // apply: who owns the fields, whoever else does
  api::delete_options options = {};  // remove
  // Told when it is written (a message "Created pod: " gets the name of what was made), and when it is refused (by
  // admission, a quota): the refusal's words stand behind the message.
  std::optional<notice> on_done = {}, on_refused = {};
};
change creation(api::resource_id resource, std::string ns, json::value object);
// Of an object as a view gave it, edited.
change update_of(api::resource_id resource, json::value object, std::string subresource = {});
// Server-side apply, with force.
change application(api::resource_id resource, json::value object, std::string manager);
// Exactly this version of it; or any version of this object (its uid), for what no edit can make right again.
change removal_of(api::resource_id resource, const json::value& object, api::delete_options options = {});
change removal_of_any_version(api::resource_id resource, const json::value& object, api::delete_options options = {});

enum class pace : unsigned char {
  in_order,    // one after the other; the first that is refused ends the plan
  together,    // up to writes_at_once of them at once, and all are tried
  slow_start,  // one, then two, four …: what is refused is refused a few times, not a thousand
};

struct step {
  pace how = pace::in_order;
  std::vector<change> changes;
};

struct plan {
  std::vector<step> steps;        // each begins when the one before is written
  std::vector<notice> notices;    // told when all is written
  std::optional<duration> again;  // look at the key again after so long; also when nothing names it

  plan& write(change c);  // in order
  plan& write(pace how, std::vector<change> changes);
  plan& tell(reference about, std::string reason, std::string message, bool warning = false);
  plan& look_after(duration d);  // the earliest counts
  bool empty() const noexcept { return steps.empty() && notices.empty(); }
};

// When a look happens, and what was refused of what the look before at this key had planned: that is to be told (a
// condition) and not planned again now; the frame comes back for it.
struct moment {
  time_point now{};  // monotonic: what lasts is measured by it
  wall_time wall{};  // for timestamps in objects
  const api::status* refused = nullptr;
};

}  // namespace kedge::control
