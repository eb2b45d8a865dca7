#include "checkers/leases.h"

#include <algorithm>

namespace kedge::sim {

namespace {

constexpr std::string_view leases = "/registry/leases/kube-node-lease/";
// An agent renews every 10 s, gives a request 10 s, pauses up to 7 s after a failure, and its balancer may have to find
// out about the server that it was with; after that the node-lifecycle controller (50 s) would call it lost.
constexpr duration renewed_within = std::chrono::seconds(50);

}  // namespace

lease_checker::lease_checker(cluster_world& c) : cluster_(c) {
  c.each_tick([this] { look(); });
}

void lease_checker::look() {
  auto now = cluster_.w.now();
  auto& rows = cluster_.db.rows();
  for (auto it = rows.upper_bound(seen_); it != rows.end(); ++it) {
    seen_ = it->first;
    if (it->second.name.starts_with(leases)) renewed_[it->second.name.substr(leases.size())] = now;
  }
  for (auto& a : cluster_.agents) {
    auto name = a->at->name();
    duration well{0};
    for (auto& s : cluster_.servers) {
      auto key = std::pair<const server_machine*, const agent_machine*>(s.get(), a.get());
      if (!cluster_.could_serve(*s, *a) || std::exchange(starts_[a.get()], a->starts) != a->starts) {
        together_.erase(key);
        continue;
      }
      well = std::max(well, now - together_.try_emplace(key, now).first->second);
    }
    auto last = renewed_.find(name);
    if (last == renewed_.end()) continue;  // it has not joined yet
    auto waited = std::min(well, now - last->second);
    longest_ = std::max(longest_, waited);
    bool late = waited > renewed_within;
    if (late && !std::exchange(told_[name], true))
      cluster_.complain("leases", "the lease of " + name + " was not renewed for " + format_duration(waited) +
                                      ", though a server was there for it");
    if (!late) told_[name] = false;
  }
}

}  // namespace kedge::sim
