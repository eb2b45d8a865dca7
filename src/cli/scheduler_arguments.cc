// scheduler_arguments.cc: --kube-scheduler-arg: what kube-scheduler is told, as far as it means something here. What
// kube-scheduler itself doesn't have is an error.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "cli/options_load.h"
#include "crypto/files.h"

namespace kedge::cli {
namespace {

using control::scheduler::configuration;

// Of a file that people write by hand.
constexpr std::size_t file_max_bytes = 1 << 20;

// kube-scheduler 1.37's other flags: of its own server, its clients, its log.
constexpr std::string_view meaningless[] = {"allow-metric-labels",
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
                                            "vmodule",
                                            "write-config-to"};

result<configuration> read_configuration(const std::string& path) {
  auto about = [&](std::string_view why) {
    return fail(errc::invalid, fmt::format("--kube-scheduler-arg=config: {}: {}", path, why));
  };
  auto text = crypto::read_file(path, file_max_bytes);
  if (!text) return about(text.error().message);
  auto read = control::scheduler::parse_configuration(*text);
  if (!read) return about(read.error().message);
  return read;
}

}  // namespace

result<std::shared_ptr<const configuration>> read_scheduler_arguments(std::span<const std::string> arguments,
                                                                      std::vector<std::string>& warnings) {
  auto read = control::scheduler::default_configuration();
  std::optional<duration> unschedulable_most;
  for (std::string_view given : arguments) {
    while (given.starts_with('-')) given.remove_prefix(1);  // `--kube-scheduler-arg=--v=2` works with K3s
    const auto equals = given.find('=');
    const auto name = given.substr(0, equals);
    const auto value = equals == std::string_view::npos ? std::string_view() : given.substr(equals + 1);
    if (name == "config") {
      KEDGE_TRY(read, read_configuration(std::string(value)));
    } else if (name == "pod-max-in-unschedulable-pods-duration") {
      auto most = parse_duration(value);
      if (!most || *most <= duration::zero())
        return fail(errc::invalid,
                    fmt::format("--kube-scheduler-arg={}: {} is not a duration such as 5m0s", name, quote(value)));
      unschedulable_most = *most;
    } else if (std::ranges::find(meaningless, name) != std::end(meaningless)) {
      warnings.push_back(fmt::format("--kube-scheduler-arg={} has no effect in Kedge", name));
    } else {
      return fail(errc::invalid, fmt::format("--kube-scheduler-arg={}: kube-scheduler has no such flag", name));
    }
  }
  for (auto& what : read.without_effect)
    warnings.push_back(fmt::format("--kube-scheduler-arg=config: {} has no effect in Kedge", what));
  if (unschedulable_most) read.unschedulable_most = *unschedulable_most;
  return std::make_shared<const configuration>(std::move(read));
}

}  // namespace kedge::cli
