// registration.h: how a machine becomes a node of a cluster: the procedure of a K3s agent, request by request.
//
//   token ─▶ GET /cacerts, checked against the token's hash
//         ─▶ GET /v1-k3s/config                       (Basic node:password, or the bootstrap token)
//         ─▶ GET client-ca.crt, server-ca.crt
//         ─▶ POST serving-kubelet.crt, client-kubelet.crt (with the node's name and password),
//                 client-kube-proxy.crt, client-k3s-controller.crt
//         ─▶ $D/agent/*.crt, *.key, *.kubeconfig
//
// It runs at every start, which renews the certificates. The node password proves at the second start that this is the
// machine which took the name at the first.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "crypto/token.h"
#include "json/value.h"
#include "node/config.h"
#include "node/join/supervisor_client.h"
#include "reactor/task.h"

namespace kedge::node {

// What an agent uses of /v1-k3s/config.
struct cluster_config {
  std::vector<std::string> cluster_cidrs, service_cidrs;  // "10.42.0.0/16"
  std::vector<std::string> cluster_dns;
  std::string cluster_domain;
  std::string flannel_backend;
  std::string egress_selector_mode;
  bool embedded_registry = false;       // nodes share images
  std::string system_default_registry;  // of images that name none; empty: they are Docker Hub's
  unsigned https_port = 0, supervisor_port = 0;
  bool disable_cloud_controller = false;
  bool flannel_ipv6_masquerade = false, flannel_external_ip = false;
  bool disable_kube_proxy = false, disable_service_lb = false, disable_dns = false, disable_network_policy = false;
  friend bool operator==(const cluster_config&, const cluster_config&) = default;
};
// errc::unsupported: a server too old for us, with K3s's text.
result<cluster_config> parse_cluster_config(const json::value& document);
// {"IP":"10.42.0.0","Mask":"//8AAA=="} → "10.42.0.0/16"; empty for anything else (null too).
std::string parse_ip_net(const json::value& v);

// Who this machine is to the cluster, kept in files so that it stays the same.
struct node_identity {
  std::string name;      // lower-case, with the node id when that was asked for
  std::string password;  // 32 hexadecimal digits
};
// Reads or creates the files of `config.password_folder`. Blocks: through offload.
result<node_identity> load_identity(const agent_config& config, std::string_view hostname, random_source& random);

// A certificate answer: PEM certificates, leaf first, perhaps followed by a key that replaces ours.
struct issued {
  std::string chain, key;  // key: empty unless the server sent one
};
result<issued> parse_issued(std::string_view pem);

// The kubeconfig of one component: everything by path. 0600.
std::string component_kubeconfig(std::string_view server, std::string_view ca_file, std::string_view certificate_file,
                                 std::string_view key_file);

// The error for an agent's operator where the server's own says too little: a rejected node password, bad credentials.
error explain(error e, const agent_config& config, std::string_view node_name);

struct registration {
  cluster_config cluster;
  std::string server_ca;    // PEM, to verify the API server
  client_identity kubelet;  // system:node:<name>
  bool from_disk = false;   // as an earlier start left it: no server answers
};

// What an earlier start left, which a node shows beside its token. Blocking.
result<client_identity> load_kubelet_identity(const agent_config& config);

// Registers `config.node_name` (resolved, as are node_ips), retrying for as long as it may help. Fails only where it
// may not: a malformed token or URL, a token of another cluster, a folder that can't be written. With
// config.start_without_server, what this node's last registration left on the disk counts once no server has answered
// for offline_patience. `known_ca`: whom a node that runs believes already (PEM), whatever CA its token is of; empty:
// the token says.
task<result<registration>> register_node(agent_config config, std::string password, reactor::network* network,
                                         std::string known_ca = {});

}  // namespace kedge::node
