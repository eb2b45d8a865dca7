#include "server/own_node.h"

#include "base/log.h"

namespace kedge::server {

namespace {
constexpr auto stop_time = std::chrono::seconds(5);
}

node::agent_config own_node::config() const {
  auto& cluster = shared_.settings.cluster;
  auto c = shared_.settings.node;
  c.server_url = "https://" + reactor::endpoint{cluster.own_host(), cluster.https_port}.text();
  c.token = identity_.credentials().agent_token();
  c.disable_cloud_controller = cluster.disable_cloud_controller;
  c.admin_certificate = cluster.server_dir() + "/tls/client-admin.crt";
  c.admin_key = cluster.server_dir() + "/tls/client-admin.key";
  return c;
}

task<void> own_node::run(node::agent_config c) {
  auto r = co_await node::run_node(std::move(c), *node_);
  if (!r) {
    log::error("this server's own node: {}", r.error().message);
    shared_.fail();
  }
  ended_.set();
}

task<void> own_node::tell_ready() {
  co_await node_->ready.wait();
  log::info("node {} is Ready", node_->node_name);
  ready_();
}

task<result<void>> own_node::start() {
  shared_.controllers_running.store(true, std::memory_order_relaxed);
  if (shared_.settings.cluster.disable_agent) {
    ready_();
    co_return result<void>();
  }
  node_ = std::make_unique<node::agent_control>();
  node_->network = shared_.where.network;
  running_.spawn(run(config()));
  running_.spawn(tell_ready());
  co_return result<void>();
}

task<void> own_node::leave() {
  if (!node_) co_return;
  node_->stop.set();
  co_await ended_.wait_until(reactor::loop::current().now() + stop_time);
  running_.cancel();
}

task<void> own_node::stop() {
  running_.cancel();
  co_return;
}

}  // namespace kedge::server
