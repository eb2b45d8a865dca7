// constraints.h: what the devices of a claim must have in common, or differ in. Pure.
#pragma once

#include <vector>

#include "control/scheduler/devices/objects.h"

namespace kedge::control::scheduler {

// One constraint, while devices are chosen: add and remove come in pairs, the last added first.
class constraint_state {
 public:
  explicit constraint_state(const device_constraint& of) : of_(&of) {}
  // False: the device doesn't go with those that are there; it isn't added.
  bool add(const device_request& r, const device& d, std::string_view driver);
  void remove(const device_request& r);

 private:
  bool is_about(const device_request& r) const noexcept;
  bool takes(const json::value& attribute) const noexcept;
  const device_constraint* of_;
  std::vector<const json::value*> attributes_;  // of the devices that it is about
};

}  // namespace kedge::control::scheduler
