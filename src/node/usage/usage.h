// usage.h: what this node and its pods use now.
//
//   pods (loop) ─▶ what is to be measured ─▶ offload: /proc, control groups ─▶ node_usage, immutable, shared by all who
//   ask
//                                                                               within a second
//
// The runtime isn't asked for what the kernel counts: a hung runtime costs no figures.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "json/value.h"
#include "node/machine/node_stats.h"
#include "node/runtime/pod_runtime.h"
#include "node/usage/cgroup.h"
#include "reactor/sync.h"

namespace kedge::node {

class pod_manager;

struct container_to_measure {
  std::string id, name, image;
  std::int64_t started_at = 0;  // nanoseconds since the epoch
};

struct pod_to_measure {
  std::string ns, name, uid;
  std::string start_time;  // status.startTime
  std::string cgroup;      // "/kubepods/burstable/pod<uid>": its containers' are below
  std::string sandbox_id;  // empty: none
  std::string logs_folder;
  bool own_network = true;
  std::vector<container_to_measure> containers;  // that run
};

struct interface_usage {
  std::string name;
  std::uint64_t received_bytes = 0, received_packets = 0, receive_errors = 0, receive_drops = 0;
  std::uint64_t sent_bytes = 0, sent_packets = 0, send_errors = 0, send_drops = 0;
};

struct measured_container : container_to_measure {
  cgroup_usage used;
  std::optional<std::uint64_t> nanocores;  // lately
  std::uint64_t log_bytes = 0, log_files = 0;
};

struct measured_pod : pod_to_measure {
  std::optional<cgroup_usage> used, sandbox;
  std::optional<std::uint64_t> nanocores;
  std::vector<measured_container> measured;
  std::vector<interface_usage> network;
};

// A group above the pods', by its path ("/kubepods").
struct measured_group {
  std::string path;
  cgroup_usage used;
  std::optional<std::uint64_t> nanocores;
};

struct node_usage {
  wall_time at{};
  node_stats machine;
  std::optional<pressure> cpu_pressure, memory_pressure, io_pressure;  // of the machine; nullopt: not counted
  std::string storage_device;                                          // "/dev/sda1"; empty: it has none
  std::optional<std::uint64_t> nanocores;
  std::vector<interface_usage> network;
  std::vector<measured_group> groups;
  std::vector<measured_pod> pods;
};

struct usage_paths {
  std::string root;  // before /proc
  std::string cgroups = "/sys/fs/cgroup";
  std::string storage;  // on the node's file system
};
// Blocks. What is gone by then is left out.
result<node_usage> measure(const usage_paths& paths, std::vector<pod_to_measure> pods);

// Processor time used between two measurements, or since a container began when there is none before. By group path.
using cpu_counts = std::map<std::string, std::pair<wall_time, std::uint64_t>, std::less<>>;
cpu_counts cpu_counts_of(const node_usage& u);
void add_nanocores(node_usage& u, const cpu_counts& before);

// /proc/net/dev, without the loopback and what leads to containers.
std::vector<interface_usage> parse_net_dev(std::string_view text);

// The pods that the manager has here, with what of them runs. `logs_of`: the folder of a pod's logs.
std::vector<pod_to_measure> pods_to_measure(const pod_manager& pods,
                                            const std::function<std::string(const json::value&)>& logs_of);

// The one that measures, however many ask. On the loop of the pods.
class usage_meter {
 public:
  usage_meter(usage_paths paths, std::function<std::vector<pod_to_measure>()> pods)
      : paths_(std::move(paths)), pods_(std::move(pods)) {}
  // At most usage_age_max old.
  task<result<std::shared_ptr<const node_usage>>> now();

 private:
  usage_paths paths_;
  std::function<std::vector<pod_to_measure>()> pods_;
  reactor::semaphore turn_{1};
  std::shared_ptr<const node_usage> last_;
  cpu_counts before_, counted_;  // what rates are from; counted_ isn't old enough yet
  time_point last_at_{}, counted_at_{};
};

}  // namespace kedge::node
