// HelmCharts as they run: two leaders at a time, which stop between any two writes.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "control/addons/definitions.h"
#include "control_world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

const api::resource_id definitions{"apiextensions.k8s.io", "v1", "customresourcedefinitions"};
const api::resource_id charts{"helm.cattle.io", "v1", "helmcharts"};
const api::resource_id secrets{"", "v1", "secrets"};
const api::resource_id pods{"", "v1", "pods"};
constexpr auto chart_key = "/registry/helm.cattle.io/helmcharts/default/web";

// As the server's housekeeping establishes a definition.
void define(control_world& c) {
  for (auto& crd : control::addons::definitions(true)) {
    c.create(definitions, crd);
    c.set_status(definitions, "", std::string(crd["metadata"]["name"].as_string()), [&](json::value& o) {
      o.set("status", yaml("{conditions: [{type: Established, status: 'True'}, {type: NamesAccepted, status: 'True'}], "
                           "storedVersions: [v1]}"));
      o.member("status").set("acceptedNames", o["spec"]["names"]);
    });
  }
}

json::value job(const control_world& c, const std::string& name) { return c.get("/registry/jobs/default/" + name); }

// Until the Job runs, then as its pod would end, and Helm would leave its release. Gives the Job's uid.
std::string finish(control_world& c, const std::string& name, int revision) {
  REQUIRE(c.until([&] {
    for (auto& [_, pod] : c.all("/registry/pods/default/"))
      if (pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].as_string() == name &&
          pod["status"]["phase"].as_string() != "Succeeded" && pod["metadata"]["deletionTimestamp"].is_null())
        return !job(c, name)["spec"]["suspend"].as_bool();
    return false;
  }));
  auto of = job(c, name);
  std::string hash;
  auto& environment = of["spec"]["template"]["spec"]["containers"][0]["env"];
  for (std::size_t i = 0; i < environment.size(); ++i)
    if (environment[i]["name"].as_string() == "CONFIG_HASH") hash = environment[i]["value"].as_string();
  if (revision > 0)
    c.create(secrets,
             yaml(fmt::format("{{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {{name: "
                              "sh.helm.release.v1.web.v{0}, namespace: default, labels: {{owner: helm, name: web, "
                              "version: '{0}', status: deployed, helmcharts.helm.cattle.io/configHash: {1}}}}}}}",
                              revision, hash)));
  for (auto& [_, pod] : c.all("/registry/pods/default/"))
    if (pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].as_string() == name)
      c.set_status(pods, "default", std::string(pod["metadata"]["name"].as_string()),
                   [](json::value& o) { o.member("status").set("phase", "Succeeded"); });
  auto complete = [&] {
    auto now = job(c, name);
    auto& conditions = now["status"]["conditions"];
    for (std::size_t i = 0; i < conditions.size(); ++i)
      if (conditions[i]["type"].as_string() == "Complete") return true;
    return false;
  };
  REQUIRE(c.until([&] { return complete() || job(c, name).is_null(); }));
  return std::string(of["metadata"]["uid"].as_string());
}

}  // namespace

TEST_CASE("helm-controller: a chart is installed, upgraded and uninstalled, by one Job at a time") {
  for (auto seed : seeds(3)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"helm-controller", "job"}});
    define(c);
    c.create({"scheduling.k8s.io", "v1", "priorityclasses"},
             yaml("{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: system-cluster-critical}, "
                  "value: 2000000000}"));
    c.crash_between_writes(0.03);
    c.create(charts, yaml("{apiVersion: helm.cattle.io/v1, kind: HelmChart, metadata: {name: web, namespace: default}, "
                          "spec: {chart: web, repo: 'https://r', valuesContent: 'a: 1'}}"));
    auto first = finish(c, "helm-install-web", 1);
    // What is as it was told stays: the Job is made once.
    c.run_for(2min);
    CHECK(job(c, "helm-install-web")["metadata"]["uid"].as_string() == first);
    CHECK(c.get(chart_key)["status"]["jobName"].as_string() == "helm-install-web");
    CHECK(c.get("/registry/clusterrolebindings/helm-default-web")["subjects"][0]["name"].as_string() == "helm-web");
    // Other values are another configuration.
    c.change(charts, "default", "web", [](json::value& o) { o.member("spec").set("valuesContent", "a: 2"); });
    REQUIRE(c.until([&] {
      auto now = job(c, "helm-install-web")["metadata"]["uid"].as_string();
      return !now.empty() && now != first;
    }));
    auto second = finish(c, "helm-install-web", 2);
    CHECK(second != first);
    c.run_for(2min);
    CHECK(job(c, "helm-install-web")["metadata"]["uid"].as_string() == second);
    // Its end waits for the uninstallation.
    c.remove(charts, "default", "web");
    finish(c, "helm-delete-web", 0);
    CHECK(c.until([&] { return !c.exists(chart_key); }));
    CHECK(!c.exists("/registry/clusterrolebindings/helm-default-web"));
  }
}
