#include "server/listener.h"

#include <unistd.h>

#include "base/log.h"
#include "crypto/files.h"
#include "reactor/stream.h"

namespace kedge::server {

namespace {

constexpr auto drain_time = std::chrono::seconds(5);         // for requests that run when the end comes
constexpr auto tunnel_grace = std::chrono::seconds(2);       // of these, for requests that go through nodes' tunnels
constexpr auto move_time = std::chrono::seconds(1);          // for clients to go to another server
constexpr auto pause_time = std::chrono::milliseconds(100);  // for clients to be told to go, when there is no other
constexpr auto clock_look = std::chrono::seconds(1);
constexpr auto clock_told_each = std::chrono::minutes(1);

}  // namespace

task<result<void>> listener::start() {
  shared_.tunnels = std::make_unique<tunnel::server>(shared_.where.loops);
  KEDGE_CO_CHECK(co_await listen());
  co_return co_await wait_for_clock();
}

task<result<void>> listener::listen() {
  auto& cluster = shared_.settings.cluster;
  auto [chain, key] = identity_.credentials().serving_identity();
  net::tls_server_options tls;
  tls.client_ca_pem = identity_.credentials().client_ca().bundle_pem();
  tls.minimum_version = shared_.settings.api.tls_min_version == "VersionTLS13" ? "1.3" : "1.2";
  KEDGE_CO_TRY(tls_, net::tls_server_context::make(tls, chain, key));
  net::http::server_options o;
  o.tls = tls_;
  o.network = shared_.where.network;
  if (cluster.bind_address.empty()) {
    // One dual-stack socket; where IPv6 is off, IPv4 alone.
    bool v6 = ::access("/proc/net/if_inet6", F_OK) == 0;
    o.listen = {{v6 ? "::" : "0.0.0.0", cluster.https_port}};
  } else {
    o.listen = {{cluster.bind_address, cluster.https_port}};
    if (cluster.bind_address != "127.0.0.1" && cluster.bind_address != "0.0.0.0" && cluster.bind_address != "::")
      o.listen.push_back({"127.0.0.1", cluster.https_port});  // the server's own node and kubeconfig
  }
  auto& loops = shared_.where.loops;
  http_ = std::make_unique<net::http::server>(gateway_, std::move(o), loops.size());
  serving_.resize(loops.size());
  for (std::size_t i = 0; i < loops.size(); ++i) {
    auto listening = co_await reactor::call_on(*loops[i], [this, i]() -> task<result<void>> {
      auto failed = std::make_shared<result<void>>();
      serving_[i] = std::make_unique<reactor::scope>();
      serving_[i]->spawn(
          [](net::http::server& http, std::size_t core, std::shared_ptr<result<void>> out) -> task<void> {
            *out = co_await http.run(core);
            http.ready(core).set();
          }(*http_, i, failed));
      co_await http_->ready(i).wait();
      co_return *failed;
    });
    KEDGE_CO_CHECK(std::move(listening));
  }
  co_return result<void>();
}

// A machine that has no clock of its own starts somewhere in the past, until it has heard the time. Before the
// authorities' begin nobody could be told from a stranger: such a server would be listed, and refuse all who come.
task<result<void>> listener::wait_for_clock() {
  auto& loop = reactor::loop::current();
  auto& own = identity_.credentials();
  auto told = loop.now() - clock_told_each;
  while (auto wrong = own.not_begun(loop.wall_now())) {
    if (loop.now() - told >= clock_told_each) {
      log::error("{}; waiting for the clock", *wrong);
      told = loop.now();
    }
    co_await reactor::sleep_for(clock_look);
  }
  co_return result<void>();
}

void listener::show_certificate() {
  auto [chain, key] = identity_.credentials().serving_identity();
  if (auto r = tls_->replace(chain, key); !r) log::error("the new serving certificate: {}", r.error().message);
}

void listener::ask_for_certificates() {
  if (auto r = tls_->ask_for(identity_.credentials().client_ca().bundle_pem()); !r)
    log::error("the clients' new authorities: {}", r.error().message);
}

// Tunnels never end by themselves: they do when nothing else is left that may go through them.
task<void> listener::close_tunnels() {
  auto& loop = reactor::loop::current();
  auto until = loop.now() + tunnel_grace;
  while (http_->count().exchanges > shared_.tunnels->sessions().size() && loop.now() < until)
    co_await reactor::sleep_for(std::chrono::milliseconds(20));
  shared_.tunnels->close();
}

task<void> listener::leave() {
  co_await on_every_loop(shared_, [this](std::size_t i) -> task<bool> {
    http_->leave(i);
    co_return true;
  });
  co_await reactor::sleep_for(shared_.settings.shared_datastore() ? duration(move_time) : duration(pause_time));
  identity_.objects().end_watches();
  reactor::scope closing;
  closing.spawn(close_tunnels());
  closing.spawn(moved_());
  auto until = reactor::loop::current().now() + drain_time;
  co_await on_every_loop(shared_, [this, until](std::size_t i) { return http_->drain(i, until); });
}

task<void> listener::stop() {
  if (!http_) co_return;
  co_await on_every_loop(shared_, [this](std::size_t i) -> task<bool> {
    serving_[i].reset();
    co_return true;
  });
}

}  // namespace kedge::server
