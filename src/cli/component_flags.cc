#include "cli/component_flags.h"

#include <algorithm>
#include <iterator>

namespace kedge::cli {

bool is_flag_of_every_component(std::string_view name) {
  static constexpr std::string_view all[] = {"allow-metric-labels",
                                             "allow-metric-labels-manifest",
                                             "authentication-kubeconfig",
                                             "authentication-skip-lookup",
                                             "authentication-token-webhook-cache-ttl",
                                             "authentication-tolerate-lookup-failure",
                                             "authorization-always-allow-paths",
                                             "authorization-kubeconfig",
                                             "authorization-webhook-cache-authorized-ttl",
                                             "authorization-webhook-cache-unauthorized-ttl",
                                             "bind-address",
                                             "cert-dir",
                                             "client-ca-file",
                                             "contention-profiling",
                                             "disable-http2-serving",
                                             "disabled-metrics",
                                             "emulated-version",
                                             "feature-gates",
                                             "http2-max-streams-per-connection",
                                             "kube-api-burst",
                                             "kube-api-content-type",
                                             "kube-api-qps",
                                             "kubeconfig",
                                             "leader-elect",
                                             "leader-elect-lease-duration",
                                             "leader-elect-renew-deadline",
                                             "leader-elect-resource-lock",
                                             "leader-elect-resource-name",
                                             "leader-elect-resource-namespace",
                                             "leader-elect-retry-period",
                                             "log-flush-frequency",
                                             "log-text-info-buffer-size",
                                             "log-text-split-stream",
                                             "logging-format",
                                             "master",
                                             "min-compatibility-version",
                                             "permit-address-sharing",
                                             "permit-port-sharing",
                                             "profiling",
                                             "requestheader-allowed-names",
                                             "requestheader-client-ca-file",
                                             "requestheader-extra-headers-prefix",
                                             "requestheader-group-headers",
                                             "requestheader-uid-headers",
                                             "requestheader-username-headers",
                                             "secure-port",
                                             "show-hidden-metrics-for-version",
                                             "tls-cert-file",
                                             "tls-cipher-suites",
                                             "tls-curve-preferences",
                                             "tls-min-version",
                                             "tls-private-key-file",
                                             "tls-sni-cert-key",
                                             "v",
                                             "version",
                                             "vmodule"};
  return std::ranges::find(all, name) != std::end(all);
}

}  // namespace kedge::cli
