// kit.h: small clusters for tests of the scheduler's pure parts.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "base/random.h"
#include "control/scheduler/configuration.h"
#include "control/scheduler/preemption.h"
#include "json/parse.h"

namespace kedge::control::scheduler::kit {

inline json::value yaml(std::string_view text) {
  auto v = json::parse_yaml(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

// A node with 4 cores, 8 GiB and room for 110 pods; `more` is merged over it.
inline json::value a_node(std::string name, json::value more = {}) {
  json::value out = json::object{
      {"metadata", json::object{{"name", name}, {"labels", json::object{{"kubernetes.io/hostname", name}}}}},
      {"spec", json::object{}},
      {"status", json::object{{"allocatable", json::object{{"cpu", "4"}, {"memory", "8Gi"}, {"pods", "110"}}}}}};
  if (auto labels = more["labels"].object())
    for (auto& l : *labels) out.member("metadata").member("labels").set(l.name, l.value);
  if (more.find("taints")) out.member("spec").set("taints", more["taints"]);
  if (more.find("unschedulable")) out.member("spec").set("unschedulable", more["unschedulable"]);
  if (auto a = more["allocatable"].object())
    for (auto& m : *a) out.member("status").member("allocatable").set(m.name, m.value);
  if (more.find("images")) out.member("status").set("images", more["images"]);
  return out;
}

// `spec` over a pod of one container that asks for nothing.
inline json::value a_pod(std::string name, std::string_view spec = "{}", std::string_view labels = "{}",
                         std::string node = {}) {
  json::value out = json::object{
      {"metadata",
       json::object{{"name", name}, {"namespace", "default"}, {"uid", "uid-" + name}, {"labels", yaml(labels)}}},
      {"spec", json::object{{"schedulerName", "default-scheduler"},
                            {"containers", json::array{json::object{{"name", "c"}, {"image", "x"}}}}}}};
  auto given = yaml(spec);
  if (auto members = given.object())
    for (auto& m : *members) out.member("spec").set(m.name, m.value);
  if (!node.empty()) out.member("spec").set("nodeName", node);
  return out;
}

inline std::string asks(std::string_view cpu, std::string_view memory = "0") {
  return "containers: [{name: c, image: x, resources: {requests: {cpu: \"" + std::string(cpu) + "\", memory: \"" +
         std::string(memory) + "\"}}}]";
}

struct world {
  cluster_view cluster;
  configuration settings = default_configuration();
  seeded_random random{7};

  pod_ref add(const json::value& p) {
    auto read = cluster.read_pod(p, {});
    cluster.set_pod(read);
    return read;
  }
  // However many turns it takes.
  outcome place(const pod_ref& p) {
    auto& by = settings.profiles.front();
    auto out = scheduler::place(by, *p, cluster, random);
    while (out.unfinished) out = scheduler::place(by, *p, cluster, random, std::move(out));
    return out;
  }
  // The node's name, or why there is none.
  std::string where(const json::value& p) {
    auto read = cluster.read_pod(p, {});
    auto found = place(read);
    return found.node ? found.node->name : found.why.text();
  }
  preemption victims(const pod_ref& p) {
    auto refused = place(p);
    REQUIRE(!refused.node);
    return find_victims(settings.profiles.front(), *p, refused, cluster, random);
  }
};

}  // namespace kedge::control::scheduler::kit
