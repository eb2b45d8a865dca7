// plugin_messages.h: messages of the device plugin API (k8s.io/kubelet deviceplugin/v1beta1) and of the pod resources
// API (podresources/v1) as values and as bytes. Readers take any bytes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "node/numa/memory_ledger.h"
#include "node/runtime/pod_runtime.h"

namespace kedge::node {

struct plugin_registration {
  std::string version, endpoint, resource;
};
result<plugin_registration> decode_registration(std::string_view message);

struct plugin_options {
  bool pre_start = false, preferred = false;  // the plugin wants to be asked before a start, and for its preference
};
result<plugin_options> decode_plugin_options(std::string_view message);

struct plugin_device {
  std::string id;
  bool healthy = false;
  std::vector<std::int64_t> numa_nodes;  // that it is near to; empty: it doesn't say
};
result<std::vector<plugin_device>> decode_devices(std::string_view message);

using device_ids = std::set<std::string, std::less<>>;

std::string encode_allocation(const device_ids& ids);  // PreStartContainerRequest is the same but for the nesting
std::string encode_pre_start(const device_ids& ids);
std::string encode_preference(const device_ids& available, const device_ids& must, std::size_t size);
result<device_ids> decode_preference(std::string_view message);
// The first ContainerAllocateResponse, encoded; nullopt: there is none.
result<std::optional<std::string>> first_allocation(std::string_view message);

// What containers get for their devices.
struct device_options {
  text_map env, annotations;
  std::vector<container_mount> mounts;
  std::vector<container_device> devices;
  std::vector<std::string> cdi_devices;
};
// A ContainerAllocateResponse; what is there already under a name or path stays as it is.
result<void> add_allocation(std::string_view message, device_options& to);

// --- pod resources

// Devices by the NUMA node that they are near to; -1: they don't say.
using devices_by_node = std::map<std::int64_t, std::vector<std::string>>;
struct container_has {
  std::string name;
  std::vector<std::pair<std::string, devices_by_node>> devices;  // by resource
  std::set<int> cpus;                                            // that nobody else has
  std::vector<memory_block> memory;                              // likewise
};
struct pod_has {
  std::string name, ns;
  std::vector<container_has> containers;
};
std::string encode_pods(const std::vector<pod_has>& pods);  // ListPodResourcesResponse
std::string encode_one_pod(const pod_has& pod);             // GetPodResourcesResponse
std::string encode_allocatable(const std::vector<std::pair<std::string, devices_by_node>>& devices,
                               const std::set<int>& cpus, const std::vector<memory_block>& memory);
struct pod_asked_for {
  std::string name, ns;
};
result<pod_asked_for> decode_pod_asked_for(std::string_view message);

}  // namespace kedge::node
