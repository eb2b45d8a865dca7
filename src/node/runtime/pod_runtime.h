// pod_runtime.h: what a node asks of its container runtime to run pods: CRI's sandboxes, containers and images
// (k8s.io/cri-api runtime.v1), as plain values. cri_pod_runtime.h is the real one; tests bring one that plays.
//
// Every call may fail with what the runtime or the connection says: errc::not_found when the runtime knows no such
// thing, errc::unavailable or errc::timeout when it doesn't answer. All of it belongs to one loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "reactor/task.h"

namespace kedge::node {

using text_map = std::vector<std::pair<std::string, std::string>>;  // in the order of writing

enum class namespace_mode : unsigned char { pod = 0, container = 1, node = 2, target = 3 };
enum class profile_kind : unsigned char { runtime_default = 0, unconfined = 1, localhost = 2 };

// Of seccomp or AppArmor.
struct security_profile {
  profile_kind kind = profile_kind::unconfined;
  std::string name;  // localhost: seccomp's file, AppArmor's profile
};

struct selinux_label {
  std::string user, role, type, level;
};

// Ids of the machine that a pod's users and groups are, from its 0 on.
struct id_range {
  std::uint32_t first = 0, length = 0;
  friend bool operator==(const id_range&, const id_range&) = default;
};

struct namespace_modes {
  namespace_mode network = namespace_mode::pod, pid = namespace_mode::container, ipc = namespace_mode::pod;
  std::string target_id;          // with pid == target: the container whose processes are shared
  std::optional<id_range> users;  // a user namespace of the pod's own; none: the machine's users
};

struct port_mapping {
  std::string protocol;  // TCP, UDP, SCTP
  int container_port = 0, host_port = 0;
  std::string host_ip;
};

struct dns_settings {
  std::vector<std::string> servers, searches, options;
};

struct container_resources {
  std::int64_t cpu_period = 0, cpu_quota = 0, cpu_shares = 0, memory_limit = 0, memory_swap_limit = 0,
               oom_score_adj = 0;
  std::vector<std::pair<std::string, std::uint64_t>> hugepages;  // page size ("2MB") and limit
  text_map unified;                                              // cgroup v2's files
  std::string cpus;                                              // "0-3,8"; empty: any
  std::string memory_nodes;                                      // NUMA nodes, likewise

  friend bool operator==(const container_resources&, const container_resources&) = default;
};

struct sandbox_config {
  std::string name, uid, ns;
  std::uint32_t attempt = 0;
  std::string hostname;  // empty with the node's network
  std::string log_directory;
  dns_settings dns;
  std::vector<port_mapping> ports;
  text_map labels, annotations, sysctls;
  std::string cgroup_parent;
  namespace_modes namespaces;
  std::optional<std::int64_t> run_as_user, run_as_group;
  std::vector<std::int64_t> supplemental_groups;
  bool strict_groups = false;  // supplementalGroupsPolicy
  bool privileged = false;
  std::optional<selinux_label> selinux;
  container_resources resources,
      overhead;  // of the pod as a whole: what a runtime of virtual machines makes them as large as
};

struct container_mount {
  std::string container_path, host_path;
  bool read_only = false;
  bool recursive_read_only = false;  // with all that is mounted below; needs read_only
  bool selinux_relabel = false;      // what is in it gets the container's label
  int propagation = 0;               // 0 private, 1 from the host, 2 both ways
  // An image instead of host_path: its id, what the pod calls it, and what of it; the runtime mounts it.
  std::string image = {}, user_image = {}, image_sub_path = {};
};

struct container_device {
  std::string container_path, host_path, permissions;
};

struct container_config {
  std::string name;
  std::uint32_t attempt = 0;
  std::string image;       // what the runtime knows it by
  std::string user_image;  // as the pod names it
  std::vector<std::string> command, args;
  std::string working_dir;
  text_map env;
  std::vector<container_mount> mounts;
  std::vector<container_device> devices;
  std::vector<std::string> cdi_devices;  // by their full names: "vendor.com/gpu=one"
  text_map labels, annotations;
  std::string log_path;  // below the sandbox's log_directory
  bool stdin_open = false, stdin_once = false, tty = false;
  int stop_signal = 0;  // CRI's number; 0: the image's or TERM
  container_resources resources;
  // security
  std::vector<std::string> add_capabilities, drop_capabilities;
  bool privileged = false, read_only_root = false, no_new_privileges = false;
  namespace_modes namespaces;
  std::optional<std::int64_t> run_as_user, run_as_group;
  std::string run_as_username;
  std::vector<std::int64_t> supplemental_groups;
  bool strict_groups = false;
  std::vector<std::string> masked_paths, read_only_paths;
  security_profile seccomp;
  std::optional<security_profile> apparmor;
  std::optional<selinux_label> selinux;
};

struct sandbox_info {
  std::string id, name, uid, ns;
  std::uint32_t attempt = 0;
  bool ready = false;
  std::int64_t created_at = 0;  // nanoseconds since the epoch
};

struct sandbox_status {
  bool ready = false;
  std::vector<std::string> ips;
  text_map labels, annotations;
};

enum class container_state : unsigned char { created = 0, running = 1, exited = 2, unknown = 3 };

struct container_info {
  std::string id, sandbox_id, name, pod_uid;
  std::uint32_t attempt = 0;
  container_state state = container_state::unknown;
  std::int64_t created_at = 0;
  std::string image, image_ref, image_id;  // whichever of them the runtime tells
};

struct container_status {
  std::string id, name;
  container_state state = container_state::unknown;
  std::int64_t created_at = 0, started_at = 0, finished_at = 0;  // nanoseconds since the epoch; 0: not yet
  int exit_code = 0;
  std::string image, image_ref, image_id;
  std::string reason, message;
  text_map labels, annotations;
  std::vector<container_mount> mounts;
  std::string log_path;
};

struct image_info {
  std::string id;
  std::vector<std::string> digests;
  std::uint64_t size_bytes = 0;
  std::optional<std::int64_t> uid;  // the user it runs as, when that is a number
  std::string username;             // otherwise
};

// An image that the runtime has.
struct stored_image {
  std::string id;
  std::vector<std::string> names;  // tags, then digests
  std::uint64_t size_bytes = 0;
  bool pinned = false;
};

struct image_credentials {
  std::string username, password, auth, server_address, identity_token;
};

struct exec_result {
  int exit_code = 0;
  std::string out, err;
};

struct exec_request {
  std::vector<std::string> command;  // empty: attach
  bool tty = false, in = false, out = false, err = false;
};

struct container_usage {
  std::string id, name, pod_uid, pod_name, pod_namespace;
  std::int64_t at = 0;
  std::uint64_t cpu_nanoseconds = 0, memory_working_set = 0, memory_usage = 0, memory_rss = 0, page_faults = 0,
                major_page_faults = 0;
  std::uint64_t disk_bytes = 0, inodes = 0;
};

class pod_runtime {
 public:
  virtual ~pod_runtime() = default;

  virtual task<result<std::string>> run_sandbox(const sandbox_config& config, std::string handler) = 0;
  virtual task<result<void>> stop_sandbox(std::string id) = 0;
  virtual task<result<void>> remove_sandbox(std::string id) = 0;  // with its containers
  // All of them, or one pod's.
  virtual task<result<std::vector<sandbox_info>>> sandboxes(std::string pod_uid = {}) = 0;
  virtual task<result<sandbox_status>> status_of_sandbox(std::string id) = 0;

  virtual task<result<std::string>> create_container(std::string sandbox_id, const container_config& config,
                                                     const sandbox_config& sandbox) = 0;
  virtual task<result<void>> start_container(std::string id) = 0;
  // Asks it to end, and kills it after `grace_seconds`. Success when it is gone already.
  virtual task<result<void>> stop_container(std::string id, std::int64_t grace_seconds) = 0;
  virtual task<result<void>> remove_container(std::string id) = 0;
  // It has these from now on, while it runs; what is 0 or empty stays as it is.
  virtual task<result<void>> update_resources(std::string id, container_resources resources) = 0;
  // A sandbox's pod has these as a whole from now on, beside `overhead`. Success when the runtime doesn't want to know.
  virtual task<result<void>> update_sandbox(std::string id, container_resources resources,
                                            container_resources overhead) = 0;
  virtual task<result<std::vector<container_info>>> containers(std::string pod_uid = {}) = 0;
  virtual task<result<container_status>> status_of_container(std::string id) = 0;
  virtual task<result<void>> reopen_log(std::string id) = 0;
  virtual task<result<std::vector<container_usage>>> usage() = 0;

  // errc::timeout when the command outlives `timeout_seconds` (0: no limit).
  virtual task<result<exec_result>> exec(std::string id, std::vector<std::string> command,
                                         std::int64_t timeout_seconds) = 0;
  // Where the runtime's streaming server takes the connection: "http://127.0.0.1:10010/exec/…".
  virtual task<result<std::string>> stream_url(std::string id, exec_request request) = 0;
  virtual task<result<std::string>> port_forward_url(std::string sandbox_id, std::vector<int> ports) = 0;

  // nullopt: it isn't there.
  virtual task<result<std::optional<image_info>>> image(std::string name) = 0;
  // `sandbox`: of the pod that it is for.
  virtual task<result<std::string>> pull(std::string name, const image_credentials* credentials,
                                         const sandbox_config& sandbox) = 0;
  virtual task<result<std::vector<stored_image>>> images() = 0;
  virtual task<result<void>> remove_image(std::string id) = 0;
};

// A runtime's error as clients of gRPC print it ("rpc error: code = NotFound desc = …"), and its description alone.
std::string rpc_text(const error& e);
std::string rpc_description(const error& e);

}  // namespace kedge::node
