#include "control/addons/traefik.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string_view>

#include "base/strings.h"

namespace kedge::control::addons {

namespace {

using json::array;
using json::object;
using json::value;

constexpr std::string_view repository = "https://traefik.github.io/charts";
// The name of an archive that K3s has made of Traefik's tells both versions: 40.1.4+up40.1.0.
constexpr std::string_view mark_of_k3s = "+up";
constexpr std::size_t files_max = 10'000;

// Numbers count as numbers: 9.0 is before 10.0.
std::vector<std::uint64_t> numbers_of(std::string_view version) {
  std::vector<std::uint64_t> out;
  for (std::size_t at = 0; (at = version.find_first_of("0123456789", at)) != version.npos;) {
    auto end = std::min(version.find_first_not_of("0123456789", at), version.size());
    out.push_back(parse_uint(version.substr(at, end - at)).value_or(0));
    at = end;
  }
  return out;
}

// "40.1.4" of "traefik-40.1.4.tgz"; empty: it is another chart's.
std::string_view version_of(std::string_view file, std::string_view chart) {
  if (!file.starts_with(chart) || !file.ends_with(".tgz")) return {};
  file.remove_prefix(chart.size());
  file.remove_suffix(4);
  if (file.size() < 2 || file[0] != '-' || !std::isdigit(static_cast<unsigned char>(file[1]))) return {};
  return file.substr(1);
}

value chart_of(std::string name, object spec) {
  spec.set("failurePolicy", "retry");
  spec.set("forceConflicts", true);
  return object{{"apiVersion", "helm.cattle.io/v1"},
                {"kind", "HelmChart"},
                {"metadata", object{{"name", std::move(name)}, {"namespace", "kube-system"}}},
                {"spec", std::move(spec)}};
}

std::string served(const std::string& file) { return "https://%{KUBERNETES_API}%/static/charts/" + file; }

// K3s's: who scrapes, where Ingresses are told to be, and that it runs where the control plane does.
object values() {
  return object{{"deployment",
                 object{{"podAnnotations", object{{"prometheus.io/port", "8082"}, {"prometheus.io/scrape", "true"}}}}},
                {"providers", object{{"kubernetesIngress", object{{"publishedService", object{{"enabled", true}}}}}}},
                {"priorityClassName", "system-cluster-critical"},
                {"tolerations", array{object{{"key", "CriticalAddonsOnly"}, {"operator", "Exists"}},
                                      object{{"key", "node-role.kubernetes.io/control-plane"},
                                             {"operator", "Exists"},
                                             {"effect", "NoSchedule"}}}},
                {"service", object{{"spec", object{{"ipFamilyPolicy", "PreferDualStack"}}}}}};
}

}  // namespace

traefik_charts find_traefik(const std::string& charts_folder) {
  traefik_charts out;
  std::error_code failed;
  std::size_t seen = 0;
  auto keep_newer = [](std::string& kept, const std::string& file, std::string_view chart) {
    auto version = version_of(file, chart);
    if (version.empty()) return;
    if (kept.empty() || numbers_of(version_of(kept, chart)) < numbers_of(version)) kept = file;
  };
  for (auto i = std::filesystem::directory_iterator(charts_folder, failed);
       !failed && i != std::filesystem::directory_iterator() && seen < files_max; i.increment(failed), ++seen) {
    auto file = i->path().filename().string();
    keep_newer(out.chart, file, "traefik");
    keep_newer(out.definitions, file, "traefik-crd");
  }
  return out;
}

std::vector<value> traefik(const traefik_charts& found, const std::string& registry) {
  std::vector<value> out;
  if (!found.definitions.empty()) out.push_back(chart_of("traefik-crd", object{{"chart", served(found.definitions)}}));
  object spec =
      found.chart.empty() ? object{{"repo", repository}, {"chart", "traefik"}} : object{{"chart", served(found.chart)}};
  auto with = values();
  if (found.chart.contains(mark_of_k3s))
    spec.set("set", object{{"global.systemDefaultRegistry", registry}});
  else if (!registry.empty())
    with.set("image", object{{"registry", registry}});
  spec.set("values", std::move(with));
  out.push_back(chart_of("traefik", std::move(spec)));
  return out;
}

}  // namespace kedge::control::addons
