#include "meta/nodes.h"

#include <doctest/doctest.h>

#include <vector>

using namespace kedge::meta;

TEST_CASE("a node's name is a DNS name that a label can hold, and another name is offered for one that isn't") {
  const std::string longest(63, 'a');
  for (auto& good :
       {std::string("a"), std::string("edge-7"), std::string("edge-7.attic.example.org"), std::string("7"), longest}) {
    CHECK_MESSAGE(is_node_name(good), good);
    CHECK(node_name_problem(good).empty());
    CHECK(usable_node_name(good) == good);
  }
  for (auto& [bad, usable] : std::initializer_list<std::pair<std::string, std::string>>{
           {"", ""},
           {"Edge-7", "edge-7"},
           {"edge_7", "edge-7"},
           {"-edge-", "edge"},
           {"edge..attic", "edge.attic"},
           {".edge.", "edge"},
           {"edge-.attic", "edge.attic"},
           {"edge.-attic", "edge.attic"},
           {"M\u00fcller's box", "m--ller-s-box"},
           {"___", ""},
           {longest + "a", longest},
           {std::string(62, 'a') + "-b", std::string(62, 'a')}}) {
    CAPTURE(bad);
    CHECK_FALSE(is_node_name(bad));
    CHECK(usable_node_name(bad) == usable);
    CHECK((usable.empty() || is_node_name(usable)));
    CHECK((node_name_problem(bad).find("--node-name " + usable + " would do") != std::string::npos) == !usable.empty());
  }
}

TEST_CASE("a node gives itself its own labels, and of Kubernetes' those of the kubelet") {
  for (auto* may :
       {"zone", "example.org/x", "kubernetes.io.example.org/x", "mykubernetes.io/x", "kubernetes.io/hostname",
        "topology.kubernetes.io/zone", "node.kubernetes.io/anything", "a.kubelet.kubernetes.io/b"})
    CHECK_MESSAGE(node_may_set_label(may), may);
  for (auto* not_that : {"node-role.kubernetes.io/gpu", "kubernetes.io/x", "k8s.io/x", "a.k8s.io/x",
                         "node-restriction.kubernetes.io/x", "topology.kubernetes.io/rack", "xnode.kubernetes.io/a"})
    CHECK_MESSAGE(!node_may_set_label(not_that), not_that);
  const std::vector<std::string> good{"zone=attic", "kubernetes.io/os=linux"},
      bad{"zone=attic", "node-role.kubernetes.io/gpu=true", "k8s.io/a=b", "k8s.io/a=c"};
  CHECK(node_labels_problem(good).empty());
  CHECK(node_labels_problem(bad) ==
        "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [k8s.io/a "
        "node-role.kubernetes.io/gpu]\n"
        "--node-labels in the 'kubernetes.io' namespace must begin with an allowed prefix (kubelet.kubernetes.io, "
        "node.kubernetes.io) or be in the specifically allowed set "
        "(beta.kubernetes.io/arch, beta.kubernetes.io/instance-type, beta.kubernetes.io/os, "
        "failure-domain.beta.kubernetes.io/region, failure-domain.beta.kubernetes.io/zone, "
        "kubernetes.io/arch, kubernetes.io/hostname, kubernetes.io/os, node.kubernetes.io/instance-type, "
        "topology.kubernetes.io/region, topology.kubernetes.io/zone)");
}
