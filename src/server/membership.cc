#include "server/membership.h"

#include <algorithm>

#include "api/fairness/upkeep.h"
#include "base/log.h"
#include "server/database_wait.h"
#include "supervisor/config_document.h"
#include "supervisor/dns_service.h"
#include "supervisor/roles.h"

namespace kedge::server {

namespace {

constexpr auto leave_time = std::chrono::seconds(2);  // to tell the other servers

}  // namespace

api::bootstrap_options membership::objects() const {
  auto& cluster = shared_.settings.cluster;
  auto& own = identity_.credentials();
  return {.service_ip = supervisor::first_address(cluster.service_cidrs.front(), 1),
          .service_cidrs = cluster.service_cidrs,
          .endpoint_addresses = {},  // server_endpoints' work
          .endpoint_port = cluster.advertise_port,
          .root_ca = own.server_ca().bundle_pem(),
          .client_ca = own.client_ca().bundle_pem(),
          .request_header_ca = own.request_header_ca().bundle_pem(),
          .usage = shared_.serves_usage()};
}

control::server_options membership::row() const {
  auto& cluster = shared_.settings.cluster;
  return {.address = cluster.advertise_address,
          .port = cluster.advertise_port,
          .node_name = cluster.disable_agent ? "" : cluster.node_name,
          .identity = shared_.process,
          .settings = supervisor::critical_settings(cluster),
          .encryption_hash = [this] { return identity_.encryption().hash(); },
          .token_id = [this] { return supervisor::token_id(identity_.credentials().password()); },
          .kept_off = [this] { return identity_.credentials().not_begun(reactor::loop::current().wall_now()); },
          .alone = !shared_.settings.shared_datastore()};
}

task<result<void>> membership::start() {
  auto& own = fronts_.own().local();
  KEDGE_CO_CHECK(
      co_await wait_out_database("the cluster's objects", [&] { return api::bootstrap_cluster(own, objects()); }));
  if (auto kept = co_await api::fairness::bring_up_to_date(own); !kept)
    log::warning("flow schemas and priority levels: {}", kept.error().message);
  servers_ = std::make_unique<control::server_endpoints>(own, row());
  KEDGE_CO_CHECK(co_await wait_out_database("this server's row", [this] { return servers_->join(); }));
  if (!shared_.settings.shared_datastore())
    KEDGE_CO_CHECK(co_await identity_.record().save(identity_.credentials().password()));
  KEDGE_CO_CHECK(co_await wait_out_database("the roles of nodes", [&] { return supervisor::make_roles(own); }));
  auto& cluster = shared_.settings.cluster;
  if (std::ranges::find(cluster.disables, "coredns") == cluster.disables.end())
    if (auto made = co_await supervisor::make_dns_service(own, cluster.cluster_dns); !made)
      log::warning("{}", made.error().message);
  shared_.bootstrapped.store(true, std::memory_order_relaxed);
  auto synced = co_await reactor::offload([c = identity_.credentials_ptr()] { return c->sync(); });
  if (!synced) co_return fail(synced.error());
  KEDGE_CO_CHECK(std::move(*synced));
  shared_.measures.collect([s = servers_.get()](std::string& out) { s->clocks().append_metrics(out); });
  co_return result<void>();
}

void membership::keep(std::function<bool()> leads) { keeping_.spawn(servers_->keep(std::move(leads))); }

task<void> membership::leave() {
  shared_.leaving.store(true, std::memory_order_relaxed);
  co_await servers_->leave(reactor::loop::current().now() + leave_time);
}

task<void> membership::stop() {
  keeping_.cancel();
  co_return;
}

}  // namespace kedge::server
