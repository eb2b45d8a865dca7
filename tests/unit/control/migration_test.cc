// Storage migrations: one after the other for each resource, each object that is older written anew, all of it told.
#include "at_work.h"
#include "control/conditions.h"

using namespace kedge;
using namespace kedge::control;

namespace {

const std::string folder = "/registry/storageversionmigrations/";

json::value migration(std::string_view name, std::string_view resource, std::string_view created) {
  return yaml(
      fmt::format("{{kind: StorageVersionMigration, apiVersion: storagemigration.k8s.io/v1, metadata: {{name: {}, "
                  "generation: 1, creationTimestamp: '{}'}}, spec: {{resource: {{resource: {}}}}}}}",
                  name, created, resource));
}

// "Running=False MigrationCompleted, Succeeded=True …"
std::string conditions(const json::value& o) {
  std::string out;
  auto& list = o["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    out += fmt::format("{}{}={} {}: {}", i ? ", " : "", list[i]["type"].as_string(), list[i]["status"].as_string(),
                       list[i]["reason"].as_string(), list[i]["message"].as_string());
  return out;
}

}  // namespace

TEST_CASE("storage-version-migrator-controller: a migration begins, notes the revision, writes, and tells") {
  at_work w("svm");
  for (auto name : {"a", "b", "c"})
    w.put(fmt::format("{{kind: ConfigMap, apiVersion: v1, metadata: {{name: {}, namespace: default}}}}", name));
  w.put(migration("m", "configmaps", "2026-01-01T00:00:00Z"));
  const auto key = folder + "m";
  CHECK(w.work("m") == "");
  CHECK(conditions(w.get(key)) == "Running=True MigrationRunning: The migration is running");
  CHECK(w.work("m") == "");
  CHECK(!w.get(key)["status"]["resourceVersion"].as_string().empty());
  CHECK(w.work("m") == "");
  CHECK(conditions(w.get(key)) ==
        "Running=True MigrationRunning: The migration is running, 3 objects verified migrated, "
        "Succeeded=True StorageVersionMigrationSucceeded: Migration completed");
  CHECK(w.work("m") == "");
  const auto over = w.get(key);
  CHECK(conditions(over) ==
        "Running=False MigrationCompleted: Migration completed, "
        "Succeeded=True StorageVersionMigrationSucceeded: Migration completed");
  CHECK(condition_of(over, "Running")["observedGeneration"].as_integer() == 1);
  CHECK(w.work("m") == "");
  CHECK(w.get(key) == over);
}

TEST_CASE("storage-version-migrator-controller: of one resource the oldest has its turn, and makes room for the next") {
  at_work w("svm");
  w.put(migration("a", "configmaps", "2026-01-02T00:00:00Z"));
  w.put(migration("b", "configmaps", "2026-01-01T00:00:00Z"));
  w.put(migration("c", "secrets", "2026-01-03T00:00:00Z"));
  w.named();
  for (auto name : {"a", "b", "c"}) CHECK(w.work(name) == "");
  CHECK(conditions(w.get(folder + "a")).empty());
  CHECK(condition_status(w.get(folder + "b"), "Running") == "True");
  CHECK(condition_status(w.get(folder + "c"), "Running") == "True");
  for (int i = 0; i < 3; ++i) CHECK(w.work("b") == "");
  CHECK(condition_status(w.get(folder + "b"), "Running") == "False");
  w.named();
  CHECK(w.work("b") == "");
  CHECK(w.named() == std::vector<std::string>{"a"});
  CHECK(w.work("a") == "");
  CHECK(condition_status(w.get(folder + "a"), "Running") == "True");
  w.erase(folder + "a");
  w.put(migration("d", "configmaps", "2026-01-04T00:00:00Z"));
  w.named();
  CHECK(w.work("a") == "");
  CHECK(w.named() == std::vector<std::string>{"d"});
}

TEST_CASE("storage-version-migrator-controller: what can't be migrated fails, when it has had its time") {
  at_work w("svm");
  w.put(migration("m", "nonsense", "2026-01-01T00:00:00Z"));
  w.put(migration("v", "bindings", "2026-01-01T00:00:00Z"));
  w.put(migration("new", "others", format_rfc3339(w.loop().wall_now())));
  for (auto name : {"m", "v", "new"})
    for (int i = 0; i < 2; ++i) CHECK(w.work(name) == "");
  CHECK(condition_of(w.get(folder + "m"), "Failed")["message"].as_string() == "resource does not exist in discovery");
  CHECK(condition_of(w.get(folder + "v"), "Failed")["message"].as_string() ==
        "resource \"/v1, Resource=bindings\" does not support discovery operations: [update patch list]");
  CHECK(condition_status(w.get(folder + "new"), "Failed").empty());
}

namespace {

// Of which objects were stored as v1, then as v2, and now are as v3.
json::value definition(std::string_view name, std::string_view storage, std::string_view migrating = "[]") {
  auto o = yaml(fmt::format(
      "{{kind: CustomResourceDefinition, apiVersion: apiextensions.k8s.io/v1, metadata: {{name: {}, generation: 3}}, "
      "spec: {{group: {}, scope: Namespaced, names: {{plural: {}, singular: lamp, kind: Lamp, listKind: LampList}}}}, "
      "status: {{storedVersions: [v1, v2, v3], conditions: {}, acceptedNames: {{plural: {}, kind: Lamp}}}}}}",
      name, name.substr(name.find('.') + 1), name.substr(0, name.find('.')), migrating,
      name.substr(0, name.find('.'))));
  for (auto v : {"v1", "v2", "v3"})
    o.member("spec")
        .member("versions")
        .push_back(
            yaml(fmt::format("{{name: {}, served: true, storage: {}, schema: {{openAPIV3Schema: {{type: object}}}}}}",
                             v, v == storage)));
  return o;
}

json::value of_group(json::value migration, std::string_view group, std::string_view conditions) {
  migration.member("spec").member("resource").set("group", std::string(group));
  if (!conditions.empty())
    migration.member("status") = json::object{{"conditions", yaml(conditions)}, {"resourceVersion", "1"}};
  return migration;
}

constexpr std::string_view over =
    "[{type: Running, status: 'True', reason: MigrationRunning, message: m, lastTransitionTime: '2026-01-01T00:00:00Z'}"
    ", {type: Succeeded, status: 'True', reason: StorageVersionMigrationSucceeded, message: m, lastTransitionTime: "
    "'2026-01-01T00:00:00Z'}]";

}  // namespace

TEST_CASE(
    "storage-version-migrator-controller: stored versions stay where another storage version came meanwhile, however "
    "often the end is told") {
  at_work w("svm");
  // It was about the definition's second generation.
  w.put(
      definition("lamps.example.org", "v3",
                 "[{type: StorageMigrating, status: 'True', reason: MigrationRunning, message: m, observedGeneration: "
                 "2, lastTransitionTime: '2026-01-01T00:00:00Z'}]"));
  const auto key = "/registry/apiextensions.k8s.io/customresourcedefinitions/lamps.example.org";
  const auto ended = of_group(migration("m", "lamps", "2026-01-01T00:00:00Z"), "example.org", over);
  // The leader ends after the first of the two writes, and the next one goes on.
  for (int leader = 0; leader < 3; ++leader) {
    CAPTURE(leader);
    w.put(ended);
    CHECK(w.work("m") == "");
    CHECK(condition_status(w.get(folder + "m"), "Running") == "False");
    CHECK(w.get(key)["status"]["storedVersions"] == yaml("[v1, v2, v3]"));
    CHECK(condition_status(w.get(key), "StorageMigrating") == "False");
  }
}

TEST_CASE("storage-version-migrator-controller: none begins before the one before has finished its definition") {
  at_work w("svm");
  w.put(of_group(migration("a", "lamps", "2026-01-01T00:00:00Z"), "example.org", over));
  w.put(of_group(migration("b", "lamps", "2026-01-02T00:00:00Z"), "example.org", ""));
  w.named();
  CHECK(w.work("b") == "");
  CHECK(conditions(w.get(folder + "b")).empty());
  CHECK(w.work("a") == "");
  w.named();
  CHECK(w.work("a") == "");
  CHECK(w.named() == std::vector<std::string>{"b"});
  CHECK(w.work("b") == "");
  CHECK(condition_status(w.get(folder + "b"), "Running") == "True");
}

TEST_CASE("storage-version-migrator-controller: no revision is noted before objects are written in the new version") {
  at_work w("svm");
  // Their servers have not heard of v3.
  w.put(definition("deployments.apps", "v3"));
  auto running = of_group(migration("m", "deployments", "2026-01-01T00:00:00Z"), "apps", over);
  running.member("status") = json::object{{"conditions", json::array{running["status"]["conditions"][0]}}};
  w.put(running);
  CHECK(w.work("m") == "");
  CHECK(w.get(folder + "m")["status"]["resourceVersion"].as_string().empty());
  w.put(definition("deployments.apps", "v1"));
  CHECK(w.work("m") == "");
  CHECK(!w.get(folder + "m")["status"]["resourceVersion"].as_string().empty());
}
