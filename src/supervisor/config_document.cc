#include "supervisor/config_document.h"

#include "base/ip.h"
#include "base/strings.h"

namespace kedge::supervisor {

namespace {

// Go's net.IPNet: the address as text, the mask's bytes as base64.
json::value ip_net(const std::string& cidr) {
  const auto range = ip_range::parse(cidr);
  if (!range) return {};
  std::string mask(range->network().bits() / 8, '\0');
  for (unsigned bit = 0; bit < range->prefix(); ++bit)
    mask[bit / 8] = static_cast<char>(mask[bit / 8] | 0x80 >> bit % 8);
  return json::object{{"IP", range->network().text()}, {"Mask", base64(as_bytes(mask))}};
}

json::value ip_nets(const std::vector<std::string>& cidrs) {
  json::array out;
  for (auto& c : cidrs) out.push_back(ip_net(c));
  return out;
}

json::value strings_or_null(const std::vector<std::string>& list) {
  if (list.empty()) return nullptr;
  json::array out;
  for (auto& s : list) out.push_back(s);
  return out;
}

json::value set_of(const std::vector<std::string>& names) {
  if (names.empty()) return nullptr;
  json::object out;
  for (auto& n : names) out.set(n, true);
  return out;
}

bool has(const std::vector<std::string>& list, std::string_view name) {
  for (auto& s : list)
    if (s == name) return true;
  return false;
}

}  // namespace

std::string first_address(const std::string& cidr, unsigned offset) {
  const auto range = ip_range::parse(cidr);
  const auto address = range ? range->at(offset) : std::nullopt;
  return address ? address->text() : "";
}

json::value config_document(const config& c, const std::string& ipsec_psk, const std::vector<std::string>& sans) {
  static const std::vector<std::string> ciphers = {
      "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
      "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
      "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",  "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"};
  auto api_args = c.api_server_args;
  api_args.push_back("tls-cipher-suites=" + join(ciphers, ","));
  json::value d =
      json::object{// CriticalControlArgs: what all servers and agents must agree on
                   {"ClusterDNSs", strings_or_null(c.cluster_dns)},
                   {"ClusterIPRanges", ip_nets(c.cluster_cidrs)},
                   {"ClusterDNS", c.cluster_dns.empty() ? "" : c.cluster_dns.front()},
                   {"ClusterDomain", c.cluster_domain},
                   {"ClusterIPRange", ip_net(c.cluster_cidrs.front())},
                   {"DisableCCM", c.disable_cloud_controller},
                   {"DisableHelmController", c.disable_helm_controller},
                   {"DisableNPC", c.disable_network_policy},
                   {"EncryptSecrets", c.secrets_encryption},
                   {"EncryptProvider", c.secrets_encryption_provider},
                   {"EmbeddedRegistry", c.embedded_registry},
                   {"FlannelBackend", c.flannel_backend},
                   {"FlannelIPv6Masq", c.flannel_ipv6_masq},
                   {"FlannelExternalIP", c.flannel_external_ip},
                   {"EgressSelectorMode", c.egress_selector_mode},
                   {"ServiceIPRange", ip_net(c.service_cidrs.front())},
                   {"ServiceIPRanges", ip_nets(c.service_cidrs)},
                   {"SupervisorMetrics", c.supervisor_metrics},
                   {"AdvertisePort", c.advertise_port},
                   {"AdvertiseIP", c.advertise_address},
                   {"HTTPSPort", c.https_port},
                   {"SupervisorPort", c.https_port},
                   {"APIServerPort", c.https_port},
                   {"APIServerBindAddress", ""},
                   {"ServiceNodePortRange",
                    json::object{{"Base", c.node_port_first}, {"Size", c.node_port_last - c.node_port_first + 1}}},
                   {"KubeConfigOutput", c.write_kubeconfig},
                   {"KubeConfigMode", ""},
                   {"KubeConfigGroup", c.write_kubeconfig_group},
                   {"KubeConfigName", c.write_kubeconfig_name},
                   {"HelmJobImage", ""},
                   {"DataDir", c.server_dir()},
                   {"KineTLS", false},
                   {"Disables", set_of(c.disables)},
                   {"DisableAgent", c.disable_agent},
                   {"DisableAPIServer", false},
                   {"DisableControllerManager", c.disable_controller_manager},
                   {"DisableETCD", false},
                   {"DisableKubeProxy", c.disable_kube_proxy},
                   {"DisableScheduler", c.disable_scheduler},
                   {"DisableServiceLB", has(c.disables, "servicelb")},
                   {"Rootless", false},
                   {"ServiceLBNamespace", "kube-system"},
                   {"ExtraAPIArgs", strings_or_null(api_args)},
                   {"ExtraControllerArgs", strings_or_null(c.controller_manager_args)},
                   {"ExtraCloudControllerArgs", nullptr},
                   {"ExtraEtcdArgs", nullptr},
                   {"ExtraSchedulerArgs", strings_or_null(c.scheduler_args)},
                   {"ExtraHelmArgs", nullptr},
                   {"NoLeaderElect", !c.leader_election},
                   {"JoinURL", ""},
                   {"IPSECPSK", ipsec_psk},
                   {"DefaultLocalStoragePath", c.default_local_storage_path},
                   {"Skips", set_of(c.disables)},
                   {"SystemDefaultRegistry", c.system_default_registry},
                   {"ClusterInit", false},
                   {"ClusterReset", false},
                   {"ClusterResetRestorePath", ""},
                   {"MinTLSVersion", c.tls_min_version},
                   {"CipherSuites", strings_or_null(ciphers)},
                   {"ServerNodeName", c.node_name},
                   {"VLevel", 0},
                   {"VModule", ""},
                   {"BindAddress", c.bind_address},
                   {"SANs", strings_or_null(sans)},
                   {"SANSecurity", c.tls_san_security},
                   {"PrivateIP", ""}};
  return d;
}

json::value critical_settings(const config& c) {
  return json::object{
      {"cluster-cidr", join(c.cluster_cidrs, ",")},
      {"service-cidr", join(c.service_cidrs, ",")},
      {"service-node-port-range", std::to_string(c.node_port_first) + "-" + std::to_string(c.node_port_last)},
      {"cluster-dns", join(c.cluster_dns, ",")},
      {"cluster-domain", c.cluster_domain},
      {"flannel-backend", c.flannel_backend},
      {"egress-selector-mode", c.egress_selector_mode},
      {"disable-cloud-controller", c.disable_cloud_controller},
      {"embedded-registry", c.embedded_registry},
      {"secrets-encryption", c.secrets_encryption},
      {"secrets-encryption-provider", c.secrets_encryption_provider},
      {"supervisor-metrics", c.supervisor_metrics}};
}

}  // namespace kedge::supervisor
