// controller_manager_arguments.cc: --kube-controller-manager-arg: what kube-controller-manager is told, as far as its
// controllers are here. An argument that works is set; one that it knows and that means nothing here is warned of; any
// other is an error, as it is with kube-controller-manager.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <variant>

#include "base/strings.h"
#include "cli/component_flags.h"
#include "cli/flags.h"
#include "cli/options_load.h"
#include "control/controllers.h"

namespace kedge::cli {
namespace {

using control::settings;
using target = std::variant<bool settings::*, unsigned settings::*, std::int64_t settings::*, double settings::*,
                            duration settings::*>;

struct argument {
  std::string_view name;
  target into;
  double least, most;  // durations in seconds
};

constexpr double any = std::numeric_limits<double>::max();

const argument table[] = {
    {"allocate-node-cidrs", &settings::allocate_node_cidrs, 0, 0},
    {"cluster-signing-duration", &settings::cluster_signing_duration, 1, any},
    {"disable-force-detach-on-timeout", &settings::disable_force_detach_on_timeout, 0, 0},
    {"enable-garbage-collector", &settings::enable_garbage_collector, 0, 0},
    {"endpoint-updates-batch-period", &settings::endpoint_updates_batch_period, 0, any},
    {"endpointslice-updates-batch-period", &settings::endpointslice_updates_batch_period, 0, any},
    {"horizontal-pod-autoscaler-cpu-initialization-period", &settings::hpa_cpu_initialization_period, 0, any},
    {"horizontal-pod-autoscaler-downscale-stabilization", &settings::hpa_downscale_stabilization, 0, any},
    {"horizontal-pod-autoscaler-initial-readiness-delay", &settings::hpa_initial_readiness_delay, 0, any},
    {"horizontal-pod-autoscaler-sync-period", &settings::hpa_sync_period, 1e-3, any},
    {"horizontal-pod-autoscaler-tolerance", &settings::hpa_tolerance, 0, any},
    {"large-cluster-size-threshold", &settings::large_cluster_size_threshold, 0, any},
    {"max-endpoints-per-slice", &settings::max_endpoints_per_slice, 1, 1000},
    {"mirroring-endpointslice-updates-batch-period", &settings::mirroring_endpointslice_updates_batch_period, 0, any},
    {"mirroring-max-endpoints-per-subset", &settings::mirroring_max_endpoints_per_subset, 1, 1000},
    {"node-cidr-mask-size", &settings::node_cidr_mask_size, 1, 30},
    {"node-cidr-mask-size-ipv4", &settings::node_cidr_mask_size, 1, 30},
    {"node-cidr-mask-size-ipv6", &settings::node_cidr_mask_size_v6, 1, 126},
    {"node-eviction-rate", &settings::node_eviction_rate, 0, any},
    {"node-monitor-grace-period", &settings::node_monitor_grace_period, 1e-3, any},
    {"node-monitor-period", &settings::node_monitor_period, 1e-3, any},
    {"node-startup-grace-period", &settings::node_startup_grace_period, 1e-3, any},
    {"resource-quota-sync-period", &settings::resource_quota_sync_period, 0, any},
    {"secondary-node-eviction-rate", &settings::secondary_node_eviction_rate, 0, any},
    {"terminated-pod-gc-threshold", &settings::terminated_pod_gc_threshold, -any, any},
    {"unhealthy-zone-threshold", &settings::unhealthy_zone_threshold, 0, 1},
};

// kube-controller-manager 1.37's other flags, beside those of every component.
constexpr std::string_view meaningless[] = {"attach-detach-reconcile-sync-period",
                                            "cidr-allocator-type",
                                            "cloud-config",
                                            "cloud-provider",
                                            "cluster-cidr",
                                            "cluster-name",
                                            "cluster-signing-cert-file",
                                            "cluster-signing-key-file",
                                            "cluster-signing-kube-apiserver-client-cert-file",
                                            "cluster-signing-kube-apiserver-client-key-file",
                                            "cluster-signing-kubelet-client-cert-file",
                                            "cluster-signing-kubelet-client-key-file",
                                            "cluster-signing-kubelet-serving-cert-file",
                                            "cluster-signing-kubelet-serving-key-file",
                                            "cluster-signing-legacy-unknown-cert-file",
                                            "cluster-signing-legacy-unknown-key-file",
                                            "configure-cloud-routes",
                                            "controller-shutdown-timeout",
                                            "controller-start-interval",
                                            "disable-attach-detach-reconcile-sync",
                                            "enable-dynamic-provisioning",
                                            "enable-hostpath-provisioner",
                                            "enable-leader-migration",
                                            "external-cloud-volume-plugin",
                                            "flex-volume-plugin-dir",
                                            "leader-migration-config",
                                            "legacy-service-account-token-clean-up-period",
                                            "min-resync-period",
                                            "namespace-sync-period",
                                            "pv-recycler-increment-timeout-nfs",
                                            "pv-recycler-minimum-timeout-hostpath",
                                            "pv-recycler-minimum-timeout-nfs",
                                            "pv-recycler-pod-template-filepath-hostpath",
                                            "pv-recycler-pod-template-filepath-nfs",
                                            "pv-recycler-timeout-increment-hostpath",
                                            "pvclaimbinder-sync-period",
                                            "root-ca-file",
                                            "route-reconciliation-period",
                                            "service-account-private-key-file",
                                            "service-cluster-ip-range",
                                            "use-service-account-credentials"};

std::string range(double least, double most) {
  if (most == any) return least > 0 ? "must be more than 0" : "must be 0 or more";
  return fmt::format("is not between {} and {}", least, most);
}

struct setter {
  std::string_view text;
  const argument& what;
  settings& into;

  result<void> in_range(double value) const {
    if (value < what.least || value > what.most) return fail(errc::invalid, range(what.least, what.most));
    return {};
  }
  result<void> operator()(bool settings::* field) const {
    auto value = parse_bool(text);
    if (!value) return fail(errc::invalid, "is neither true nor false");
    into.*field = *value;
    return {};
  }
  result<void> operator()(unsigned settings::* field) const {
    auto value = parse_uint(text);
    if (!value || *value > std::numeric_limits<int>::max()) return fail(errc::invalid, "is not a whole number");
    KEDGE_CHECK(in_range(static_cast<double>(*value)));
    into.*field = static_cast<unsigned>(*value);
    return {};
  }
  result<void> operator()(std::int64_t settings::* field) const {
    auto value = parse_int(text);
    if (!value) return fail(errc::invalid, "is not a whole number");
    into.*field = *value;
    return {};
  }
  result<void> operator()(double settings::* field) const {
    double value = 0;
    auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc() || end != text.data() + text.size()) return fail(errc::invalid, "is not a number");
    KEDGE_CHECK(in_range(value));
    into.*field = value;
    return {};
  }
  result<void> operator()(duration settings::* field) const {
    auto value = parse_duration(text);
    if (!value) return fail(errc::invalid, "is not a duration such as 1h30m");
    KEDGE_CHECK(in_range(std::chrono::duration<double>(*value).count()));
    into.*field = *value;
    return {};
  }
};

// controllers=…: `+=` adds at the end, `-=` in front; each must be a name that kube-controller-manager knows.
result<void> set_controllers(settings& into, std::string_view value, char how, std::vector<std::string>& warnings) {
  std::vector<std::string> names;
  for (auto part : split(value, ',')) {
    auto name = trim(part);
    auto plain = name.starts_with('-') ? name.substr(1) : name;
    if (name.empty()) continue;
    if (control::is_foreign_controller(plain)) {
      if (plain == name)
        warnings.push_back(fmt::format("--kube-controller-manager-arg=controllers: Kedge has no controller {}", plain));
    } else if (name != "*" && !control::find_controller(plain)) {
      return fail(errc::invalid,
                  fmt::format("--kube-controller-manager-arg=controllers: {} is not in the list of known controllers",
                              quote(plain)));
    }
    names.emplace_back(name);
  }
  auto& list = into.controllers;
  if (how == '=') list.clear();
  list.insert(how == '-' ? list.begin() : list.end(), names.begin(), names.end());
  return {};
}

// concurrent-…-syncs of a controller that is here; false: it is none.
result<bool> set_workers(settings& into, std::string_view name, std::string_view value) {
  for (auto& c : control::controllers()) {
    if (c.workers_option.empty() || c.workers_option != name) continue;
    auto n = parse_uint(value);
    if (!n || *n < 1 || *n > control_workers_max)
      return fail(errc::invalid, fmt::format("is not between 1 and {}", control_workers_max));
    into.workers[std::string(c.name)] = static_cast<unsigned>(*n);
    return true;
  }
  return false;
}

}  // namespace

result<control::settings> read_controller_manager_arguments(std::span<const std::string> arguments,
                                                            std::vector<std::string>& warnings) {
  settings read;
  for (std::string_view given : arguments) {
    while (given.starts_with('-')) given.remove_prefix(1);  // `--kube-controller-manager-arg=--v=2` works with K3s
    const auto equals = given.find('=');
    auto name = given.substr(0, equals);
    const auto value = equals == std::string_view::npos ? std::string_view("true") : given.substr(equals + 1);
    char how = '=';
    if (name.ends_with('+') || name.ends_with('-')) {
      how = name.back();
      name.remove_suffix(1);
    }
    auto refuse = [&](const error& why) {
      return fail(errc::invalid,
                  fmt::format("--kube-controller-manager-arg={}: {} {}", name, quote(value), why.message));
    };
    if (name == "controllers") {
      KEDGE_CHECK(set_controllers(read, value, how, warnings));
      continue;
    }
    auto workers = set_workers(read, name, value);
    if (!workers) return refuse(workers.error());
    if (*workers) continue;
    const auto known = std::ranges::find(table, name, &argument::name);
    if (known != std::end(table)) {
      if (auto set = std::visit(setter{value, *known, read}, known->into); !set) return refuse(set.error());
      continue;
    }
    if (!is_flag_of_every_component(name) && std::ranges::find(meaningless, name) == std::end(meaningless))
      return fail(errc::invalid,
                  fmt::format("--kube-controller-manager-arg={}: kube-controller-manager has no such flag", name));
    warnings.push_back(fmt::format("--kube-controller-manager-arg={} has no effect in Kedge", name));
  }
  return read;
}

}  // namespace kedge::cli
