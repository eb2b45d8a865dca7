#include "node/pods/steps.h"

#include <doctest/doctest.h>

#include "json/write.h"
#include "make.h"

namespace kedge::node {

namespace {

using names = std::vector<std::string>;
constexpr auto running = container_state::running, exited = container_state::exited, created = container_state::created,
               unknown = container_state::unknown;

pod_steps steps_of(std::string_view spec, const pod_seen& seen, const probes_seen& probes = {}) {
  return next_steps(make_pod(spec), seen, probes);
}

}  // namespace

TEST_CASE("a new pod gets a sandbox, and its first init container or all of its containers") {
  auto plain = steps_of(R"({"containers": [{"name": "a"}, {"name": "b"}]})", {});
  CHECK(plain.create_sandbox);
  CHECK(plain.attempt == 0);
  CHECK(plain.regular == names{"a", "b"});
  auto staged = steps_of(R"({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]})", {});
  CHECK(staged.init == names{"i"});
  CHECK(staged.regular.empty());
}

TEST_CASE("a sandbox that is gone is made again, with the next attempt, and everything in it") {
  auto seen = seen_builder().sandbox("s", false, 4).container("a", exited).seen;
  auto steps = steps_of(R"({"containers": [{"name": "a"}]})", seen);
  CHECK(steps.kill_pod);
  CHECK(steps.create_sandbox);
  CHECK(steps.attempt == 5);
  CHECK(steps.regular == names{"a"});
}

TEST_CASE("a pod that never restarts gets no second sandbox once a container of it was made") {
  auto seen = seen_builder().sandbox("s", false).container("a", exited).seen;
  CHECK_FALSE(steps_of(R"({"restartPolicy": "Never", "containers": [{"name": "a"}]})", seen).create_sandbox);
  auto empty = seen_builder().sandbox("s", false).seen;
  CHECK(steps_of(R"({"restartPolicy": "Never", "containers": [{"name": "a"}]})", empty).create_sandbox);
}

TEST_CASE("of a pod that restarts on failure, what has succeeded isn't started in a new sandbox") {
  auto seen = seen_builder().sandbox("s", false).container("a", exited, 0).container("b", exited, 1).seen;
  auto steps = steps_of(R"({"restartPolicy": "OnFailure", "containers": [{"name": "a"}, {"name": "b"}]})", seen);
  CHECK(steps.regular == names{"b"});
  auto done = seen_builder().sandbox("s", false).container("a", exited, 0).seen;
  CHECK_FALSE(steps_of(R"({"restartPolicy": "OnFailure", "containers": [{"name": "a"}]})", done).create_sandbox);
}

TEST_CASE("two sandboxes that are ready, or one without an address, are replaced") {
  auto two = seen_builder().sandbox("s").sandbox("t").seen;
  CHECK(steps_of(R"({"containers": [{"name": "a"}]})", two).create_sandbox);
  auto nameless = seen_builder().sandbox("s").seen;
  nameless.ips.clear();
  CHECK(steps_of(R"({"containers": [{"name": "a"}]})", nameless).create_sandbox);
  CHECK_FALSE(steps_of(R"({"hostNetwork": true, "containers": [{"name": "a"}]})", nameless).create_sandbox);
}

TEST_CASE("init containers run one by one, each once, and then the containers") {
  constexpr auto spec = R"({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]})";
  auto at = [&](seen_builder b) { return steps_of(spec, b.seen); };
  CHECK(at(seen_builder().sandbox("s").container("i", running)).nothing());
  CHECK(at(seen_builder().sandbox("s").container("i", exited)).init == names{"j"});
  CHECK(at(seen_builder().sandbox("s").container("i", exited).container("j", running)).nothing());
  auto all = at(seen_builder().sandbox("s").container("i", exited).container("j", exited));
  CHECK(all.init.empty());
  CHECK(all.regular == names{"a"});
  // Those that are done may have been removed: the last one says enough.
  CHECK(at(seen_builder().sandbox("s").container("j", exited)).regular == names{"a"});
  CHECK(at(seen_builder().sandbox("s").container("a", running)).nothing());
}

TEST_CASE("an init container that fails is tried again, or fails the pod that never restarts") {
  auto seen = seen_builder().sandbox("s").container("i", exited, 1).seen;
  CHECK(steps_of(R"({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]})", seen).init == names{"i"});
  auto never =
      steps_of(R"({"restartPolicy": "Never", "containers": [{"name": "a"}], "initContainers": [{"name": "i"}]})", seen);
  CHECK(never.kill_pod);
  CHECK(never.init.empty());
  CHECK_FALSE(never.create_sandbox);
}

TEST_CASE("a sidecar lets the next begin when it has started, and is kept running") {
  constexpr auto spec =
      R"({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always", "startupProbe": {}}, {"name": "i"}]})";
  auto b = seen_builder().sandbox("x").container("s", running);
  auto id = b.seen.containers.front().id;
  CHECK(steps_of(spec, b.seen).nothing());
  CHECK(steps_of(spec, b.seen, {{id, {.startup = probe_result::unknown}}}).nothing());
  CHECK(steps_of(spec, b.seen, {{id, {.startup = probe_result::success}}}).init == names{"i"});
  auto failed = steps_of(spec, b.seen, {{id, {.startup = probe_result::failure}}});
  REQUIRE(failed.kill.size() == 1);
  CHECK(failed.kill[0].reason == kill_reason::startup);
  CHECK(failed.init == names{"s"});
  auto dead = seen_builder().sandbox("x").container("s", exited).container("i", exited).container("a", running).seen;
  CHECK(steps_of(spec, dead).init == names{"s"});
}

TEST_CASE("a container that ended is started again as its policy says") {
  auto ended = [](int code) {
    return seen_builder().sandbox("s").container("a", exited, code).container("b", running).seen;
  };
  auto starts = [&](std::string_view policy, int code, std::string_view own = "") {
    auto spec = std::string(R"({"restartPolicy": ")") + std::string(policy) + R"(", "containers": [{"name": "a")" +
                std::string(own) + R"(}, {"name": "b"}]})";
    return !steps_of(spec, ended(code)).regular.empty();
  };
  CHECK(starts("Always", 0));
  CHECK(starts("OnFailure", 1));
  CHECK_FALSE(starts("OnFailure", 0));
  CHECK_FALSE(starts("Never", 1));
  CHECK(starts("Never", 1, R"(, "restartPolicy": "OnFailure")"));
  constexpr auto rules =
      R"(, "restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}])";
  CHECK(starts("Never", 42, rules));
  CHECK_FALSE(starts("Never", 41, rules));
}

TEST_CASE("a container whose rule says so takes all others with it, and goes last") {
  constexpr std::string_view spec =
      R"({"restartPolicy": "Never", "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
          "containers": [{"name": "a"}, {"name": "b", "restartPolicy": "Never", "restartPolicyRules":
            [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]}]})";
  auto b = seen_builder()
               .sandbox("x")
               .container("i", exited)
               .container("s", running)
               .container("a", running)
               .container("b", exited, 41);
  CHECK(steps_of(spec, b.seen).reset.empty());
  b.container("b", exited, 42);
  auto steps = steps_of(spec, b.seen);
  names order;
  for (auto& k : steps.reset) order.push_back(k.name + (k.id == b.seen.newest(k.name)->id ? "" : ", before"));
  CHECK(order == names{"a", "b, before", "i", "s", "b"});
  CHECK((steps.kill.empty() && steps.regular.empty() && !steps.kill_pod));
  // The others first: until it is removed itself, all that is left has to go.
  std::erase_if(b.seen.containers, [](auto& c) { return c.name != "b" || c.exit_code != 42; });
  steps = steps_of(spec, b.seen);
  REQUIRE(steps.reset.size() == 1);
  CHECK(steps.reset[0].name == "b");
  b.seen.containers.clear();
  CHECK(steps_of(spec, b.seen).init == names{"i"});
}

TEST_CASE("when nothing is kept and nothing starts, the pod ends, its sidecars too") {
  auto seen = seen_builder().sandbox("x").container("s", running).container("a", exited).seen;
  auto steps = steps_of(
      R"({"restartPolicy": "Never", "containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]})",
      seen);
  CHECK(steps.kill_pod);
  CHECK(steps.init.empty());
}

TEST_CASE("a container is killed for its probes and for another image, and told why") {
  auto b = seen_builder().sandbox("s").container("a", running);
  auto id = b.seen.containers.front().id;
  auto live = steps_of(R"({"containers": [{"name": "a"}]})", b.seen, {{id, {.liveness = probe_result::failure}}});
  REQUIRE(live.kill.size() == 1);
  CHECK(live.kill[0].message == "Container a failed liveness probe, will be restarted");
  CHECK(live.regular == names{"a"});
  auto never = steps_of(R"({"restartPolicy": "Never", "containers": [{"name": "a"}]})", b.seen,
                        {{id, {.liveness = probe_result::failure}}});
  CHECK(never.kill[0].message == "Container a failed liveness probe");
  CHECK(never.regular.empty());
  b.seen.containers.front().hash = "another";
  auto changed = steps_of(R"({"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]})", b.seen);
  CHECK(changed.kill[0].message == "Container a definition changed, will be restarted");
}

TEST_CASE("containers that a kubelet started, or Kedge before, are those of their spec") {
  // As kubelet 1.36 notes them (HashContainer).
  struct {
    const char *name, *image, *hash;
  } of_kubelet[] = {{"main", "docker.io/library/busybox:test", "c0ed09eb"},
                    {"web", "nginx:1.27", "e220f96"},
                    {"a", "b<c>&d", "352f96d6"},
                    {"traefik", "rancher/mirrored-library-traefik:3.6.0", "21983424"}};
  for (auto& k : of_kubelet) {
    json::value container(json::object{{"image", k.image}, {"name", k.name}});
    CHECK(hash_of_container(container) == k.hash);
    json::value spec(json::object{{"containers", json::array{container}}});
    for (auto& hash : {std::string(k.hash), former_hash_of_container(container)}) {
      auto b = seen_builder().sandbox("s").container(k.name, running);
      b.seen.containers.front().hash = hash;
      CHECK(steps_of(json::write(spec), b.seen).kill.empty());
    }
  }
}

TEST_CASE("what was made and never started, or can't be seen, is started anew") {
  CHECK(steps_of(R"({"containers": [{"name": "a"}]})", seen_builder().sandbox("s").container("a", created).seen)
            .regular == names{"a"});
  auto lost = steps_of(R"({"containers": [{"name": "a"}]})", seen_builder().sandbox("s").container("a", unknown).seen);
  CHECK(lost.regular == names{"a"});
  CHECK(lost.kill.size() == 1);
}

TEST_CASE("the two newest of each container stay, what died before goes") {
  auto seen = seen_builder()
                  .sandbox("s")
                  .container("a", exited, 1)
                  .container("a", exited, 1, 1)
                  .container("a", exited, 1, 2)
                  .container("b", running)
                  .seen;
  auto steps = steps_of(R"({"containers": [{"name": "a"}, {"name": "b"}]})", seen);
  CHECK(steps.remove == names{seen.containers[3].id});
}

TEST_CASE("an ephemeral container is started once, whatever its end") {
  constexpr auto spec = R"({"containers": [{"name": "a"}], "ephemeralContainers": [{"name": "e"}]})";
  CHECK(steps_of(spec, seen_builder().sandbox("s").container("a", running).seen).ephemeral == names{"e"});
  CHECK(steps_of(spec, seen_builder().sandbox("s").container("a", running).container("e", exited, 1).seen).nothing());
}

TEST_CASE("containers end first, then sidecars from the last to the first") {
  auto pod = make_pod(
      R"({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}, {"name": "t", "restartPolicy": "Always"}]})");
  CHECK(ends_before(pod, "a").empty());
  CHECK(ends_before(pod, "t") == names{"a"});
  CHECK(ends_before(pod, "s") == names{"t", "a"});
}

}  // namespace kedge::node
