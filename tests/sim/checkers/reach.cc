#include "checkers/reach.h"

#include <fmt/format.h>

namespace kedge::sim {

using namespace std::chrono_literals;

void reach_checker::begin(duration limit) {
  auto until = cluster_.w.now() + limit;
  for (int s = 0; s < static_cast<int>(cluster_.servers.size()); ++s)
    for (int a = 0; a < static_cast<int>(cluster_.agents.size()); ++a) {
      ++asking_;
      cluster_.run_as_user([this, s, a, until] { return ask(s, a, until); });
    }
}

task<void> reach_checker::ask(int server, int agent, time_point until) {
  auto name = cluster_.node_name(agent);
  auto path = "/api/v1/nodes/" + name + "/proxy/healthz";
  int status = 0;
  for (;;) {
    status = (co_await cluster_.ask(server, "GET", path)).status;
    if (status == 200 || cluster_.w.now() >= until) break;
    co_await reactor::sleep_for(500ms);
  }
  if (status != 200) cluster_.complain("reach", fmt::format("s{} doesn't reach {}: {}", server + 1, name, status));
  --asking_;
}

}  // namespace kedge::sim
