// config.h: what the supervisor needs to know of the server it speaks for. The command line fills it
// (cli/server_settings.cc).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kedge::supervisor {

struct config {
  std::string data_dir;   // $D, /var/lib/rancher/k3s; the server's part is $D/server
  std::string node_name;  // this server's own node
  bool disable_agent = false;
  std::vector<std::string> node_ips, node_external_ips;

  std::string token;        // as given: short, full or empty (then read from disk, or made)
  std::string agent_token;  // empty: the token's password

  std::string bind_address;  // empty: any
  std::string advertise_address;
  bool follows_addresses = false;  // advertise_address is the machine's own, and may change while it runs
  std::uint16_t https_port = 6443;
  std::uint16_t advertise_port = 6443;
  std::vector<std::string> tls_sans;
  bool tls_san_security = true;

  std::vector<std::string> cluster_cidrs, service_cidrs;  // at least one each
  std::vector<std::string> cluster_dns;
  std::string cluster_domain = "cluster.local";
  std::uint16_t node_port_first = 30000, node_port_last = 32767;
  std::string egress_selector_mode = "agent";
  bool flannel_ipv6_masq = false, flannel_external_ip = false;
  std::string flannel_backend = "vxlan";  // "none" tells agents that the user brings the pod network

  std::string write_kubeconfig;  // empty: usual_kubeconfig
  std::string usual_kubeconfig;  // /etc/rancher/k3s/k3s.yaml: a link to write_kubeconfig; empty: no link
  unsigned write_kubeconfig_mode = 0600;
  std::string write_kubeconfig_group;
  std::string write_kubeconfig_name = "default";

  std::vector<std::string> disables;
  std::vector<std::string> extras;  // packaged components that aren't there unless they are asked for
  bool prune_manifests = false;     // what a manifest brought goes with its file
  bool disable_helm_controller = false;
  bool disable_scheduler = false, disable_controller_manager = false, disable_cloud_controller = false,
       disable_kube_proxy = false, disable_network_policy = false, supervisor_metrics = false;
  bool embedded_registry = false;  // nodes share images
  std::string system_default_registry, default_local_storage_path;
  std::vector<std::string> api_server_args, controller_manager_args, scheduler_args;
  std::string tls_min_version;  // as given to the API server; empty: none was
  bool secrets_encryption = false;
  std::string secrets_encryption_provider = "aescbc";  // or secretbox
  bool leader_election = false;                        // an external datastore, with other servers

  std::string server_dir() const { return data_dir + "/server"; }
  // Where this server is reached on its own machine.
  std::string own_host() const {
    const bool any = bind_address.empty() || bind_address == "0.0.0.0" || bind_address == "::";
    return any ? "127.0.0.1" : bind_address;
  }
};

// What every server of a cluster must agree on, and what its certificates name, derived from the ranges.
std::string first_address(const std::string& cidr,
                          unsigned offset);  // "10.43.0.0/16", 1 → "10.43.0.1"; "" for nonsense

}  // namespace kedge::supervisor
