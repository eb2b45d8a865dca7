#include "cli/node_settings.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "base/strings.h"
#include "cli/node_args.h"
#include "cli/version.h"
#include "node/join/http_proxy.h"

namespace kedge::cli {

node::agent_config node_config(const agent_options& o) {
  node::agent_config c;
  c.server_url = o.server_url;
  c.token = o.token;
  c.node_name = o.node_name;
  c.with_node_id = o.with_node_id;
  c.data_dir = o.data_dir;
  // Several nodes on one machine (tests, demonstrations) need a password each.
  if (const char* folder = std::getenv("KEDGE_NODE_PASSWORD_FOLDER"); folder && *folder)
    c.password_folder = folder;
  else if (::geteuid() != 0)
    c.password_folder = o.data_dir + "/agent/etc/rancher/node";
  c.node_ips = o.node_ips;
  c.node_external_ips = o.node_external_ips;
  c.node_internal_dns = o.node_internal_dns;
  c.node_external_dns = o.node_external_dns;
  c.node_labels = o.node_labels;
  c.node_taints = o.node_taints;
  auto described = describe_node(o.node_args, o.node_env);
  c.node_args = described.args;
  c.node_env = described.env;
  c.version = version;
  c.container_runtime_endpoint = o.container_runtime_endpoint;
  c.image_service_endpoint = o.image_service_endpoint;
  c.snapshotter = o.snapshotter;
  c.pause_image = o.pause_image;
  c.registries_file = o.private_registry;
  // As Go reads a bool.
  if (const char* latest = std::getenv("K3S_P2P_ENABLE_LATEST"))
    c.mirror_latest = std::string_view(latest) == "1" || lower(latest) == "true" || lower(latest) == "t";
  c.registry_fallback = !o.disable_default_registry_endpoint;
  c.selinux = o.selinux;
  c.nonroot_devices = o.nonroot_devices;
  c.default_runtime = o.default_runtime;
  c.airgap_extra_registries = o.airgap_extra_registries;
  c.start_without_server = o.pod_start_without_server;
  c.resolv_conf = o.resolv_conf;
  c.flannel_interface = o.flannel_interface;
  c.flannel_cni_conf = o.flannel_cni_conf;
  c.reachable = true;
  c.bind_address = o.bind_address;
  c.kubelet = o.kubelet;
  c.kube_proxy = o.kube_proxy;
  c.node_labels.insert(c.node_labels.end(), o.kubelet.labels.begin(), o.kubelet.labels.end());
  c.node_taints.insert(c.node_taints.end(), o.kubelet.taints.begin(), o.kubelet.taints.end());
  return c;
}

std::optional<node::proxy_environment> proxy_of_this_process() {
  return node::proxy_of([](std::string_view name) -> std::optional<std::string> {
    const char* text = std::getenv(std::string(name).c_str());
    return text ? std::optional<std::string>(text) : std::nullopt;
  });
}

}  // namespace kedge::cli
