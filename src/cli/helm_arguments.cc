// helm_arguments.cc: --helm-controller-arg: what K3s's helm-controller is told, as far as it means something here. What
// it doesn't know is an error.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/strings.h"
#include "cli/options_load.h"
#include "json/parse.h"
#include "schema/quantity.h"

namespace kedge::cli {
namespace {

using control::charts::helm_settings;

constexpr std::string_view proxy_names[] = {"all_proxy",   "ALL_PROXY",   "http_proxy", "HTTP_PROXY",
                                            "https_proxy", "HTTPS_PROXY", "no_proxy",   "NO_PROXY"};
// Of a process of its own.
constexpr std::string_view without_effect[] = {"debug",      "debug-level", "kubeconfig",
                                               "master-url", "node-name",   "pprof-port"};

// Quantities as Kubernetes writes them, so that they are what a Job says.
result<json::value> resources(std::string_view text) {
  KEDGE_TRY(auto v, json::parse(text));
  if (!v.is_object()) return fail(errc::invalid, "it is no JSON object");
  for (auto& kind : *v.object()) {
    if (kind.name != "limits" && kind.name != "requests")
      return fail(errc::invalid, fmt::format("unknown field {}", quote(kind.name)));
    if (!kind.value.is_object()) return fail(errc::invalid, fmt::format("{} is no JSON object", kind.name));
    for (auto& amount : *kind.value.object()) {
      auto given =
          amount.value.is_integer() ? std::to_string(amount.value.as_integer()) : std::string(amount.value.as_string());
      KEDGE_TRY(auto q, schema::quantity::parse(given));
      amount.value = q.text();
    }
  }
  return v;
}

result<json::array> tolerations(std::string_view text) {
  KEDGE_TRY(auto v, json::parse(text));
  if (!v.is_array()) return fail(errc::invalid, "it is no JSON array");
  for (auto& t : *v.array())
    if (!t.is_object()) return fail(errc::invalid, "it is no array of tolerations");
  return std::move(*v.array());
}

result<void> set(helm_settings& to, control::settings& all, std::string_view name, std::string_view value) {
  if (name == "controller-name" || name == "default-job-image" || name == "job-cluster-role") {
    if (value.empty()) return fail(errc::invalid, "it is empty");
    (name == "controller-name"     ? to.controller_name
     : name == "default-job-image" ? to.job_image
                                   : to.job_cluster_role) = value;
  } else if (name == "namespace") {
    to.only_namespace = value;
  } else if (name == "job-resources") {
    KEDGE_TRY(to.job_resources, resources(value));
  } else if (name == "job-tolerations") {
    KEDGE_TRY(to.job_tolerations, tolerations(value));
  } else {
    auto n = parse_uint(value);
    if (!n || *n < 1 || *n > control_workers_max)
      return fail(errc::invalid, fmt::format("it is not between 1 and {}", control_workers_max));
    all.workers["helm-controller"] = static_cast<unsigned>(*n);
  }
  return {};
}

constexpr std::string_view known[] = {"controller-name", "default-job-image", "job-cluster-role", "job-resources",
                                      "job-tolerations", "namespace",         "threads"};

}  // namespace

result<void> read_helm_arguments(std::span<const std::string> arguments, const machine& here, control::settings& into,
                                 std::vector<std::string>& warnings) {
  auto& helm = into.helm;
  for (auto name : proxy_names)
    if (auto address = here.variable(name)) helm.proxies.emplace_back(name, *address);
  for (std::string_view given : arguments) {
    while (given.starts_with('-')) given.remove_prefix(1);
    const auto equals = given.find('=');
    const auto name = given.substr(0, equals);
    const auto value = equals == given.npos ? std::string_view() : given.substr(equals + 1);
    if (std::ranges::find(without_effect, name) != std::end(without_effect)) {
      warnings.push_back(fmt::format("--helm-controller-arg={} has no effect in Kedge", name));
      continue;
    }
    if (std::ranges::find(known, name) == std::end(known))
      return fail(errc::invalid, fmt::format("--helm-controller-arg={}: the Helm controller has no such flag", name));
    if (auto done = set(helm, into, name, value); !done)
      return fail(errc::invalid, fmt::format("--helm-controller-arg={}={}: {}", name, value, done.error().message));
  }
  return {};
}

}  // namespace kedge::cli
