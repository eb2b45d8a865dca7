// What hollow nodes say of their pods.
#include "hollow/script.h"

#include <doctest/doctest.h>

#include "json/parse.h"

using namespace kedge;
using namespace kedge::hollow;
using namespace std::chrono_literals;

namespace {

json::value yaml(std::string_view text) {
  auto v = json::parse_yaml(text);
  REQUIRE(v.has_value());
  return *std::move(v);
}

wall_time at(std::string_view text) { return *parse_rfc3339(text); }

const char* pod_text =
    "{metadata: {name: p, namespace: n, uid: u, generation: 3}, spec: {restartPolicy: OnFailure, initContainers: "
    "[{name: i, image: x}, {name: s, image: y, "
    "restartPolicy: Always}], containers: [{name: a, image: z}]}}";

}  // namespace

TEST_CASE("a script's text is read, and what can't be read is named") {
  auto s = parse_script("ready=1s, exit=5s,code=137,reason=OOMKilled,stop=250ms");
  REQUIRE(s.has_value());
  CHECK(s->ready == 1s);
  CHECK(s->exit == duration(5s));
  CHECK(s->code == 137);
  CHECK(s->reason == "OOMKilled");
  CHECK(s->stop == 250ms);
  CHECK(parse_script("", {.ready = 3s})->ready == 3s);
  for (auto [text, why] :
       {std::pair{"ready=soon", "ready: \"soon\" is no duration, as 100ms or 5s"},
        std::pair{"exit=-1s", "exit: \"-1s\" is no duration, as 100ms or 5s"},
        std::pair{"code=256", "code: \"256\" is not between 0 and 255"},
        std::pair{"code=", "code: \"\" is not between 0 and 255"},
        std::pair{"sleep=1s", "\"sleep=1s\" is nothing that a script says: it has ready, exit, code, reason and stop"},
        std::pair{"reason=", "\"reason=\" is nothing that a script says: it has ready, exit, code, reason and stop"}}) {
    auto refused = parse_script(text);
    REQUIRE(!refused);
    CHECK(refused.error().message == why);
  }
}

TEST_CASE("who is restarted, and when") {
  auto pod = [](const char* policy) { return yaml(std::string("{spec: {restartPolicy: ") + policy + "}}"); };
  CHECK(is_restarted(pod("Always"), 0));
  CHECK(is_restarted(pod("OnFailure"), 1));
  CHECK(!is_restarted(pod("OnFailure"), 0));
  CHECK(!is_restarted(pod("Never"), 1));
  CHECK(restart_pause(1) == 0s);
  CHECK(restart_pause(2) == 10s);
  CHECK(restart_pause(3) == 20s);
  CHECK(restart_pause(6) == 160s);
  CHECK(restart_pause(7) == 300s);
  CHECK(restart_pause(1'000'000) == 300s);
}

TEST_CASE("a pod's status in each part of its life") {
  auto pod = yaml(pod_text);
  script s{.code = 137, .reason = "OOMKilled"};
  moment_of_pod m{.started = at("2026-01-01T00:00:00Z"), .run_began = at("2026-01-01T00:00:01Z")};
  auto ready = [](const json::value& status) {
    for (std::size_t i = 0; i < status["conditions"].size(); ++i)
      if (status["conditions"][i]["type"].as_string() == "Ready")
        return std::string(status["conditions"][i]["status"].as_string());
    return std::string();
  };

  auto running = status_of(pod, s, m, "10.254.0.1", "10.42.1.2");
  CHECK(running["phase"].as_string() == "Running");
  CHECK(ready(running) == "True");
  CHECK(running["podIP"].as_string() == "10.42.1.2");
  CHECK(running["observedGeneration"].as_integer() == 3);
  CHECK(running["containerStatuses"][0]["state"]["running"]["startedAt"].as_string() == "2026-01-01T00:00:01Z");
  CHECK(running["initContainerStatuses"][0]["state"]["terminated"]["exitCode"].as_integer() == 0);
  CHECK(running["initContainerStatuses"][1]["state"]["running"].is_object());  // a sidecar

  m.is = moment_of_pod::state::waiting;
  m.run_ended = at("2026-01-01T00:00:05Z");
  m.restarts = 1;
  auto waiting = status_of(pod, s, m, "10.254.0.1", "10.42.1.2");
  CHECK(waiting["phase"].as_string() == "Running");
  CHECK(ready(waiting) == "False");
  CHECK(waiting["containerStatuses"][0]["state"]["waiting"]["reason"].as_string() == "CrashLoopBackOff");
  CHECK(waiting["containerStatuses"][0]["lastState"]["terminated"]["exitCode"].as_integer() == 137);
  CHECK(waiting["containerStatuses"][0]["lastState"]["terminated"]["reason"].as_string() == "OOMKilled");
  CHECK(waiting["containerStatuses"][0]["restartCount"].as_integer() == 1);

  m.is = moment_of_pod::state::ended;
  auto failed = status_of(pod, s, m, "10.254.0.1", "10.42.1.2");
  CHECK(failed["phase"].as_string() == "Failed");
  CHECK(failed["containerStatuses"][0]["state"]["terminated"]["finishedAt"].as_string() == "2026-01-01T00:00:05Z");
  CHECK(status_of(pod, {}, m, "10.254.0.1", "10.42.1.2")["phase"].as_string() == "Succeeded");

  pod.member("spec").set("hostNetwork", true);
  CHECK(status_of(pod, s, m, "10.254.0.1", "10.42.1.2")["podIP"].as_string() == "10.254.0.1");
}
