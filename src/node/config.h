// config.h: what one node agent is told. The command line's options are mapped to this by cli; nothing here is parsed
// text but for labels and taints, whose grammar is the kubelet's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/kubernetes_version.h"
#include "node/kube_proxy_settings.h"
#include "node/kubelet_settings.h"

namespace kedge::node {

// What the environment says of an HTTP proxy (join/http_proxy.h).
struct proxy_environment {
  std::string proxy;     // HTTPS_PROXY: http://user:password@host:port, https://…, or host:port
  std::string no_proxy;  // NO_PROXY: names, addresses, ranges, "*"; with commas
};

struct agent_config {
  // Where to join, and as what.
  std::string server_url;  // https://HOST:PORT, the fixed registration address; for a server's own node itself
  std::string api_url;     // what kubeconfigs name and API requests use: the local balancer; empty: server_url
  std::string token;       // short, bootstrap or full (K10…)
  std::string node_name;   // empty: the machine's host name; lower-cased
  std::optional<proxy_environment> proxy;  // on the way to servers
  bool with_node_id = false;               // append the id of `password_folder`/id to the name
  std::string data_dir = "/var/lib/rancher/k3s";
  std::string password_folder = "/etc/rancher/node";

  // Inside a server: a client certificate of the control plane's, used only to give the Node its role label, which
  // NodeRestriction keeps a node from taking. Empty on agents.
  std::string admin_certificate, admin_key;  // paths of PEM files

  // What the Node says.
  std::vector<std::string> node_ips;  // empty: the default route's addresses
  std::vector<std::string> node_external_ips;
  std::vector<std::string> node_internal_dns, node_external_dns;
  std::vector<std::string> node_labels;           // key=value
  std::vector<std::string> node_taints;           // key=value:Effect; only taken when the Node is created
  bool disable_cloud_controller = false;          // no k3s.io address annotations, no provider id
  std::string node_args = "[]", node_env = "{}";  // JSON texts with secrets replaced; config_hash() goes with them
  std::string version = kedge_version;            // kubeletVersion
  kubelet_settings kubelet;                       // what --kubelet-arg gave
  kube_proxy_settings kube_proxy;                 // what --kube-proxy-arg gave

  // Whether a node that was one before runs its pods although no server answers.
  bool start_without_server = false;

  // How the servers reach the node and the node them.
  bool reachable = false;           // keep tunnels to all servers, serve the kubelet's port and `agent status`
  std::string bind_address;         // where the kubelet's port is; empty: everywhere
  std::uint16_t balancer_port = 0;  // on loopback; 0: requests go to server_url (a server's own node)

  // The container runtime: ours, unless an endpoint is given (unix:///path or a path).
  std::string container_runtime_endpoint;
  std::string image_service_endpoint;  // of images, where that is another; empty: the same
  std::string containerd_binary;       // empty: looked for in PATH
  std::string runtime_state_folder;    // containerd's state and socket; empty: default_runtime_state_folder()
  std::string snapshotter;             // empty: overlayfs where the data folder can carry it
  std::string pause_image = "rancher/mirrored-pause:3.6";
  std::string registries_file = "/etc/rancher/k3s/registries.yaml";
  std::string own_mirror_url;                        // of this node's port, for its containerd; empty: none
  bool mirror_latest = false;                        // nodes share images that are called latest, too
  bool registry_fallback = true;                     // false: where there are mirrors, the registry itself isn't asked
  bool selinux = false;                              // containers get labels, where the kernel has them
  bool nonroot_devices = false;                      // devices belong to the user that a container runs as
  std::string default_runtime;                       // empty: kedge, or runc without our shim
  std::vector<std::string> airgap_extra_registries;  // images of agent/images get names there too
  std::string cni_bin_folder;     // another's CNI plugins; empty: ours, and the machine's others (plugin_folder)
  bool manage_cni = true;         // false: the machine's network stays as it is, whatever the cluster has
  std::string flannel_interface;  // of the pods' network between nodes; empty: that of the node's address
  std::string resolv_conf;        // where names outside are asked for; empty: the machine's
  std::string flannel_cni_conf;   // a file that stands for our network configuration

  std::string agent_folder() const { return data_dir + "/agent"; }
  bool is_default_data_dir() const { return data_dir == "/var/lib/rancher/k3s"; }
  std::string offline_folder() const { return agent_folder() + "/offline"; }
  std::string status_socket() const { return agent_folder() + "/status.sock"; }
  std::string cni_conf_folder() const { return agent_folder() + "/etc/cni/net.d"; }
  std::string plugin_folder() const { return data_dir + "/data/cni"; }  // K3s's
  // What the CNI plugins read and write. Another data folder has its own, so that several nodes can live on one
  // machine.
  std::string subnet_file() const {
    return is_default_data_dir() ? "/run/flannel/subnet.env" : agent_folder() + "/subnet.env";
  }
  std::string lease_folder() const { return is_default_data_dir() ? "/var/lib/cni/networks" : agent_folder() + "/cni"; }
  // Where pods' volumes and logs are: the kubelet's places for K3s's own data folder; another one has its own, so that
  // nodes on one machine don't take each other's pods for leftovers.
  std::string kubelet_folder() const {
    return is_default_data_dir() ? "/var/lib/kubelet" : agent_folder() + "/kubelet";
  }
  std::string pod_logs_folder() const { return is_default_data_dir() ? "/var/log/pods" : agent_folder() + "/log/pods"; }
  std::string log_links_folder() const {
    return is_default_data_dir() ? "/var/log/containers" : agent_folder() + "/log/containers";
  }
  const std::string& api() const { return api_url.empty() ? server_url : api_url; }
};

// /run/k3s/containerd for K3s's own data folder; another one gets a folder of its own, so that several nodes can live
// on one machine (a unix socket's path is short: the data folder's can't be used).
std::string default_runtime_state_folder(std::string_view data_dir);

struct taint {
  std::string key, value, effect;
  friend bool operator==(const taint&, const taint&) = default;
};
// "key=value:Effect", "key:Effect" or "key=:Effect" with the effects of Kubernetes.
result<taint> parse_taint(std::string_view text);
// "key=value" or "key="; both parts in Kubernetes' label grammar.
result<std::pair<std::string, std::string>> parse_label(std::string_view text);

// k3s.io/node-config-hash: base32 of SHA-256 of both texts together.
std::string config_hash(std::string_view node_args, std::string_view node_env);

}  // namespace kedge::node
