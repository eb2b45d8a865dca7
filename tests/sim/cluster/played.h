// played.h: a cluster of the simulated world that stands when a case begins, and is asked whether all is well.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/random.h"
#include "checkers/reach.h"
#include "cluster/cluster_world.h"
#include "cluster/quick_crypto.h"

namespace kedge::sim {

struct played {
  static constexpr duration settle = std::chrono::minutes(3);
  seeded_random random;
  seeded_openssl openssl;
  cluster_world c;
  explicit played(std::uint64_t seed, cluster_options o = {.servers = 2, .agents = 2})
      : random(seed), openssl(random), c(seed, o) {
    log::configure({.least = log::level::error, .file = "/dev/null"});
    well();
  }
  std::vector<machine*> all() {
    std::vector<machine*> out;
    for (auto& s : c.servers) out.push_back(s.get());
    for (auto& a : c.agents) out.push_back(a.get());
    return out;
  }
  // All run, and every server reaches every node.
  void well() {
    auto why = c.wait_until_all_is_well(settle);
    REQUIRE_MESSAGE(why.empty(), why << "\n" << c.w.trace_text());
  }
  void reachable() {
    reach_checker reach(c);
    reach.begin(std::chrono::seconds(60));
    REQUIRE(c.w.run_until([&] { return reach.ended(); }, std::chrono::seconds(90)));
    std::string said;
    for (auto& one : c.complaints()) said += one + "\n";
    CHECK_MESSAGE(said.empty(), said);
  }
  // Of the agents' Nodes.
  bool nodes_are_ready() const {
    for (auto& a : c.agents) {
      auto conditions = c.get("/registry/minions/" + a->at->name())["status"]["conditions"];
      for (std::size_t i = 0; i < conditions.size(); ++i)
        if (conditions[i]["type"].as_string() == "Ready" && conditions[i]["status"].as_string() != "True") return false;
    }
    return true;
  }
  // By the right clock.
  wall_time now() { return c.users().loop().wall_now(); }
};

}  // namespace kedge::sim
