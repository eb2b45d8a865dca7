#include "control/scheduler/configuration.h"
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
        "TaintToleration=3 NodeAffinity=2 NodeResourcesFit=1 VolumeBinding=1 PodTopologySpread=2 InterPodAffinity=2 "
        "DynamicResources=2 "
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
        "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]");
  struct row {
    std::string given, message;
  };
  for (auto& r : {
           row{"podMaxBackoffSeconds: 0", "podMaxBackoffSeconds: Invalid value: 0: must be greater than 0"},
           row{"podMaxBackoffSeconds: ten", "podMaxBackoffSeconds: Invalid value: must be a whole number"},
           row{"percentageOfNodesToScore: 101",
               "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"},
           row{"profiles: [{percentageOfNodesToScore: -1}]",
               "profiles[0].percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]"},
           row{"profils: []", "unknown field \"profils\""},
           row{"profiles: {}", "profiles: Invalid value: must be a list of objects"},
           row{"leaderElection: {leaderElected: true}", "unknown field \"leaderElection.leaderElected\""},
           row{"profiles: [{plugins: {filters: {}}}]", "unknown field \"profiles[0].plugins.filters\""},
           row{"profiles: [{plugins: {score: {enabled: [{name: EBSLimits}]}}}]",
               "profiles[0].plugins.score.enabled[0]: Invalid value: \"EBSLimits\": was invalid in version "
               "\"kubescheduler.config.k8s.io/v1\""},
           row{"profiles: [{plugins: {multiPoint: {disabled: [{name: '*'}], enabled: [{name: NodeName}]}}}]",
               "profiles[0].plugins: only one queue sort plugin required for profile with scheduler name "
               "\"default-scheduler\", but got 0"},
           row{"profiles: [{plugins: {bind: {disabled: [{name: DefaultBinder}]}}}]",
               "profiles[0].plugins: at least one bind plugin is needed for profile with scheduler name "
               "\"default-scheduler\""},
           row{"profiles: [{pluginConfig: [{name: NodeName}, {name: NodeName}]}]",
               "profiles[0].pluginConfig[1]: Duplicate value: \"NodeName\""},
           row{"profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoring: {}}}]}]",
               "unknown field \"profiles[0].pluginConfig[0].args.scoring\""},
           row{"profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {kind: NodeNameArgs}}]}]",
               "profiles[0].pluginConfig[0].args.kind: Invalid value: \"NodeNameArgs\": must be NodeResourcesFitArgs"},
           row{"profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]}]",
               "profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: \"Best\": supported values: "
               "\"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\""},
           row{"profiles: [{pluginConfig: [{name: VolumeBinding, args: {shape: [{utilization: 0, score: 11}]}}]}]",
               "profiles[0].pluginConfig[0].args.shape[0].score: Invalid value: 11: not in valid range [0, 10]"},
           row{"profiles: [{pluginConfig: [{name: DefaultPreemption, args: {minCandidateNodesPercentage: 0, "
               "minCandidateNodesAbsolute: 0}}]}]",
               "profiles[0].pluginConfig[0].args.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the "
               "same time as minCandidateNodesAbsolute"},
           row{"profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, "
               "defaultConstraints: [{maxSkew: 0, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}}]}]",
               "profiles[0].pluginConfig[0].args.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range "
               "(0, inf)"},
       })
    CHECK(problem(r.given) == r.message);
}

TEST_CASE("extenders are read as kube-scheduler reads them") {
  struct row {
    std::string given, message;
  };
  for (auto& r : {
           row{"{urlPrefix: 'ftp://x'}", "extenders[0].urlPrefix: not an http or https URL: \"ftp://x\""},
           row{"{urlPrefix: 'http://x', prioritizeVerb: p}",
               "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it"},
           row{"{urlPrefix: 'http://x', httpTimeout: soon}",
               "extenders[0].httpTimeout: \"soon\" is not a duration such as 5s"},
           row{"{urlPrefix: 'http://x', bindVerb: b}, {urlPrefix: 'http://y', bindVerb: b}",
               "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement "
               "bind"},
           row{"{urlPrefix: 'http://x', managedResources: [{name: cpu}]}",
               "extenders[0].managedResources[0].name: Invalid value: \"cpu\": is an invalid extended resource name"},
           row{"{urlPrefix: 'http://x', managedResources: [{name: a.b/c}]}, {urlPrefix: 'http://y', managedResources: "
               "[{name: a.b/c}]}",
               "extenders[1].managedResources[0].name: Invalid value: \"a.b/c\": duplicate extender managed resource "
               "name"},
           row{"{urlPrefix: 'https://x', tlsConfig: {caFile: /nowhere}}",
               "extenders[0].tlsConfig.caFile: open /nowhere: No such file or directory"},
           row{"{urlPrefix: 'http://x', verb: v}", "unknown field \"extenders[0].verb\""},
       })
    CHECK(problem("extenders: [" + r.given + "]") == r.message);
  auto c = parse_configuration(std::string(head) +
                               "extenders: [{urlPrefix: 'http://first/', filterVerb: f, ignorable: true}, {urlPrefix: "
                               "'https://second:8443/a', filterVerb: f, enableHTTPS: true, httpTimeout: 2s, "
                               "managedResources: [{name: a.b/c, ignoredByScheduler: true}]}]\n");
  REQUIRE_MESSAGE(c.has_value(), (c ? "" : c.error().message));
  // Who may be ignored is asked last.
  REQUIRE(c->extenders.size() == 2);
  CHECK(c->extenders[0].path == "/a");
  CHECK(c->extenders[0].to.tls->insecure());
  CHECK(c->extenders[0].timeout == std::chrono::seconds(2));
  CHECK(c->extenders[1].url == "http://first");
  CHECK(c->extenders[1].timeout == std::chrono::seconds(5));
  CHECK(c->extenders[1].is_asked_about(kit::a_pod("p")));
  CHECK_FALSE(c->extenders[0].is_asked_about(kit::a_pod("p")));
  auto asks = kit::a_pod("q", "containers: [{name: c, resources: {limits: {a.b/c: 1}, requests: {a.b/c: 1}}}]");
  CHECK(c->extenders[0].is_asked_about(asks));
  // What the scheduler leaves to it fits everywhere.
  kit::world w;
  w.settings = *std::move(c);
  w.cluster.set_node(kit::a_node("n1"));
  CHECK(w.where(asks) == "n1");
}

TEST_CASE("what kube-scheduler has and Kedge's scheduler doesn't is told") {
  auto c = parse_configuration(std::string(head) +
                               "clientConnection: {kubeconfig: /x}\n"
                               "profiles: [{plugins: {filter: {enabled: [{name: GangScheduling}]}, preScore: "
                               "{disabled: [{name: '*'}]}, multiPoint: {disabled: [{name: SchedulingGates}]}}}]\n");
  REQUIRE_MESSAGE(c.has_value(), (c ? "" : c.error().message));
  CHECK(c->without_effect ==
        std::vector<std::string>{"clientConnection", "profiles[0].plugins.filter.enabled[0] (GangScheduling)",
                                 "profiles[0].plugins.preScore", "profiles[0].plugins without SchedulingGates"});
}

TEST_CASE("what a point sets anew runs first, in its order") {
  auto c =
      parse_configuration(std::string(head) +
                          "profiles: [{plugins: {multiPoint: {disabled: [{name: ImageLocality}]}, score: {enabled: "
                          "[{name: NodeAffinity, weight: 9}, {name: ImageLocality, weight: 4}], disabled: [{name: "
                          "TaintToleration}]}}}]\n");
  REQUIRE_MESSAGE(c.has_value(), (c ? "" : c.error().message));
  std::string text;
  for (auto& s : c->profiles[0].scorers) text += std::string(s.of->name()) + "=" + std::to_string(s.weight) + " ";
  CHECK(text ==
        "NodeAffinity=9 NodeResourcesFit=1 VolumeBinding=1 PodTopologySpread=2 InterPodAffinity=2 DynamicResources=2 "
        "NodeResourcesBalancedAllocation=1 ImageLocality=4 ");
}

TEST_CASE("the search for nodes ends when enough are found") {
  auto c =
      parse_configuration(std::string(head) +
                          "percentageOfNodesToScore: 30\nprofiles: [{schedulerName: few}, {schedulerName: all, "
                          "percentageOfNodesToScore: 100}, {schedulerName: usual, percentageOfNodesToScore: 0}]\n");
  REQUIRE_MESSAGE(c.has_value(), (c ? "" : c.error().message));
  world w;
  for (int i = 0; i < 500; ++i) w.cluster.set_node(a_node("n" + std::to_string(i)));
  auto p = w.cluster.read_pod(a_pod("p"), {});
  auto feasible = [&](std::string_view name) { return place(*c->find(name), *p, w.cluster, w.random).passed.size(); };
  CHECK(feasible("few") == 150);
  CHECK(feasible("all") == 500);
  CHECK(feasible("usual") == 230);  // 50 % less one for each 125
  // The only one is found wherever it stands.
  auto only = w.cluster.read_pod(a_pod("p", "nodeSelector: {kubernetes.io/hostname: n377}"), {});
  CHECK(place(*c->find("few"), *only, w.cluster, w.random).node->name == "n377");
}
