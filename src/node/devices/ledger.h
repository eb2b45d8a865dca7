// ledger.h: which devices there are, how they are, and which container has which. Values and choices, no I/O; the
// kubelet's device manager (pkg/kubelet/cm/devicemanager) in what it decides.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "json/value.h"
#include "node/devices/plugin_messages.h"
#include "node/numa/hints.h"

namespace kedge::node {

// A resource's devices, as the Node tells them.
struct device_count {
  std::int64_t capacity = 0, allocatable = 0;
  friend bool operator==(const device_count&, const device_count&) = default;
};
using device_counts = std::map<std::string, device_count, std::less<>>;

// What a container has of a resource.
struct device_allocation {
  devices_by_node devices;
  std::string response;  // the plugin's, an encoded ContainerAllocateResponse
};
device_ids ids_of(const devices_by_node& devices);

// Devices that are being chosen for a container.
struct device_choice {
  std::size_t needed = 0;  // still
  device_ids taken;
  device_ids available;  // healthy and nobody's
  // Those near to the NUMA nodes that the container shall be near to, those near to others, and those that don't say;
  // where nothing is to be near, all are of the third kind.
  device_ids aligned, unaligned, unplaced;

  // Takes from these what is still needed. True: nothing is any more.
  bool take(const device_ids& from);
};

class device_ledger {
 public:
  // A plugin of this resource is there (again); what it has comes with update().
  void connect(std::string_view resource);
  // What it has now. Gives the uids of pods that have a device whose health has changed.
  std::set<std::string> update(std::string_view resource, std::vector<plugin_device> devices);
  // There is no plugin of it any more: its devices are unhealthy, and after a while it is forgotten (expire).
  void disconnect(std::string_view resource, time_point now);
  // Whether any was forgotten: its counts are 0 from now on.
  bool expire(time_point now);
  device_counts counts() const;
  // Whether the resource is a plugin's, or was when a container got some of it.
  bool knows(std::string_view resource) const;

  // On which NUMA nodes so many can be had. `mine`: what the container (or pod) has already; `reusable`: devices of
  // init containers that have ended, which have to be among them. `machine`: nodes that there are.
  numa_hints hints(std::string_view resource, std::size_t required, const device_ids& mine, const device_ids& reusable,
                   numa_mask machine) const;
  // What a container that needs so many has yet to be given; nullopt: nothing. `reusable`: devices of init containers
  // that have ended. `near`: NUMA nodes that they shall be near to. The errors are the kubelet's.
  result<std::optional<device_choice>> begin(std::string_view uid, std::string_view container,
                                             std::string_view resource, std::size_t required,
                                             const device_ids& reusable, const std::optional<numa_mask>& near) const;
  void give(std::string_view uid, std::string_view container, std::string_view resource, const device_ids& ids,
            std::string response);
  const device_allocation* find(std::string_view uid, std::string_view container, std::string_view resource) const;
  using of_container = std::map<std::string, device_allocation, std::less<>>;        // by resource
  const of_container* find(std::string_view uid, std::string_view container) const;  // null: it has none
  std::vector<plugin_device> devices(std::string_view resource) const;               // all that there are
  // Frees what pods have that aren't among these.
  void keep_only(const std::set<std::string, std::less<>>& uids);

  // The kubelet's file kubelet_internal_checkpoint, with its checksum.
  std::string checkpoint() const;
  // What such a file says of containers, and which resources there were. errc::corrupt: it isn't as it was written.
  result<void> restore(std::string_view text);

 private:
  struct resource_state {
    std::map<std::string, plugin_device, std::less<>> devices;
    bool registered = false;
    std::optional<time_point> lost_at;
    device_ids healthy() const;
  };
  device_ids in_use(std::string_view resource) const;

  std::map<std::string, resource_state, std::less<>> resources_;
  std::map<std::string, std::map<std::string, of_container, std::less<>>, std::less<>> given_;  // by uid, container
};

}  // namespace kedge::node
