// seen.h: what of a pod is really there, as the runtime says it, and what its probes found. Values; what decides and
// what describes (steps.h, status.h) looks at nothing else.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "json/value.h"
#include "node/runtime/pod_runtime.h"

namespace kedge::node {

// The kubelet's names: what it writes to containers and sandboxes, so that either takes over what the other started.
inline constexpr std::string_view label_pod_name = "io.kubernetes.pod.name",
                                  label_pod_namespace = "io.kubernetes.pod.namespace",
                                  label_pod_uid = "io.kubernetes.pod.uid",
                                  label_container_name = "io.kubernetes.container.name",
                                  note_hash = "io.kubernetes.container.hash",
                                  note_restart_count = "io.kubernetes.container.restartCount",
                                  note_message_path = "io.kubernetes.container.terminationMessagePath",
                                  note_message_policy = "io.kubernetes.container.terminationMessagePolicy",
                                  note_pod_grace = "io.kubernetes.pod.terminationGracePeriod",
                                  note_deletion_grace = "io.kubernetes.pod.deletionGracePeriod",
                                  note_pre_stop = "io.kubernetes.container.preStopHandler",
                                  note_ports = "io.kubernetes.container.ports";
// Of this node's own: the resources that a container was made with.
inline constexpr std::string_view note_resources = "kedge.io/resources";

std::string_view find(const text_map& m, std::string_view name);

struct container_seen : container_status {
  std::string sandbox_id;
  int restarts = 0;
  std::string hash;
  // With its termination message behind the runtime's own words.
  std::string told;
  // The resources that it has: those it was made with, or was given since, with the limits of its pod where it has none
  // of its own (resources_in_pod); nullopt: nobody says.
  std::optional<json::value> given;
};

struct pod_seen {
  std::vector<sandbox_info> sandboxes;     // newest first
  std::vector<container_seen> containers;  // newest first
  std::vector<std::string> ips;            // of the newest sandbox, when it is ready; empty with the node's network
  std::optional<json::value> given;        // the resources that the pod has as a whole; nullopt: nobody says

  const container_seen* newest(std::string_view name) const;
  // The same, but only of the newest sandbox, and only when that is ready.
  const container_seen* newest_active(std::string_view name) const;
  // The newest sandbox when it is ready, else null.
  const sandbox_info* active_sandbox() const;
  bool runs_anything() const;  // a container that runs, or may
};

enum class probe_kind : unsigned char { startup, liveness, readiness };
enum class probe_result : unsigned char { unknown, success, failure };
std::string_view name_of(probe_kind k);  // "Startup", as the kubelet's messages begin

// What is known of a container's probes; nullopt: not probed yet.
struct probe_findings {
  std::optional<probe_result> startup, liveness, readiness;
};
using probes_seen = std::map<std::string, probe_findings, std::less<>>;  // by container id

// --- the parts of a pod's specification that several ask for

inline const json::value& spec_of(const json::value& pod) { return pod["spec"]; }
// A container of any of the three lists; null value when there is none.
const json::value& container_named(const json::value& pod, std::string_view name);
bool is_sidecar(const json::value& init_container);
bool is_host_network(const json::value& pod);
bool is_being_deleted(const json::value& pod);
bool is_terminal_phase(std::string_view phase);
// Whether a container that ended with `exit_code` begins anew: its rules, its policy, the pod's policy.
bool restarts_after(const json::value& container, const json::value& pod, int exit_code);
// Whether a container that ended so has all of its pod begin anew, those that are done too (a rule's action
// RestartAllContainers); whether any of the pod's rules may; and whether one has ended so by now.
bool restarts_all_after(const json::value& container, int exit_code);
bool may_restart_all(const json::value& pod);
bool restarts_all(const json::value& pod, const pod_seen& seen);
// Of what a container may not change without being started anew: its name and image.
std::string hash_of_container(const json::value& container);
// The same as containers have it that Kedge started before it was the kubelet's.
std::string former_hash_of_container(const json::value& container);
// "name_namespace(uid)", as messages of the kubelet name a pod.
std::string pod_in_messages(const json::value& pod);

}  // namespace kedge::node
