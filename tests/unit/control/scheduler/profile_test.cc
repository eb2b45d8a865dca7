#include "unit/control/scheduler/kit.h"

using namespace kedge;
using namespace kedge::control::scheduler;
using namespace kedge::control::scheduler::kit;

namespace {

constexpr std::string_view head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

std::string problem(std::string_view more) {
  auto c = parse_configuration(std::string(head) + std::string(more));
  return c ? "" : c.error().message;
}

}  // namespace

TEST_CASE("the default profile has kube-scheduler's plugins and weights") {
  auto c = default_configuration();
  REQUIRE(c.profiles.size() == 1);
  std::string text;
  for (auto& s : c.profiles[0].scorers) text += std::string(s.of->name()) + "=" + std::to_string(s.weight) + " ";
  CHECK(text ==
        "TaintToleration=3 NodeAffinity=2 NodeResourcesFit=1 PodTopologySpread=2 InterPodAffinity=2 "
        "NodeResourcesBalancedAllocation=1 ImageLocality=1 ");
  CHECK(c.profiles[0].preempts);
}

TEST_CASE("plugins are switched and weighed by the file") {
  auto c = parse_configuration(std::string(head) +
                               "profiles:\n"
                               "- schedulerName: default-scheduler\n"
                               "- schedulerName: packer\n"
                               "  plugins:\n"
                               "    score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit, weight: 7}]}\n"
                               "    filter: {disabled: [{name: NodePorts}]}\n"
                               "    postFilter: {disabled: [{name: DefaultPreemption}]}\n"
                               "  pluginConfig:\n"
                               "  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}\n");
  REQUIRE_MESSAGE(c.has_value(), (c ? "" : c.error().message));
  auto p = c->find("packer");
  REQUIRE(p);
  REQUIRE(p->scorers.size() == 1);
  CHECK(p->scorers[0].weight == 7);
  CHECK(!p->preempts);
  for (auto f : p->filters) CHECK(f->name() != "NodePorts");
  world w;
  w.cluster.set_node(a_node("n1"));
  w.cluster.set_node(a_node("n2"));
  w.add(a_pod("a", asks("2", "4Gi"), "{}", "n2"));
  auto one = w.cluster.read_pod(a_pod("p", asks("1", "1Gi")), {});
  CHECK(place(*p, *one, w.cluster, w.random).node->name == "n2");
  CHECK(w.place(one).node->name == "n1");
}

TEST_CASE("what is wrong in the file is named") {
  CHECK(parse_configuration("{}").error().message ==
        "it is \"\" of \"\", not KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1");
  CHECK(problem("profiles: [{plugins: {filter: {enabled: [{name: Nonsense}]}}}]") ==
        "profiles[0].plugins.filter.enabled[0].name: Invalid value: \"Nonsense\": plugin does not exist in registry");
  CHECK(problem("profiles: [{schedulerName: a}, {schedulerName: a}]") ==
        "profiles[1].schedulerName: Duplicate value: \"a\"");
  CHECK(problem("profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]") ==
        "profiles[0].pluginConfig[InterPodAffinity].args: hardPodAffinityWeight: Invalid value: 101: not in valid "
        "range [0, 100]");
  CHECK(problem("podMaxBackoffSeconds: 0") == "podMaxBackoffSeconds: Invalid value: must be greater than 0");
  CHECK(problem("extenders: [{urlPrefix: \"http://x\"}]").starts_with("extenders are not supported"));
}
