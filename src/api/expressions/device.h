// device.h: selectors of devices (resource.k8s.io): expressions over `device`: its driver, attributes and capacities by
// domain, and whether several claims may share it.
//
//   device.attributes["gpu.example.org"].model == "x" && device.capacity["gpu.example.org"].memory.isGreaterThan(…)
//
// A domain that the device says nothing of is an empty map.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "cel/program.h"
#include "json/value.h"

namespace kedge::api::expressions {

struct device_selector {
  std::shared_ptr<const cel::program> program;  // null: `wrong` says why, as kube-apiserver does
  std::string wrong;
  bool too_costly = false;  // by the estimate; it can be run all the same
};
device_selector compile_device_selector(std::string_view text);

// Whether the selector holds for a device of a ResourceSlice (basic form: attributes, capacity). The error's words are
// kube-scheduler's. Bounded by the cost that a selector may have; `cost`: what it was, also when it failed.
std::expected<bool, std::string> matches_device(const cel::program& selector, std::string_view driver,
                                                const json::value& device, std::uint64_t* cost = nullptr);

}  // namespace kedge::api::expressions
