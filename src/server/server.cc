#include "server/server.h"

#include <unistd.h>

#include "base/log.h"
#include "server/database_space.h"
#include "server/etcd/etcd_members.h"
#include "server/etcd/managed_etcd.h"
#include "server/fronts.h"
#include "server/gateway.h"
#include "server/identity.h"
#include "server/key_changes.h"
#include "server/leading.h"
#include "server/listener.h"
#include "server/manifests.h"
#include "server/membership.h"
#include "server/own_node.h"
#include "server/sequence.h"
#include "server/shared.h"
#include "server/snapshot_objects.h"
#include "server/snapshots.h"
#include "server/upkeep.h"
#include "server/virtual_addresses.h"

namespace kedge::server {

// Each part is given those that it builds on; they end in the opposite order of this list.
struct server::house {
  house(settings s, machine m, std::function<void()> told) : all(std::move(s), std::move(m)), ready(std::move(told)) {}

  shared all;
  std::function<void()> ready;
  managed_etcd etcd{all};
  identity who{all, [this] { return lead.leads(); }};
  gateway entrance{all.where};
  key_changes keys{all, who, [this] { return members.servers(); }};
  database_space space{all, who};
  snapshots backups{all, who};
  listener port{all, entrance, who, [this] { return addresses.give_away(); }};
  fronts answers{all, entrance, who};
  membership members{all, who, answers};
  leading lead{all, who, answers, members, etcd};
  etcd_members etcd_cluster{all, who, etcd};
  upkeep keeping{all, entrance, who, keys, answers, members, lead, port};
  manifests brought{all, answers, members};
  snapshot_objects backups_shown{all, answers, backups};
  virtual_addresses addresses{all, answers};
  own_node node{all, who, [this] {
                  if (ready) ready();
                }};
  sequence order{{&etcd, &who, &keys, &space, &backups, &port, &answers, &members, &lead, &etcd_cluster, &keeping,
                  &brought, &backups_shown, &addresses, &node},
                 {&members, &lead, &node, &port},
                 {&addresses, &node, &backups_shown, &brought, &etcd_cluster, &lead, &members, &keeping, &backups,
                  &space, &keys, &port, &answers, &who, &etcd}};
};

server::server(settings s, machine m, std::function<void()> ready)
    : house_(std::make_unique<house>(std::move(s), std::move(m), std::move(ready))) {}
server::~server() = default;

bool server::begins_anew() const noexcept { return house_->all.begin_anew; }

void server::stop() { house_->all.stop.set(); }

task<int> server::run() {
  auto& h = *house_;
  auto& loop = reactor::loop::current();
  auto began = loop.now();
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = 0;
  h.all.process = std::string(host) + "_" + loop.random().uuid();

  auto started = co_await h.order.start(h.all.stop);
  if (started) {
    log::info("kedge {} serves on {} after {}: {}", h.all.settings.version, h.all.settings.cluster.https_port,
              format_duration(std::chrono::floor<std::chrono::milliseconds>(loop.now() - began)),
              h.who.credentials().admin_kubeconfig_path());
    co_await h.all.stop.wait();
  } else if (started.error().code != errc::cancelled || !h.all.stop.is_set()) {
    log::error("{}", started.error().message);
    h.all.failed = true;
  }
  co_await h.order.leave();
  co_await h.order.stop();
  log::info("shut down");
  co_return h.all.failed ? 1 : 0;
}

}  // namespace kedge::server
