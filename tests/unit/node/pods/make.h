// make.h: pods and what a runtime has of them, for tests that read like rules.
#pragma once

#include "json/parse.h"
#include "node/pods/seen.h"

namespace kedge::node {

// {"name": "a"} …: one container each; more members as given.
inline json::value make_pod(std::string_view spec) {
  auto parsed = json::parse(spec);
  json::value pod(
      json::object{{"metadata", json::object{{"name", "p"}, {"namespace", "ns"}, {"uid", "u1"}, {"generation", 3}}},
                   {"status", json::object{{"phase", "Pending"}}}});
  pod.set("spec", parsed ? *std::move(parsed) : json::value());
  return pod;
}

struct seen_builder {
  pod_seen seen;
  std::int64_t clock = 1'000'000'000;

  seen_builder& sandbox(std::string id, bool ready = true, std::uint32_t attempt = 0) {
    sandbox_info s{.id = std::move(id),
                   .name = "p",
                   .uid = "u1",
                   .ns = "ns",
                   .attempt = attempt,
                   .ready = ready,
                   .created_at = clock++};
    seen.sandboxes.insert(seen.sandboxes.begin(), std::move(s));
    if (ready) seen.ips = {"10.42.0.9"};
    return *this;
  }
  seen_builder& container(std::string name, container_state state, int exit_code = 0, int restarts = 0) {
    container_seen c;
    c.id = name + "-" + std::to_string(clock);
    c.name = std::move(name);
    c.state = state;
    c.created_at = clock++;
    c.started_at = c.created_at;
    c.exit_code = exit_code;
    c.restarts = restarts;
    if (state == container_state::exited) {
      c.finished_at = c.created_at + 1;
      c.reason = exit_code == 0 ? "Completed" : "Error";
    }
    if (!seen.sandboxes.empty()) c.sandbox_id = seen.sandboxes.front().id;
    seen.containers.insert(seen.containers.begin(), std::move(c));
    return *this;
  }
};

}  // namespace kedge::node
