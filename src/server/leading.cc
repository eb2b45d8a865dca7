#include "server/leading.h"

#include <algorithm>

#include "control/fence.h"

namespace kedge::server {

namespace {
constexpr auto leave_time = std::chrono::seconds(2);  // to tell the other servers
}

bool leading::leads() const noexcept {
  auto& s = shared_.settings;
  return !s.shared_datastore() || s.cluster.disable_controller_manager || (election_ && election_->leads());
}

control::settings leading::controller_settings() {
  auto& cluster = shared_.settings.cluster;
  auto c = shared_.settings.controllers;
  c.measures = &shared_.measures;
  c.cluster_cidrs = cluster.cluster_cidrs;
  auto& own = identity_.credentials();
  c.root_ca_pem = own.server_ca().bundle_pem();
  c.client_authority = std::make_shared<crypto::authority>(own.client_ca());
  c.server_authority = std::make_shared<crypto::authority>(own.server_ca());
  c.service_account_key = std::make_shared<crypto::private_key>(*shared_.self.signing_key);
  c.cloud_controller = !cluster.disable_cloud_controller;
  auto is_disabled = [&](std::string_view name) {
    return std::ranges::find(cluster.disables, name) != cluster.disables.end();
  };
  c.service_lb = !is_disabled("servicelb");
  c.local_storage.enabled = !is_disabled("local-storage");
  c.local_storage.default_path = cluster.default_local_storage_path;
  c.local_storage.post_to_node = [this](std::string node, std::string path, std::string body) {
    return front_->post_to_node(std::move(node), std::move(path), std::move(body));
  };
  if (shared_.settings.etcd.managed)
    c.remove_etcd_member = [&etcd = etcd_, &home = shared_.home()](std::string name, std::string address) {
      return reactor::call_on(home, [&etcd, name = std::move(name), address = std::move(address)] {
        return etcd.remove_member(name, address);
      });
    };
  return c;
}

// Runs the controllers on their loop until dropped. What is posted is done in order: a stop comes after its start.
task<void> leading::lead() {
  store::revision term = 0;
  if (shared_.settings.shared_datastore())
    term = co_await control::begin_term(identity_.objects(), control_front::term, shared_.process);
  struct at_work {
    leading& l;
    at_work(leading& owner, store::revision began) : l(owner) {
      auto& cluster = l.shared_.settings.cluster;
      auto* controllers = cluster.disable_controller_manager ? nullptr : &l.controllers_;
      auto* scheduling = cluster.disable_scheduler ? nullptr : l.shared_.settings.scheduling.get();
      l.shared_.background().post(
          [f = l.front_.get(), controllers, scheduling, began] { f->run(controllers, scheduling, began); });
    }
    ~at_work() {
      l.shared_.background().post([f = l.front_.get()] { f->stop(); });
    }
  };
  for (;;) {
    {
      at_work here(*this, term);
      co_await anew_.wait();
    }
    anew_.reset();
    co_await ended();
    controllers_ = controller_settings();
  }
}

task<result<void>> leading::start() {
  auto& s = shared_.settings;
  auto& own = fronts_.own().local();
  controllers_ = controller_settings();
  auto opened = co_await reactor::call_on(shared_.background(), [this]() -> task<result<void>> {
    KEDGE_CO_TRY(front_, control_front::make(shared_, identity_.objects()));
    co_return result<void>();
  });
  KEDGE_CO_CHECK(std::move(opened));
  if (s.shared_datastore() && !s.cluster.disable_controller_manager) {
    election_ = std::make_unique<control::election>(
        own, control::election_options{.name = "kube-controller-manager",
                                       .identity = shared_.process,
                                       .leave_it = [this] { return membership_.servers()->k3s_lives(); },
                                       .ended = [this] { return ended(); }});
    running_.spawn(election_->run([this] { return lead(); }));
  } else if (!s.shared_datastore()) {
    running_.spawn(lead());
  }
  membership_.keep([this] { return leads(); });
  co_return result<void>();
}

void leading::use(std::shared_ptr<net::tls_client_context> server) {
  shared_.background().post([this, server = std::move(server)]() mutable {
    if (front_) front_->use(std::move(server));
  });
}

// When this server leads no longer: nothing of the controllers runs any more.
task<void> leading::ended() {
  co_await reactor::call_on(shared_.background(), []() -> task<bool> { co_return true; });
}

task<void> leading::leave() {
  if (election_) co_await election_->release(reactor::loop::current().now() + leave_time);
}

task<void> leading::stop() {
  shared_.controllers_running.store(false, std::memory_order_relaxed);
  running_.cancel();
  // After what was posted: the controllers have stopped then.
  co_await reactor::call_on(shared_.background(), [this]() -> task<bool> {
    front_.reset();
    co_return true;
  });
}

}  // namespace kedge::server
