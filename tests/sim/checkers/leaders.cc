#include "checkers/leaders.h"

#include <algorithm>

#include "control/fence.h"
#include "json/parse.h"
#include "server/control_front.h"

namespace kedge::sim {

namespace {

constexpr std::string_view nodes = "/registry/minions/", accounts = "/registry/serviceaccounts/",
                           maps = "/registry/configmaps/";

}  // namespace

leader_checker::leader_checker(cluster_world& c) : cluster_(c) {
  c.each_tick([this] { look(); });
}

// Told by what was written, not by how: the accounts and CA maps of users' namespaces, nodes' pod addresses.
bool leader_checker::is_leaders_work(const datastore::entry& e) const {
  if (e.name.starts_with(accounts) || e.name.starts_with(maps)) {
    // Those of its own namespaces each server makes at its start.
    auto ns = std::string_view(e.name).substr(e.name.find('/', 10) + 1);
    bool own = ns.starts_with("kube-") || ns.starts_with("default/");
    return e.kind == datastore::change::create && !own &&
           (ns.ends_with("/default") || ns.ends_with("/kube-root-ca.crt"));
  }
  if (!e.name.starts_with(nodes) || e.kind != datastore::change::update) return false;
  auto node = json::parse(e.value);
  auto had = ranges_.find(e.name);
  return node && (*node)["spec"]["podCIDR"].as_string() != (had == ranges_.end() ? std::string() : had->second);
}

void leader_checker::look() {
  static const auto term = control::term_key(server::control_front::term);
  cluster_.each_new_row(seen_, [&](const datastore::entry& e, const attempt* by) {
    if (e.name == term) {
      term_ = e.at;
      ++terms_;
      return;
    }
    const datastore::guard* held = nullptr;
    if (by)
      for (auto& g : by->what.guards)
        if (g.name == term) held = &g;
    if (held) ++writes_;
    if (held && held->expected != term_)
      cluster_.complain("leaders", "s" + std::to_string(by->server + 1) + " wrote " + e.name + " in the term " +
                                       std::to_string(held->expected) + ", when that of " + std::to_string(term_) +
                                       " had begun");
    if (!held && is_leaders_work(e))
      cluster_.complain("leaders", e.name + " was written at " + std::to_string(e.at) + " by nobody who leads");
    if (e.name.starts_with(nodes)) {
      auto node = json::parse(e.value);
      ranges_[e.name] = node ? std::string((*node)["spec"]["podCIDR"].as_string()) : std::string();
    }
  });
}

}  // namespace kedge::sim
