#include "cli/server_settings.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "api/admission/chain.h"
#include "base/log.h"
#include "cli/datastore_options.h"
#include "cli/flag_values.h"
#include "cli/memory_limit.h"
#include "cli/node_settings.h"
#include "cli/version.h"
#include "datastore/endpoint.h"
#include "node/machine/system_info.h"

namespace kedge::cli {

namespace {

constexpr std::size_t history_share = 20;  // of the memory: recent events and what they replaced
constexpr std::size_t history_bytes_min = 8 * 1024 * 1024;

// Where K3s has the administrator's kubeconfig.
std::string usual_kubeconfig() {
  // Several servers on one machine (tests, demonstrations) need a place each.
  if (const char* other = std::getenv("KEDGE_KUBECONFIG_LINK"); other && *other) return other;
  if (::geteuid() == 0) return "/etc/rancher/k3s/k3s.yaml";
  const char* home = std::getenv("HOME");
  return std::string(home ? home : "/tmp") + "/.kube/k3s.yaml";
}

supervisor::config cluster_settings(const server_options& o) {
  supervisor::config c;
  c.data_dir = o.agent.data_dir;
  c.node_name = o.agent.node_name;
  c.disable_agent = o.disable_agent;
  c.node_ips = o.agent.node_ips;
  if (c.node_ips.empty())
    if (auto found = node::default_addresses()) c.node_ips = *found;
  c.cluster_cidrs = o.cluster_cidr;
  c.service_cidrs = o.service_cidr;
  const server_options fresh;
  // A machine of IPv6 alone, as K3s has it.
  if (!c.node_ips.empty() && c.node_ips.front().contains(':') && o.cluster_cidr == fresh.cluster_cidr &&
      o.service_cidr == fresh.service_cidr) {
    c.cluster_cidrs = {"fd00:42::/56"};
    c.service_cidrs = {"fd00:43::/112"};
  }
  c.node_ips = node::order_addresses(std::move(c.node_ips), c.service_cidrs);
  c.node_external_ips = o.agent.node_external_ips;
  c.token = o.agent.token;
  c.agent_token = o.agent_token;
  c.bind_address = o.agent.bind_address;
  c.advertise_address = !o.advertise_address.empty()   ? o.advertise_address
                        : !c.node_external_ips.empty() ? c.node_external_ips.front()
                        : !c.node_ips.empty()          ? c.node_ips.front()
                                                       : "127.0.0.1";
  c.follows_addresses = o.advertise_address.empty() && o.agent.node_ips.empty() && o.agent.node_external_ips.empty();
  c.https_port = o.https_listen_port;
  c.advertise_port = o.advertise_port ? o.advertise_port : o.https_listen_port;
  c.tls_sans = o.tls_san;
  c.tls_san_security = o.tls_san_security;
  c.tls_sans.insert(c.tls_sans.end(), o.vips.begin(), o.vips.end());
  c.cluster_dns = o.cluster_dns;
  if (c.cluster_dns.empty())
    for (auto& cidr : c.service_cidrs) c.cluster_dns.push_back(supervisor::first_address(cidr, 10));
  c.cluster_domain = o.cluster_domain;
  c.node_port_first = o.service_node_ports.first;
  c.node_port_last = o.service_node_ports.last;
  c.egress_selector_mode = o.egress_selector_mode;
  c.flannel_backend = o.flannel_backend;
  c.flannel_ipv6_masq = o.flannel_ipv6_masq;
  c.flannel_external_ip = o.flannel_external_ip;
  c.write_kubeconfig = o.write_kubeconfig;
  c.usual_kubeconfig = usual_kubeconfig();
  c.write_kubeconfig_mode = o.write_kubeconfig_mode.bits;
  c.write_kubeconfig_group = o.write_kubeconfig_group;
  c.write_kubeconfig_name = o.write_kubeconfig_name;
  c.disables = o.disable_components;
  c.extras = o.with_components;
  c.prune_manifests = o.prune_manifests;
  c.disable_helm_controller = o.disable_helm_controller;
  c.disable_scheduler = o.disable_scheduler;
  c.disable_controller_manager = o.disable_controller_manager;
  c.disable_cloud_controller = o.disable_cloud_controller;
  c.disable_kube_proxy = o.disable_kube_proxy;
  c.disable_network_policy = o.disable_network_policy;
  c.supervisor_metrics = o.supervisor_metrics;
  c.secrets_encryption = o.secrets_encryption;
  c.secrets_encryption_provider = o.secrets_encryption_provider;
  c.embedded_registry = o.embedded_registry;
  c.system_default_registry = o.system_default_registry;
  c.default_local_storage_path =
      o.default_local_storage_path.empty() ? o.agent.data_dir + "/storage" : o.default_local_storage_path;
  c.api_server_args = o.api_server_args;
  c.controller_manager_args = o.controller_manager_args;
  c.scheduler_args = o.scheduler_args;
  c.leader_election = datastore::is_shared_endpoint(o.datastore_endpoint) || manages_etcd(o);
  return c;
}

result<std::vector<ip_address>> virtual_addresses(const server_options& o) {
  std::vector<ip_address> out;
  for (auto& text : o.vips) {
    auto a = ip_address::parse(text).value();
    if (!a.is_global_unicast()) return fail(errc::invalid, "--vip: " + text + " can't be the address of a host");
    if (std::ranges::find(out, a) == out.end()) out.push_back(a);
  }
  if (out.size() > server::vips_max)
    return fail(errc::invalid, "--vip: at most " + std::to_string(server::vips_max) + " addresses");
  if (out.empty() && !o.vip_interface.empty()) return fail(errc::invalid, "--vip-interface is of use with --vip only");
  auto& bound = o.agent.bind_address;
  if (!out.empty() && !bound.empty() && bound != "0.0.0.0" && bound != "::")
    return fail(errc::invalid, "--vip needs a port on all addresses: leave out --bind-address " + bound);
  return out;
}

result<void> check_family(const supervisor::config& c) {
  if (c.advertise_address.contains(':') == c.service_cidrs.front().contains(':')) return {};
  return fail(errc::invalid, "this server's address, " + c.advertise_address +
                                 ", and the first range of --service-cidr, " + c.service_cidrs.front() +
                                 ", have to be of one family: --node-ip names others");
}

}  // namespace

result<server::settings> server_settings(const server_options& o) {
  std::optional<error> wrong;
  auto note = [&wrong](const auto& part) {
    if (part) return;
    if (wrong)
      wrong->message += "\n" + part.error().message;
    else
      wrong = part.error();
  };
  auto vips = virtual_addresses(o);
  note(vips);
  auto cluster = cluster_settings(o);
  note(check_family(cluster));
  auto log = datastore_options(o);
  // An endpoint that can't be used is refused before anything is made.
  note(datastore::make_log(log));
  server::settings s{.cluster = std::move(cluster),
                     .api = o.api,
                     .controllers = o.controllers,
                     .scheduling = o.scheduling,
                     .open_log = {},
                     .etcd = {.managed = manages_etcd(o),
                              .member = !o.disable_etcd,
                              .join = o.agent.server_url,
                              .address = {},
                              .expose_metrics = o.etcd_expose_metrics,
                              .binary = {}},
                     .snapshots = {.disabled = o.disable_snapshots,
                                   .base = o.snapshot_name,
                                   .schedule = o.snapshot_schedule,
                                   .retention = o.snapshot_retention,
                                   .folder = snapshot_folder(o),
                                   .reconcile = parse_duration(o.snapshot_reconcile).value_or(std::chrono::minutes(10)),
                                   .s3 = bucket_settings(o)},
                     .accept_data_loss = o.accept_data_loss,
                     .vips = {},
                     .vip_interface = o.vip_interface,
                     .node = node_config(o.agent),
                     .version = version,
                     .commit = commit,
                     .flags = flag_values(o)};
  std::vector<std::string> passed_over;
  auto files = server::read_api_files(o.api, s.token_issuer(), passed_over);
  note(files);
  if (wrong) return fail(*std::move(wrong));
  s.vips = *std::move(vips);
  s.files = *std::move(files);
  for (auto& warning : passed_over) log::warning("{}", warning);
  for (auto& name : api::plugins_without_effect(o.api.enable_admission_plugins))
    log::warning("--kube-apiserver-arg=enable-admission-plugins={} has no effect: Kedge doesn't have this plugin yet",
                 name);
  if (auto memory = memory_limit()) s.history_bytes = std::max(memory / history_share, history_bytes_min);
  s.open_log = [log = std::move(log)] { return datastore::make_log(log); };
  s.etcd.address = s.cluster.node_ips.empty() ? "127.0.0.1" : s.cluster.node_ips.front();
  if (!o.agent.server_url.empty() && !s.etcd.managed)
    log::info("--server is not needed: with --datastore-endpoint, servers find each other through the datastore");
  return s;
}

}  // namespace kedge::cli
