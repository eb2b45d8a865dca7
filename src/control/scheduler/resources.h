// resources.h: amounts as the scheduler counts them: thousandths of a core, bytes, and plain numbers of everything
// else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "json/value.h"
#include "pod/amounts.h"

namespace kedge::control::scheduler {

// kube-scheduler's scalar resources: hugepages, attachable volumes, and names with a domain; other names don't count.
bool is_scalar(std::string_view resource) noexcept;
// A name with a domain that is not Kubernetes' own (nvidia.com/gpu).
bool is_extended(std::string_view resource) noexcept;
// What a DeviceClass may give devices for (KEP-5004): an extended resource that it names, or this with its own name.
inline constexpr std::string_view device_class_prefix = "deviceclass.resource.kubernetes.io/";
bool may_be_devices(std::string_view resource) noexcept;

struct resources {
  std::int64_t milli_cpu = 0, memory = 0, ephemeral_storage = 0;
  std::vector<std::pair<std::string, std::int64_t>> scalars;  // sorted by name

  static resources of(const pod::amounts& list);

  std::int64_t scalar(std::string_view name) const noexcept;
  bool names(std::string_view scalar) const noexcept;  // also none of it
  // cpu in thousandths, whatever else by its name.
  std::int64_t get(std::string_view name) const noexcept;
  bool nothing() const noexcept { return milli_cpu == 0 && memory == 0 && ephemeral_storage == 0 && scalars.empty(); }
  void add(const resources& more, std::int64_t times = 1);
  void raise(const resources& least);  // each to the greater of both
  friend bool operator==(const resources&, const resources&) = default;
};

}  // namespace kedge::control::scheduler
