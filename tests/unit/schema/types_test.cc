#include "schema/types.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "json/parse.h"
#include "schema/bootstrap.h"
#include "schema/resources.h"

using namespace kedge;
using namespace kedge::schema;

TEST_CASE("kinds are found by apiVersion and kind") {
  auto pod = find_kind("v1", "Pod");
  REQUIRE(pod);
  CHECK(pod->name() == "core/v1.Pod");
  CHECK(pod->go_name() == "Pod");
  CHECK(find_kind("apps/v1", "Deployment") == find_type("apps/v1.Deployment"));
  CHECK(find_kind("apps/v1", "Pod") == nullptr);
  CHECK(find_kind("zzz/v9", "Zzz") == nullptr);
  CHECK(find_kind("", "") == nullptr);
  CHECK(kind_of(*pod).kind == "Pod");
  CHECK(split_api_version("apps/v1").group == "apps");
  CHECK(split_api_version("v1").version == "v1");
}

TEST_CASE("every field of every type is found by its name, and nothing else is") {
  std::size_t fields = 0;
  for (auto& t : all_types()) {
    CAPTURE(t.name());
    for (std::size_t i = 0; i < t.size(); ++i) {
      CHECK(t.position(t.field(i).name()) == static_cast<int>(i));
      CHECK_FALSE(t.field(i).is_inline());
      ++fields;
    }
    CHECK(t.find("noSuchField") == nullptr);
    CHECK(t.find("") == nullptr);
    int last = 0;
    for (auto p : t.wire_order()) {
      auto& f = t.fields()[p];
      CHECK(f.proto() > last);
      last = f.proto();
      CHECK(t.find_wire(f.proto()) == &f);
    }
  }
  CHECK(fields > 2400);
}

TEST_CASE("a field's facts") {
  auto spec = find_type("core/v1.PodSpec");
  auto containers = spec->find("containers");
  REQUIRE(containers);
  CHECK(containers->is_array());
  CHECK(containers->type()->name() == "core/v1.Container");
  CHECK(containers->proto() == 2);
  CHECK(containers->required());
  CHECK(containers->patch_merge());
  CHECK(containers->patch_merge_key() == "name");
  CHECK(containers->list_type() == list_type::map);
  CHECK(containers->list_map_keys()[0] == "name");
  CHECK(spec->find("volumes")->patch_retain_keys());
  auto ports = find_type("core/v1.Container")->find("ports");
  CHECK(ports->list_map_keys().size() == 2);
  CHECK(ports->list_map_keys()[1] == "protocol");
  CHECK(find_type("core/v1.ContainerPort")->find("protocol")->default_json() == "\"TCP\"");
  CHECK(spec->find("restartPolicy")->enum_values().contains("OnFailure"));
  auto extra = find_type("authorization/v1.SubjectAccessReviewSpec")->find("extra");
  CHECK(extra->shape() == shape::map_of_arrays);
  CHECK(extra->base() == base_type::string);
  auto capacity = find_type("core/v1.NodeStatus")->find("capacity");
  CHECK(capacity->shape() == shape::map);
  CHECK(capacity->base() == base_type::quantity);
  // Embedded structs: fields of the object in JSON, a message of its own on the wire.
  auto volume = find_type("core/v1.Volume");
  CHECK(volume->find("configMap")->pointer());
  CHECK(volume->find_wire(2)->is_inline());
  CHECK(find_type("core/v1.Pod")->field(0).name() == "kind");
  CHECK(find_type("core/v1.LocalObjectReference")->map_type() == map_type::atomic);
  CHECK(find_type("apiextensions/v1.JSONSchemaProps")->find("items")->base() == base_type::schema_or_array);
  CHECK(find_type("meta/v1.APIResource")->find("verbs")->wrapped_items());
}

TEST_CASE("resources") {
  auto deployments = find_resource("apps", "v1", "deployments");
  REQUIRE(deployments);
  CHECK(deployments->kind() == "Deployment");
  CHECK(deployments->api_version() == "apps/v1");
  CHECK(deployments->namespaced());
  CHECK(deployments->has_verb("deletecollection"));
  CHECK(deployments->short_names()[0] == "deploy");
  CHECK(deployments->categories().contains("all"));
  CHECK(deployments->column(0).name == "Name");
  CHECK(deployments->column(0).format == "name");
  REQUIRE(deployments->subresource_count() == 2);
  CHECK(deployments->subresource(0).name == "scale");
  CHECK(deployments->subresource(0).group == "autoscaling");
  CHECK(deployments->subresource(1).group == "apps");
  CHECK(deployments->subresource(1).verbs.contains("patch"));
  CHECK(deployments->has_subresource("status"));
  CHECK(find_resource_of_kind("v1", "Node")->plural() == "nodes");
  CHECK(find_resource("apps", "v1", "pods") == nullptr);
  CHECK(find_resource_of_kind("v1", "Status") == nullptr);
  std::set<std::string> seen;
  for (auto& r : all_resources()) CHECK(find_resource(r.group(), r.version(), r.plural()) == &r);
}

TEST_CASE("keys are kube-apiserver's") {
  struct {
    std::string_view group, version, plural, prefix;
  } cases[] = {
      {"", "v1", "pods", "/registry/pods/"},
      {"", "v1", "nodes", "/registry/minions/"},
      {"", "v1", "services", "/registry/services/specs/"},
      {"", "v1", "endpoints", "/registry/services/endpoints/"},
      {"", "v1", "replicationcontrollers", "/registry/controllers/"},
      {"networking.k8s.io", "v1", "ingresses", "/registry/ingress/"},
      {"", "v1", "events", "/registry/events/"},
      {"events.k8s.io", "v1", "events", "/registry/events/"},
      {"apps", "v1", "deployments", "/registry/deployments/"},
      {"apiextensions.k8s.io", "v1", "customresourcedefinitions",
       "/registry/apiextensions.k8s.io/customresourcedefinitions/"},
      {"apiregistration.k8s.io", "v1", "apiservices", "/registry/apiregistration.k8s.io/apiservices/"},
  };
  for (auto& c : cases) {
    auto r = find_resource(c.group, c.version, c.plural);
    REQUIRE(r);
    CHECK(resource_key_prefix(*r) == c.prefix);
  }
  CHECK(custom_key_prefix("example.com", "foos") == "/registry/example.com/foos/");
}

TEST_CASE("bootstrap objects are whole JSON") {
  std::size_t objects = 0;
  for (auto& c : bootstrap_categories()) {
    CAPTURE(c.name);
    auto v = json::parse(c.json);
    REQUIRE(v);
    REQUIRE(v->is_array());
    CHECK(find_kind(c.api_version, c.kind) != nullptr);
    objects += v->size();
    for (auto& o : *v->array()) CHECK_FALSE(o["metadata"]["name"].as_string().empty());
  }
  CHECK(objects > 150);
  CHECK(bootstrap_json("clusterroles").size() > 10'000);
  CHECK(bootstrap_json("nonsense").empty());
}
