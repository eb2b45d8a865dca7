// own_node.h: the part that runs the server's own node, over the server's port as any agent. Agents may join from its
// start on.
#pragma once

#include <functional>
#include <memory>

#include "node/agent.h"
#include "server/identity.h"
#include "server/part.h"

namespace kedge::server {

class own_node final : public part {
 public:
  // `ready`: the node is Ready; or there is none, and the server is.
  own_node(shared& s, identity& i, std::function<void()> ready) : shared_(s), identity_(i), ready_(std::move(ready)) {}

  std::string_view name() const noexcept override { return "own node"; }
  task<result<void>> start() override;
  task<void> leave() override;
  task<void> stop() override;

 private:
  node::agent_config config() const;
  task<void> run(node::agent_config c);
  task<void> tell_ready();

  shared& shared_;
  identity& identity_;
  std::function<void()> ready_;
  std::unique_ptr<node::agent_control> node_;
  reactor::event ended_;
  reactor::scope running_;
};

}  // namespace kedge::server
