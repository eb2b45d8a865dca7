// identity_keeper.h: keeps true what a node is known by while it runs, so that no start is needed for it.
//
//   certificates: one is missing (set aside), or ends within 120 days ─┐
//   authorities: the servers' are others (a CA was rotated) ───────────┤
//   the Node was deleted, and made again: its password isn't recorded ─┤
//   addresses: those of the default route are others, twice in a row ──┴─▶ register again ─▶ `use` ─▶ everybody who
//   asks or serves with them
//
// What ends soon all the same is told twice an hour, as K3s does: an Event of the Node, and a metric.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "node/config.h"
#include "node/join/registration.h"
#include "reactor/sync.h"
#include "reactor/task.h"

namespace kedge::node {

class identity_keeper {
 public:
  struct parts {
    const agent_config& config;  // as resolved; what node_ips are may change in `moved`
    std::string password;
    reactor::network* network = nullptr;
    bool follows_addresses = false;  // the machine's count: none were given
    // New credentials stand in the agent's folder, too.
    std::function<task<result<void>>(const registration&)> use;
    std::function<void(std::vector<std::string>)> moved;
    std::function<std::string()> server_ca;  // whom the node believes now, PEM
    // Whether the servers' authorities are others than those that the node knows.
    std::function<task<bool>()> authorities_changed;
    // An Event of the Node.
    std::function<task<void>(std::string type, std::string reason, std::string message)> tell;
    std::function<result<std::vector<std::string>>()> addresses;  // of the machine; on the offload pool
  };
  explicit identity_keeper(parts p) : parts_(std::move(p)) {}

  // Until dropped.
  task<void> run();
  // For a reason of the caller's, soon.
  void ask_again(std::string why);
  // Prometheus' text.
  const std::string& metrics() const noexcept { return metrics_; }

 private:
  struct seen {
    std::string reason;  // to ask for certificates again
    bool missing = false;
    std::vector<std::string> addresses;
  };
  task<void> look();
  task<void> renew(std::string why);
  task<void> report();
  static seen look_at(const agent_config& c, const parts& p, wall_time now);

  parts parts_;
  std::vector<std::string> last_;  // addresses that were seen once
  std::string metrics_;
  std::string ask_for_;  // ask_again's reason
  reactor::event asked_;
  bool told_ok_ = false;
  unsigned looks_ = 0;
  time_point again_at_{};
};

}  // namespace kedge::node
