// options.h: what `kedge server` and `kedge agent` were told, as plain typed values.
//
// Every field is filled from the table in flag_table.cc (flags over environment over configuration file) and checked
// before anything runs. What a flag asks for is read somewhere, or the flag says in the table that it has no effect
// (tests/tidy/options_test.py holds the two together).
// The defaults below are the real ones; where a default needs the machine (host name, user), options_load.h fills it
// in.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/time.h"
#include "control/scheduler/configuration.h"
#include "control/settings.h"
#include "node/kube_proxy_settings.h"
#include "node/kubelet_settings.h"
#include "server/api_arguments.h"

namespace kedge::cli {

// Permission bits, given in octal: 0644.
struct file_mode {
  unsigned bits = 0;
  friend bool operator==(file_mode, file_mode) = default;
};

// Both ends included.
struct port_range {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  friend bool operator==(port_range, port_range) = default;
};

struct agent_options {
  // Where the settings come from, and what is told
  std::string config_file = "/etc/rancher/k3s/config.yaml";  // may be absent; its drop-ins are <config_file>.d/*.yaml
  bool check_only = false;                                   // a dry start
  bool debug = false;
  std::string log_file;  // empty: standard error
  log::format log_format = log::format::text;

  // Cluster
  std::string server_url;  // https://HOST[:PORT], without a trailing slash; on a server: the cluster to join
  std::string token;       // secret. --token-file has been read into it
  std::string token_file;

  // Data
  std::string data_dir;  // absolute. /var/lib/rancher/k3s, or ~/.rancher/k3s for an ordinary user

  // The process
  std::string bind_address;         // empty: any
  unsigned reactors = 0;            // 0: one for each core
  std::string io_backend = "auto";  // auto | io_uring | epoll

  // Node
  std::string node_name;  // the host's name, lower-cased
  bool with_node_id = false;
  std::vector<std::string> node_labels;  // key=value
  std::vector<std::string> node_taints;  // key[=value]:Effect
  std::string flannel_interface;         // empty: that of the node's address
  std::string flannel_cni_conf;          // a file; empty: our own
  std::vector<std::string> node_ips;     // empty: the address of the default route's interface
  std::vector<std::string> node_external_ips;
  std::vector<std::string> node_internal_dns;
  std::vector<std::string> node_external_dns;
  std::string resolv_conf;                // empty: found as K3s finds it
  std::vector<std::string> kubelet_args;  // key=value, as given; understood in `kubelet`
  node::kubelet_settings kubelet;
  std::vector<std::string> kube_proxy_args;  // the same; in `kube_proxy`
  node::kube_proxy_settings kube_proxy;
  std::string container_runtime_endpoint;  // empty: start or find containerd
  std::string image_service_endpoint;
  std::string default_runtime;
  std::string pause_image = "rancher/mirrored-pause:3.10.2";
  std::string snapshotter = "overlayfs";
  std::string private_registry = "/etc/rancher/k3s/registries.yaml";
  bool disable_default_registry_endpoint = false;
  bool selinux = false;
  bool nonroot_devices = false;
  std::vector<std::string> airgap_extra_registries;
  bool pod_start_without_server = true;

  // The client-side load balancer
  std::uint16_t lb_server_port = 6444;
  bool disable_apiserver_lb = false;

  // The arguments as K3s records them in the annotation k3s.io/node-args: command word, what the configuration file
  // gave, and the command line, `--a=b` split in two, secrets masked. And the K3S_* environment for k3s.io/node-env,
  // sorted.
  std::vector<std::string> node_args;
  std::vector<std::pair<std::string, std::string>> node_env;
};

using server::api_server_arguments;

struct server_options {
  agent_options agent;  // the flags that server and agent share; of use to the server's own node as well

  // Listener
  std::uint16_t https_listen_port = 6443;
  std::string advertise_address;     // empty: the node's external, then internal address
  std::uint16_t advertise_port = 0;  // 0: https_listen_port
  std::vector<std::string> tls_san;
  bool tls_san_security = true;
  std::vector<std::string> vips;  // addresses that move between the servers
  std::string vip_interface;      // empty: whose network has the address

  // Networking
  std::vector<std::string> cluster_cidr = {"10.42.0.0/16"};
  std::vector<std::string> service_cidr = {"10.43.0.0/16"};
  port_range service_node_ports = {30000, 32767};
  std::vector<std::string> cluster_dns;  // empty: the tenth address of each service range
  std::string cluster_domain = "cluster.local";
  bool flannel_ipv6_masq = false, flannel_external_ip = false;
  std::string flannel_backend = "vxlan";       // "none": the user brings the pod network
  std::string egress_selector_mode = "agent";  // agent | cluster | pod | disabled

  // Client
  std::string write_kubeconfig;  // empty: /etc/rancher/k3s/k3s.yaml
  file_mode write_kubeconfig_mode = {0600};
  std::string write_kubeconfig_group;
  std::string write_kubeconfig_name = "default";

  // Cluster
  std::string agent_token;  // secret; empty: the token
  std::string agent_token_file;

  // Database
  std::string datastore_endpoint;  // secret; empty: SQLite in the data directory
  std::string datastore_ca_file;
  std::string datastore_cert_file;
  std::string datastore_key_file;
  std::string sqlite_synchronous = "normal";  // normal | full
  bool disable_snapshots = false;             // none on the schedule
  std::string snapshot_name = "etcd-snapshot";
  std::string snapshot_schedule = "0 */12 * * *";
  unsigned snapshot_retention = 5;
  std::string snapshot_reconcile = "10m";
  std::string snapshot_dir;  // empty: <data_dir>/server/db/snapshots
  bool etcd_s3 = false;      // snapshots go into a bucket too
  std::string etcd_s3_endpoint = "s3.amazonaws.com";
  std::string etcd_s3_endpoint_ca;
  std::string etcd_s3_proxy;  // secret: may hold a password
  bool etcd_s3_skip_ssl_verify = false;
  bool etcd_s3_insecure = false;
  std::string etcd_s3_access_key;     // secret
  std::string etcd_s3_secret_key;     // secret
  std::string etcd_s3_session_token;  // secret
  std::string etcd_s3_bucket;
  std::string etcd_s3_bucket_lookup = "auto";  // auto | dns | path
  std::string etcd_s3_region = "us-east-1";
  std::string etcd_s3_folder;
  std::string etcd_s3_config_secret;
  unsigned etcd_s3_retention = 5;
  std::string etcd_s3_timeout = "5m";
  bool cluster_init = false, etcd_expose_metrics = false;
  bool disable_etcd = false;   // no member here; the others' etcd is used
  bool cluster_reset = false;  // instead of running: a cluster of one of what is here, or of a snapshot
  std::string cluster_reset_restore_path;
  bool accept_data_loss = false;  // of a database that has less than this server has seen

  // Components
  std::vector<std::string> disable_components;  // packaged components and manifests to leave out
  std::vector<std::string> with_components;     // packaged components that are left out unless asked for
  bool prune_manifests = false;                 // what a manifest brought goes with its file
  bool disable_helm_controller = false;
  std::string helm_job_image;
  std::vector<std::string> helm_controller_args;  // key=value, as given; understood in `controllers`
  bool disable_scheduler = false;
  bool disable_controller_manager = false;
  bool disable_cloud_controller = false;
  bool disable_kube_proxy = false;
  bool disable_network_policy = false;
  bool disable_agent = false;
  bool supervisor_metrics = false;
  bool secrets_encryption = false;
  std::string secrets_encryption_provider = "aescbc";  // aescbc | secretbox
  bool embedded_registry = false;
  std::string system_default_registry;
  std::string default_local_storage_path;            // empty: <data_dir>/storage
  std::vector<std::string> api_server_args;          // key=value, as given; understood in `api`
  std::vector<std::string> controller_manager_args;  // key=value, as given; understood in `controllers`
  std::vector<std::string> scheduler_args;           // key=value, as given; understood in `scheduling`
  api_server_arguments api;
  control::settings controllers;
  std::shared_ptr<const control::scheduler::configuration> scheduling;
};

}  // namespace kedge::cli
