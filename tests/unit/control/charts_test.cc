// HelmCharts: the Jobs that install them, compared with those that K3s's helm-controller made (tests/answers/charts),
// and what the controller does as they go on.
#include <doctest/doctest.h>

#include "api/custom/definition.h"
#include "cluster.h"
#include "control/charts/chart_job.h"
#include "crypto/files.h"

using namespace kedge;
using namespace kedge::control;
using namespace kedge::control::charts;

namespace {

json::value recorded() {
  auto text = crypto::read_file(std::string(KEDGE_ANSWERS) + "/charts/charts.json", 10'000'000);
  REQUIRE(text.has_value());
  auto v = json::parse(*text);
  REQUIRE(v.has_value());
  return *std::move(v);
}

// Without what Go writes of a structure that is empty.
json::value bare(json::value o) {
  o.erase("status");
  if (o["data"].is_object() && o["data"].empty()) o.erase("data");
  return o;
}

}  // namespace

TEST_CASE("helm-controller: the Job of a chart, and what it needs, are what K3s's helm-controller makes") {
  auto cases = recorded();
  REQUIRE(cases.size() > 8);
  for (auto& c : *cases.array()) {
    CAPTURE(c["name"].as_string());
    helm_settings s;
    if (c["name"].as_string() == "tolerations") s.job_tolerations = {yaml("{key: a, operator: Exists}")};
    auto find = [&](std::string_view name) -> const json::value* {
      if (auto* all = c["secrets"].array())
        for (auto& one : *all)
          if (one["metadata"]["name"].as_string() == name) return &one;
      return nullptr;
    };
    auto chart = c["chart"];
    auto* config = c["config"].is_object() ? &c["config"] : nullptr;
    auto made = job_of(chart, config, find, s);
    expect(made.job, {}, made.hash);
    CHECK_MESSAGE(bare(made.job) == bare(c["job"]), json::write(bare(made.job)), "\n", json::write(bare(c["job"])));
    std::vector<json::value> theirs;
    for (auto& o : *c["objects"].array())
      if (!o.is_null()) theirs.push_back(bare(o));
    REQUIRE(made.objects.size() == theirs.size());
    for (std::size_t i = 0; i < theirs.size(); ++i)
      CHECK_MESSAGE(bare(made.objects[i]) == theirs[i], json::write(bare(made.objects[i])), "\n",
                    json::write(theirs[i]));
  }
}

TEST_CASE("helm-controller: what the API server fills in makes no other Job, and a changed value does") {
  auto chart = yaml("{metadata: {name: web, namespace: kube-system}, spec: {chart: web, valuesContent: 'a: 1'}}");
  auto none = [](std::string_view) -> const json::value* { return nullptr; };
  auto made = job_of(chart, nullptr, none, {});
  auto there = made.job;
  expect(there, {.revision = 3, .status = "deployed", .hash = "x"}, made.hash);
  api::apply_defaults(*api::builtin_registry().find("batch", "v1", "jobs"), there);
  CHECK(!is_another(there, made.job));
  chart.member("spec").set("valuesContent", "a: 2");
  auto next = job_of(chart, nullptr, none, {});
  CHECK(is_another(there, next.job));
  CHECK(next.hash != made.hash);
  chart.member("spec").set("backOffLimit", 2);
  CHECK(job_of(chart, nullptr, none, {}).hash != next.hash);
}

TEST_CASE("helm-controller: where a chart comes from, and its latest release") {
  for (auto [spec, words] :
       {std::pair{"{chart: web, repo: https://r}", "latest stable version of web from chart repository https://r"},
        {"{chart: web, repo: https://r, version: 1.2.3}", "web version 1.2.3 from chart repository https://r"},
        {"{chart: 'oci://x/web', version: 1.0.0}", "version 1.0.0 from OCI registry oci://x/web"},
        {"{chart: 'oci://x/web'}", "latest stable version from OCI registry oci://x/web"},
        {"{chart: 'https://x/web.tgz'}", "https://x/web.tgz"},
        {"{chartContent: aGk=}", "inline spec.chartContent"}})
    CHECK(source_of(yaml(fmt::format("{{metadata: {{name: n}}, spec: {}}}", spec))) == words);
  release r;
  for (auto [number, status] : {std::pair{"2", "superseded"}, {"10", "deployed"}, {"x", "failed"}, {"9", "failed"}})
    r.see(yaml(fmt::format("{{version: '{}', status: {}, helmcharts.helm.cattle.io/configHash: H{}}}", number, status,
                           number)));
  CHECK(r.revision == 10);
  CHECK(r.status == "deployed");
  CHECK(r.hash == "H10");
}
