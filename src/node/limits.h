// limits.h: the node's bounds and cadences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/time.h"

namespace kedge::node {

using namespace std::chrono_literals;

// The kubelet's cadence, which the node-lifecycle controller's grace period (50 s) is made for.
inline constexpr duration lease_renew_interval = 10s;     // a quarter of the lease
inline constexpr int lease_duration_seconds = 40;         // coordination.k8s.io/v1 Lease, as the kubelet has it
inline constexpr duration status_report_interval = 5min;  // and written at least this often, changed or not
inline constexpr duration request_deadline = 10s;         // one call to the API server or supervisor

// K3s's registration cadence: the token is tried every 2 s; the rest every 5 s plus up to as much again, so that a
// fleet which lost its server does not come back in step.
inline constexpr duration token_retry_interval = 2s;
inline constexpr duration config_retry_interval = 5s;

// Clocks that differ by more are told of, once an hour: far beyond what a synchronised clock is off by and an answer is
// on its way.
inline constexpr duration clock_difference_told = 10s;
inline constexpr duration clock_told_again = 1h;

// Until the node is Ready for the first time it is looked at this often: the whole start has to take less than 2 s.
inline constexpr duration start_poll_interval = 50ms;
inline constexpr duration start_poll_span = 60s;       // after that a slow runtime is asked at the usual cadence
inline constexpr duration unready_poll_interval = 1s;  // afterwards, while the runtime is down

// A failed call to the API server is repeated after 200 ms, doubling up to this (as the kubelet's lease controller: 7
// s).
inline constexpr duration api_retry_first = 200ms;
inline constexpr duration api_retry_most = 7s;

// The runtime's image list is asked for less often than its state: it can be long and changes rarely.
inline constexpr duration image_list_interval = 30s;
inline constexpr std::size_t names_per_image_max = 5;  // MaxNamesPerImageInNodeStatus

// When a node runs short (the kubelet's cadences): readings, the end of an evicted pod, the disk of images.
inline constexpr duration eviction_interval = 10s;
inline constexpr std::int64_t eviction_grace_seconds = 1;  // of a hard threshold
inline constexpr duration eviction_cleanup_wait = 30s;
inline constexpr duration eviction_cleanup_poll = 1s;
inline constexpr duration image_gc_interval = 5min;
inline constexpr std::size_t disk_entries_max = 1'000'000;  // counted of one pod's files

// Device plugins (the kubelet's deadlines; it sets none for Allocate and GetPreferredAllocation, which admission waits
// for). One that has gone is waited for so long before its resource is forgotten (endpointStopGracePeriod).
inline constexpr duration plugin_connect_deadline = 10s;
inline constexpr duration plugin_start_deadline = 30s;
inline constexpr duration plugin_deadline = 2min;
inline constexpr duration plugin_grace = 5min;
inline constexpr duration plugin_look_interval = 10s;
inline constexpr std::size_t plugins_max = 256;
inline constexpr std::size_t plugin_devices_max = 100'000;  // of a plugin; some tell a device for each MiB of memory
inline constexpr std::size_t plugin_connections_max = 64;
inline constexpr std::string_view device_checkpoint = "kubelet_internal_checkpoint";
inline constexpr std::size_t device_checkpoint_bytes_max = 64 * 1024 * 1024;

// Pods with what they were given, twice as text of text.
inline constexpr std::size_t allocation_state_bytes_max = 16 * 1024 * 1024;
inline constexpr std::size_t cpu_state_bytes_max = 4 * 1024 * 1024;     // a node's containers with their CPUs, twice
inline constexpr std::size_t memory_state_bytes_max = 4 * 1024 * 1024;  // likewise, with their memory

// NUMA nodes that pods are aligned to (max-allowable-numa-nodes): sets of nodes are gone through, twice as many with
// each node more.
inline constexpr int numa_nodes_usual = 8, numa_nodes_most = 12;

// Users of pods' own: a pod's file, what getsubids says, and /etc/passwd.
inline constexpr std::size_t id_file_bytes_max = 4096, subordinate_ids_bytes_max = 4096;
inline constexpr std::size_t passwd_bytes_max = 1024 * 1024;

// The system's bus: a call is answered at once; one that can't be reached is tried again (the kubelet's period).
inline constexpr duration bus_deadline = 10s;
inline constexpr duration bus_retry = 1s;
inline constexpr duration shutdown_poll = 100ms;  // whether pods that end for a shutdown have

// Control groups above pods are made true again, and one that can't be limited yet is tried again.
inline constexpr duration group_interval = 1min;  // periodicQOSCgroupUpdateInterval

// Answers of the supervisor (configuration, certificates) and of the API server about the own Node: tens of KB.
inline constexpr std::size_t answer_bytes_max = 1024 * 1024;
// One call of the runtime; its state and image list come from its memory.
inline constexpr duration runtime_deadline = 5s;
// Answers of the runtime: an image list of a full node is a few hundred KB.
inline constexpr std::size_t runtime_answer_bytes_max = 4 * 1024 * 1024;

// Calls that make something run or end: the kubelet's --runtime-request-timeout.
inline constexpr duration runtime_work_deadline = 2min;
// A checkpoint has as long as its caller says, but no longer than anybody waits.
inline constexpr std::int64_t checkpoint_seconds_max = 24 * 3600;
// A command of a hook has no time of its own: it may take as long as the longest usual grace period.
inline constexpr duration exec_time_max = 1h;
// An image of some GB over a slow line.
inline constexpr duration image_pull_time_max = 1h;
// What is told of a probe's or hook's output.
inline constexpr std::size_t probe_output_max = 10 * 1024;

// Pods. A step that failed is tried again after the first of these, doubling up to the last (the kubelet: 500 ms to 2
// min for mounts, 10 s for the rest).
inline constexpr duration pod_retry_first = 500ms;
inline constexpr duration pod_retry_most = 30s;
inline constexpr duration runtime_retry = 1s;  // while the runtime doesn't answer
inline constexpr duration runtime_relist_interval =
    1s;  // what the runtime has is looked at: the kubelet's generic PLEG
inline constexpr duration container_restart_first = 10s;  // CrashLoopBackOff
inline constexpr duration container_restart_most = 5min;
inline constexpr duration image_retry_first = 10s;  // ImagePullBackOff
inline constexpr duration image_retry_most = 5min;
inline constexpr duration image_backoff_told = 2s;       // after which ErrImagePull is told as ImagePullBackOff
inline constexpr std::size_t image_attempts_max = 1000;  // failed pulls that are remembered, by pod and image
inline constexpr std::int64_t grace_min_seconds = 2;     // minimumGracePeriodInSeconds
inline constexpr duration order_poll = 200ms;            // whether those that end before a sidecar have
inline constexpr duration status_told_poll = 10s;
inline constexpr duration gone_wait = 10s;  // for the watch to say that what was deleted is gone
// Files of volumes are compared with what they name each minute or so, spread so that pods of one template don't ask
// together.
inline constexpr duration volume_refresh = 60s;
inline constexpr duration volume_refresh_spread = 30s;
// How long a pod waits for servers to attach its volumes before that is told: podAttachAndMountTimeout.
inline constexpr duration volumes_wait_told = 123s;
// What an earlier agent left of pods, and couldn't be removed, is tried again this often.
inline constexpr duration leftovers_retry = 10s;
// A burst of pods of one template asks once. A pod that was heard of later asks anew, whatever this says; so it is a
// container that starts again, or a volume that is looked at again, whose objects may be so old.
inline constexpr duration object_age_max = 1s;
inline constexpr std::size_t objects_kept_max = 256;
inline constexpr std::size_t pod_requests_max = 16;               // to the API server at once, for pods
inline constexpr std::size_t object_bytes_max = 4 * 1024 * 1024;  // a ConfigMap of 1 MiB as JSON, binary as base64
inline constexpr std::size_t message_max = 4096;                  // of a termination message, as the kubelet reads it
inline constexpr std::size_t message_from_log_max = 2048;
inline constexpr std::size_t message_lines_max = 80;
inline constexpr std::size_t host_file_max = 64 * 1024;  // /etc/hosts, /etc/resolv.conf
inline constexpr std::size_t events_waiting_max = 1000;  // as client-go: beyond it the newest is dropped
inline constexpr std::size_t events_told_max = 1024;     // that may be counted up
inline constexpr duration static_period = 20s;           // the kubelet's fileCheckFrequency
inline constexpr std::size_t static_pods_max = 500;
inline constexpr std::size_t manifest_bytes_max = 1024 * 1024;
inline constexpr std::size_t workers_max = 2000;  // pods on a node with those that end; more wait until others have

// A start without servers: when none has answered for so long, what is known from before counts.
inline constexpr duration offline_patience = 2s;
// Records on disk: a node's pods, and what they name. A record has one object, sealed.
inline constexpr std::size_t offline_records_max = 5000;
inline constexpr std::size_t offline_object_bytes_max = 4 * 1024 * 1024;
inline constexpr std::size_t offline_record_bytes_max = 5 * 1024 * 1024;

// Images on disk. A folder's look costs a few system calls; a file counts as whole when two looks find it the same.
inline constexpr duration image_folder_interval = 5s;
inline constexpr duration start_image_interval = 100ms;  // until containerd answers
inline constexpr duration image_import_retry = 1min;     // of a file that failed for a reason that may pass
inline constexpr std::size_t image_files_max = 1000;
inline constexpr std::size_t image_list_bytes_max = 1024 * 1024;
inline constexpr std::size_t image_piece_bytes = 256 * 1024;      // read, unpacked, hashed and sent at once
inline constexpr std::size_t archive_entries_max = 100'000;       // an image of 1,000 layers has 3,000
inline constexpr std::size_t archive_text_max = 4 * 1024 * 1024;  // of a manifest or configuration, as containerd's
inline constexpr std::size_t archive_texts_max = 64 * 1024 * 1024;
inline constexpr int zstd_window_log_max = 27;  // 128 MiB: `zstd --long`; what needs more is not for small machines

// containerd is started again after 1 s, doubling up to 1 min; a run of 1 min makes it start afresh.
inline constexpr duration restart_first = 1s;
inline constexpr duration restart_most = 1min;
// Its log is moved to `.1` at a start when it is larger than this.
inline constexpr std::size_t runtime_log_bytes_max = 50 * 1024 * 1024;
// A graceful stop gives containerd this long before it is killed.
inline constexpr duration stop_grace = 5s;

// The kubelet's port: what reviews are remembered for (the kubelet's cache times), and for how many askers.
inline constexpr duration token_cache_time = 2min;
inline constexpr duration granted_cache_time = 5min;
inline constexpr duration refused_cache_time = 30s;
inline constexpr std::size_t access_cache_max = 512;
// /logs/: a folder's listing is made in memory, a file is read in pieces.
inline constexpr std::size_t log_folder_entries_max = 10'000;
inline constexpr std::size_t log_piece_bytes = 256 * 1024;
inline constexpr duration log_follow_poll = 100ms;        // of a log that is followed: what a person doesn't notice
inline constexpr std::size_t log_line_max = 1024 * 1024;  // the runtime cuts lines at 16 KiB; longer ones are nobody's
inline constexpr std::size_t log_tail_max = 64 * 1024 * 1024;  // for more, tailLines gives what is in these
// What the node uses is measured at most this often, however many ask; rates are over the second of these and more.
inline constexpr duration usage_age_max = 1s;
inline constexpr duration usage_rate_span = 5s;
// A file of a control group: memory.stat has 2 KB; cgroup.procs and io.stat of a large one some 100.
inline constexpr std::size_t cgroup_file_bytes_max = 1024 * 1024;
// Files of a container's log: five are kept, more are somebody's who put them there.
inline constexpr std::size_t log_files_measured_max = 100;
// Another process on the port may go away (a K3s that is being replaced).
inline constexpr duration kubelet_listen_retry = 5s;

// The API servers' connections for requests that run at once, and a scraper's or two.
inline constexpr std::size_t kubelet_connections_max = 1000;
inline constexpr std::size_t status_connections_max = 16;

// Learning the servers: a watch is begun anew this often, whatever happens. One that can't be begun is tried again
// after the first of these, doubling up to the last, plus up to as much again.
inline constexpr duration watch_time = 5min;
inline constexpr duration watch_retry_first = 200ms;
inline constexpr duration watch_retry_most = 15s;
// One that stood has ended as watches do, when a server stops or a connection moves, and just then the servers change:
// it is begun again at once, within this time, so that a dead server's agents don't come in the same millisecond. Those
// that end one after another, each within watch_brief, double it, up to watch_brief.
inline constexpr duration watch_again = 100ms;
inline constexpr duration watch_brief = 1s;
// One event of that watch: a slice has at most 1000 endpoints of a few hundred bytes.
inline constexpr std::size_t servers_event_bytes_max = 1024 * 1024;
// A node's pods, and an event of one: 110 of some 10 KB are usual, and one may have 1.5 MB.
inline constexpr std::size_t pods_bytes_max = 16 * 1024 * 1024;
// The tunnels' round trips are told to the balancer this often.
inline constexpr duration round_trip_interval = 5s;

// How soon a certificate that was set aside, or an address that changed, is noticed: twice that and a renewal are well
// below 30 s. A look reads four small files and the interfaces.
inline constexpr std::chrono::seconds identity_look_interval{5};
// Each third look asks a server whether its authorities are others: one small request on the connection that stands.
inline constexpr unsigned authorities_look_every = 3;
// How often certificates that end soon are asked for, when those that come end soon as well.
inline constexpr std::chrono::hours certificate_renewal_pause{6};
// K3s's: events live an hour.
inline constexpr std::chrono::minutes certificate_report_interval{30};

}  // namespace kedge::node
