// Manifests and the sets of objects that they are, compared with what rancher/wrangler, which K3s applies them by, did
// (tests/answers/addons).
#include "control/addons/manifest.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "api/local_objects.h"
#include "api/registry/indexes.h"
#include "at_work.h"
#include "base/strings.h"
#include "control/addons/definitions.h"
#include "control/addons/folder.h"
#include "control/addons/limits.h"
#include "control/addons/packaged.h"
#include "control/addons/traefik.h"
#include "control/applied_text.h"
#include "control/object_set.h"
#include "crypto/files.h"
#include "datastore/memory/memory_log.h"
#include "reactor/loop.h"
#include "store/open.h"
#include "support/no_admission.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::control;
using namespace kedge::control::addons;

namespace {

// A store in memory and a client of it.
class objects_alone {
 public:
  objects_alone() {
    auto opened = loop_.run_until(store::open_store(
        {.log = datastore::make_memory_log(database_), .loops = {&loop_}, .indexes = api::builtin_indexes()}));
    REQUIRE(opened.has_value());
    store_ = *std::move(opened);
    client_ = api::make_objects(*store_, rules_, ranges_);
    for (auto name : {"default", "kube-system"})
      REQUIRE(loop_.run_until(
          client_->create({"", "v1", "namespaces"}, "",
                          yaml(fmt::format("{{kind: Namespace, apiVersion: v1, metadata: {{name: {}}}}}", name)))));
  }
  ~objects_alone() {
    client_.reset();
    loop_.run_until(store_->close());
  }
  text apply(object_set set) { return loop_.run_until(apply_set(*client_, std::move(set))); }
  api::objects& client() { return *client_; }
  json::value get(const api::resource_id& r, std::string_view ns, std::string_view name) {
    auto v = client_->get(r, ns, name);
    return v ? *std::move(v) : json::value();
  }
  template <typename T>
  T run(task<T> t) {
    return loop_.run_until(std::move(t));
  }

 private:
  reactor::loop loop_{*reactor::make_backend(reactor::io_backend::epoll)};
  reactor::loop::current_guard here_{loop_};
  datastore::memory_database database_;
  tests::no_admission rules_;
  api::service_ranges ranges_;
  std::unique_ptr<store::store> store_;
  std::unique_ptr<api::objects> client_;
};

const set_owner recorded{.id = "", .what = {"k3s.cattle.io/v1", "Addon"}, .ns = "kube-system", .name = "recorded"};

json::value answers(std::string_view name) {
  auto text = crypto::read_file(fmt::format("{}/{}", KEDGE_ANSWERS, name), 10'000'000);
  REQUIRE(text.has_value());
  auto v = json::parse(*text);
  REQUIRE(v.has_value());
  return *std::move(v);
}

std::vector<json::value> list(const json::value& v) { return v.array() ? *v.array() : json::array(); }

// Without what each cluster gives anew; what was applied last as what it says.
json::value bare(json::value o) {
  auto& m = o.member("metadata");
  for (auto name : {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"}) m.erase(name);
  auto& notes = m.member("annotations");
  notes.set(applied_annotation, from_applied_text(notes[applied_annotation].as_string()));
  for (auto name : {"clusterIP", "clusterIPs"})
    if (o["kind"].as_string() == "Service") o.member("spec").erase(name);
  return o;
}

void write_file(const std::string& path) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << "";
}

api::resource_id resource_of(const json::value& o) {
  auto* s = api::builtin_registry().find_kind(o["apiVersion"].as_string(), o["kind"].as_string());
  REQUIRE(s);
  return {s->group, s->version, s->resource};
}

}  // namespace

TEST_CASE("a set of objects becomes what wrangler makes of it, when it is new and when it changes") {
  objects_alone w;
  for (auto& step : list(answers("addons/applied.json"))) {
    CHECK(w.apply({.owner = recorded, .objects = list(step["objects"])}) == text{});
    std::size_t found = 0;
    for (auto& theirs : list(step["after"])) {
      auto& m = theirs["metadata"];
      auto ours = w.get(resource_of(theirs), m["namespace"].as_string(), m["name"].as_string());
      ours = bare(std::move(ours));
      CHECK_MESSAGE(ours == bare(theirs), json::write_indented(ours, 1), json::write_indented(bare(theirs), 1));
      ++found;
    }
    CHECK(found == step["objects"].size());
  }
  // What the second step has no more, of a kind that it has.
  CHECK(w.get({"", "v1", "configmaps"}, "default", "leaves").is_null());
}

TEST_CASE("the owner's hash is the one that K3s's objects have") {
  auto coredns = recorded;
  coredns.name = "coredns";
  CHECK(hash_of(coredns) == "bce283298811743a0386ab510f2f67ef74240c57");
  CHECK(kind_of(yaml("{apiVersion: v1, kind: Pod}")).text() == "/v1, Kind=Pod");
  CHECK(versioned_kind::parse("/v1, Kind=Pod") == versioned_kind{"v1", "Pod"});
  CHECK(versioned_kind::parse("apps/v1, Kind=Deployment") == versioned_kind{"apps/v1", "Deployment"});
  CHECK(versioned_kind::parse("nonsense") == versioned_kind{});
}

TEST_CASE("applying twice writes nothing, and others' fields stay") {
  objects_alone w;
  const auto role = yaml("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1'}}");
  CHECK(w.apply({.owner = recorded, .objects = {role}}) == text{});
  auto first = w.get({"", "v1", "configmaps"}, "default", "a");
  CHECK(w.apply({.owner = recorded, .objects = {role}}) == text{});
  CHECK(w.get({"", "v1", "configmaps"}, "default", "a") == first);
  auto theirs = first;
  theirs.member("data").set("y", "2");
  REQUIRE(w.run(w.client().update({"", "v1", "configmaps"}, "default", theirs)));
  CHECK(w.apply({.owner = recorded,
                 .objects = {yaml("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {z: '3'}}")}}) ==
        text{});
  CHECK(json::write(w.get({"", "v1", "configmaps"}, "default", "a")["data"]) == R"({"y":"2","z":"3"})");
}

TEST_CASE("ports that one number doesn't tell apart stay as they are, and change") {
  objects_alone w;
  const auto of = [](std::string_view target) {
    return yaml(fmt::format(
        "{{apiVersion: v1, kind: Service, metadata: {{name: dns}}, spec: {{selector: {{a: b}}, ports: "
        "[{{name: u, port: 53, protocol: UDP, targetPort: {0}}}, {{name: t, port: 53, targetPort: {0}}}]}}}}",
        target));
  };
  for (auto target : {"53", "53", "5353"}) {
    CHECK(w.apply({.owner = recorded, .objects = {of(target)}}) == text{});
    auto ports = w.get({"", "v1", "services"}, "default", "dns")["spec"]["ports"];
    REQUIRE(ports.size() == 2);
    CHECK(ports[0]["protocol"].as_string() == "UDP");
    CHECK(ports[1]["protocol"].as_string() == "TCP");
    CHECK(json::write(ports[1]["targetPort"]) == target);
  }
}

TEST_CASE("what is refused holds nothing else, and what is wanted no more goes unless it says otherwise") {
  objects_alone w;
  std::vector<json::value> some;
  for (auto name : {"one", "UPPER", "kept"})
    some.push_back(yaml(fmt::format("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {}}}}}", name)));
  some[2].member("metadata").set("labels", json::object{{"objectset.rio.cattle.io/prune", "false"}});
  some.push_back(yaml("{apiVersion: example.com/v1, kind: Absent, metadata: {name: x}}"));
  auto problems = w.apply({.owner = recorded, .objects = some});
  REQUIRE(problems.size() == 2);
  CHECK(problems[0].starts_with("failed to create default/UPPER /v1, Kind=ConfigMap for  kube-system/recorded: "));
  CHECK(problems[1] == R"(no matches for kind "Absent" in version "example.com/v1")");
  // Another owner's stays.
  auto other = recorded;
  other.name = "other";
  CHECK(w.apply({.owner = other, .objects = {yaml("{apiVersion: v1, kind: ConfigMap, metadata: {name: theirs}}")}}) ==
        text{});
  // A kind that is served no more is passed over.
  CHECK(w.apply({.owner = recorded, .objects = {}, .kinds = {{"v1", "ConfigMap"}, {"old/v1", "Gone"}}}) == text{});
  CHECK(w.get({"", "v1", "configmaps"}, "default", "one").is_null());
  CHECK(!w.get({"", "v1", "configmaps"}, "default", "kept").is_null());
  CHECK(!w.get({"", "v1", "configmaps"}, "default", "theirs").is_null());
}

TEST_CASE("a note of what was applied that can't be read is none, and one that unfolds for ever ends") {
  CHECK(from_applied_text("").empty());
  CHECK(from_applied_text("!").empty());
  CHECK(from_applied_text("aGVsbG8").empty());
  CHECK(from_applied_text(R"({"a":1})")["a"].as_integer() == 1);
  auto text = to_applied_text(json::object{{"b", "x"}, {"a", std::string(20'000'000, 'x')}});
  CHECK(from_applied_text(text)["a"].as_string().size() == 64);
}

TEST_CASE("manifests: documents, lists, and what is none") {
  auto m = read_manifest(
      "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n--- # the "
      "next\n{\"apiVersion\":\"v1\","
      "\"kind\":\"List\",\"items\":[{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"two\"}},5]}\n--"
      "-\n\n"
      "---\nkind: [\n---\nnull\n---\nkind: X\n---\napiVersion: v1\nkind: Pod\n---\n- 1\n---\ntext: |\n  --- no "
      "separator\n"
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: three}\n");
  text names;
  for (auto& o : m.objects) names.emplace_back(o["metadata"]["name"].as_string());
  CHECK(names == text{"one", "two", "three"});
  REQUIRE(m.problems.size() == 5);
  CHECK(m.problems[0] == "document 2: it is a number, not an object");
  CHECK(m.problems[1].starts_with("document 3: "));
  CHECK(m.problems[2] == "document 5: Object 'apiVersion' is missing");
  CHECK(m.problems[3] == "document 6: Pod without metadata.name");
  CHECK(m.problems[4] == "document 7: it is a array, not an object");
  CHECK(read_manifest("").objects.empty());
  CHECK(read_manifest("---\n---\n").problems.empty());
  // Garbage of many documents, and aliases that unfold without end.
  std::string garbage;
  for (int i = 0; i < 1000; ++i) garbage += "a: [\n---\n";
  CHECK(read_manifest(garbage).problems.size() == problems_max);
  std::string laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i)
    laughs += fmt::format("a{0}: &a{0} [*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1}]\n", i, i - 1);
  CHECK(read_manifest(laughs).problems.size() == 1);
}

TEST_CASE("a manifests' folder: what is looked at, left alone, and to go") {
  const temporary_folder folder;
  for (auto* name : {"m/b.yaml", "m/a.yml", "m/c.JSON", "m/d.txt", "m/.e.yaml", "m/f.yaml", "m/f.yaml.skip",
                     "m/off.yaml", "m/sub/g.yaml", "m/out/h.yaml", "m/x/y/i.yaml", "else/j.yaml", "else/k/f.yaml"})
    write_file(folder.path() + "/" + name);
  std::filesystem::create_directory_symlink(folder.path() + "/else", folder.path() + "/m/link");
  std::filesystem::create_directory_symlink(folder.path() + "/m", folder.path() + "/else/back");
  auto look = look_at(folder.path() + "/m", {"off", "out", "x/y", "j"});
  text found;
  for (auto& f : look.files)
    found.push_back(f.relative +
                    (f.what == manifest_file::fate::remove ? f.own ? " goes" : " goes, its file stays" : ""));
  CHECK(found == text{"a.yml", "b.yaml", "c.JSON", "link/j.yaml goes, its file stays", "off.yaml goes",
                      "out/h.yaml goes", "sub/g.yaml", "x/y/i.yaml goes"});
  CHECK(look.problems.empty());
  CHECK(look_at(folder.path() + "/absent", {}).files.empty());
  CHECK(addon_name("/x/metrics.v2.yaml") == "metrics");
  CHECK(!read_manifest_file(folder.path() + "/m").has_value());
  REQUIRE(::mkfifo((folder.path() + "/pipe").c_str(), 0600) == 0);
  CHECK(read_manifest_file(folder.path() + "/pipe").error().code == errc::invalid);
  std::filesystem::resize_file(folder.path() + "/m/b.yaml", manifest_max_bytes + 1);
  CHECK(read_manifest_file(folder.path() + "/m/b.yaml").error().code == errc::too_large);
}

TEST_CASE("K3s's definitions and packaged components are objects that the server takes") {
  objects_alone w;
  CHECK(w.run(ensure_definitions(w.client(), true)));
  CHECK(definitions(false).size() == 2);
  const api::resource_id crds{"apiextensions.k8s.io", "v1", "customresourcedefinitions"};
  // One that lacks a field of ours is brought up to date; one that has more stays.
  auto theirs = w.get(crds, "", "helmcharts.helm.cattle.io");
  auto* fields = theirs.member("spec")
                     .member("versions")
                     .array()
                     ->front()
                     .member("schema")
                     .member("openAPIV3Schema")
                     .find("properties");
  fields->member("spec").member("properties").erase("plainHTTP");
  fields->member("spec").member("properties").set("more", json::object{{"type", "string"}});
  REQUIRE(w.run(w.client().update(crds, "", theirs)));
  CHECK(w.run(ensure_definitions(w.client(), true)));
  const json::value now =
      w.get(crds, "", "helmcharts.helm.cattle.io")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
                                                  ["spec"]["properties"];
  CHECK(now["plainHTTP"].is_object());
  CHECK(now["more"].is_null());
  auto all = packaged_components({.dns_service = {}, .local_storage_path = "/data", .usage = true});
  for (auto& [file, objects] : all) {
    CAPTURE(file);
    auto owner = recorded;
    owner.name = addon_name(file);
    CHECK(w.apply({.owner = owner, .objects = objects}) == text{});
  }
  CHECK(all.at("ccm.yaml").empty());
  // What nodes may read stays when K3s's AddOn becomes this one: it is of this one, too.
  auto role =
      json::value(json::object{{"kind", "ClusterRole"}, {"metadata", json::object{{"name", "system:k3s-controller"}}}});
  auto rolebindings = packaged_components({.dns_service = {}, .local_storage_path = "/data", .node_roles = {role}})
                          .at("rolebindings.yaml");
  CHECK(std::ranges::find(rolebindings, role) != rolebindings.end());
  auto config = json::parse(
      w.get({"", "v1", "configmaps"}, "kube-system", "local-path-config")["data"]["config.json"].as_string());
  REQUIRE(config.has_value());
  CHECK((*config)["nodePathMap"][0]["paths"][0].as_string() == "/data");
}

TEST_CASE("Traefik, for who asks: of K3s's archives, of another one, or of its repository") {
  temporary_folder folder;
  CHECK(find_traefik(folder.path() + "/none").chart.empty());
  for (auto* name : {"traefik-9.0.tgz", "traefik-40.1.4+up40.1.0.tgz", "traefik-crd-40.1.4+up40.1.0.tgz",
                     "traefik-mesh-99.tgz", "traefik-41.tar", "nginx-50.tgz"})
    std::ofstream(folder.path() + "/" + name) << "x";
  auto found = find_traefik(folder.path());
  CHECK(found.chart == "traefik-40.1.4+up40.1.0.tgz");
  CHECK(found.definitions == "traefik-crd-40.1.4+up40.1.0.tgz");
  auto charts = traefik(found, "registry.example");
  REQUIRE(charts.size() == 2);
  CHECK(charts[0]["spec"]["chart"] == "https://%{KUBERNETES_API}%/static/charts/traefik-crd-40.1.4+up40.1.0.tgz");
  CHECK(charts[1]["spec"]["set"]["global.systemDefaultRegistry"] == "registry.example");
  charts = traefik({.chart = "traefik-41.0.tgz", .definitions = {}}, "registry.example");
  REQUIRE(charts.size() == 1);
  CHECK(charts[0]["spec"]["values"]["image"]["registry"] == "registry.example");
  charts = traefik({}, "");
  CHECK(charts[0]["metadata"]["name"] == "traefik");
  CHECK(charts[0]["spec"]["repo"].is_string());
  CHECK(charts[0]["spec"]["values"]["image"].is_null());
  CHECK_FALSE(packaged_components({.dns_service = {}, .local_storage_path = "/data"}).contains("traefik.yaml"));
}

TEST_CASE("service-lb-controller: what K3s left of its balancer goes, and a Service that waits for it ends") {
  at_work w("service");
  w.put(
      "{kind: DaemonSet, apiVersion: apps/v1, metadata: {name: svclb-traefik-1, namespace: kube-system, labels: "
      "{svccontroller.k3s.cattle.io/svcname: traefik}}}");
  w.put("{kind: DaemonSet, apiVersion: apps/v1, metadata: {name: mine, namespace: kube-system}}");
  CHECK(w.named() == text{"daemonset:kube-system/svclb-traefik-1"});
  CHECK(lines(w.look("daemonset:kube-system/svclb-traefik-1", at())) ==
        text{"remove daemonsets kube-system/svclb-traefik-1 uid-svclb-traefik-1"});
  auto service = yaml(
      "{kind: Service, apiVersion: v1, metadata: {name: web, namespace: default, deletionTimestamp: "
      "'2026-01-01T00:00:00Z', finalizers: [example.com/other, service.kubernetes.io/load-balancer-cleanup]}, spec: "
      "{type: "
      "LoadBalancer}}");
  w.put(service);
  CHECK(w.named() == text{"default/web"});
  CHECK(json::write(updated(w.look("default/web", at()))["metadata"]["finalizers"]) == R"(["example.com/other"])");
  // Another balancer's.
  service.member("spec").set("loadBalancerClass", "example.com/lb");
  w.put(service);
  CHECK(lines(w.look("default/web", at())).empty());
}
