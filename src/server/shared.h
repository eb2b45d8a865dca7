// shared.h: what all loops of a server share. Constant while requests run, but for what is atomic.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "api/admission/event_rate_limit.h"
#include "api/aggregation/documents.h"
#include "api/audit/backends.h"
#include "api/audit/log.h"
#include "api/audit/webhook.h"
#include "api/authentication/jwt_issuers.h"
#include "api/authorization/configured.h"
#include "api/encryption/sealing.h"
#include "api/fairness/flow_control.h"
#include "api/metrics/metrics.h"
#include "api/publish/health.h"
#include "api/tracing/collector.h"
#include "api/usage/usage.h"
#include "api/write/service_addresses.h"
#include "api/write/storage.h"
#include "crypto/bootstrap_record.h"
#include "crypto/certificate.h"
#include "crypto/key.h"
#include "json/value.h"
#include "net/tls.h"
#include "reactor/cores.h"
#include "reactor/scope.h"
#include "server/home_caller.h"
#include "server/kms_metrics.h"
#include "server/settings.h"
#include "supervisor/aggregated_servers.h"
#include "tunnel/server.h"

namespace kedge::server {

// Who this server is to others, and whom it believes. Each core has its own copy, which an exchange replaces.
struct server_identity {
  std::shared_ptr<net::tls_client_context> to_kubelets, to_servers;
  supervisor::front_proxy as_front_proxy;
  std::shared_ptr<const crypto::trust> client_ca, request_header_ca;
  std::vector<crypto::public_key> token_keys;
  std::optional<crypto::private_key> signing_key;
};

struct shared {
  shared(kedge::server::settings s, machine m) : settings(std::move(s)), where(std::move(m)) {}

  kedge::server::settings settings;
  const machine where;
  std::string process;  // <host>_<uuid>: of this process, as elections and rows name it

  // The server ends when `stop` is set. On the home loop.
  reactor::event stop;
  bool failed = false;
  bool begin_anew = false;  // the process is to be another one, with the same arguments
  void fail() {
    failed = true;
    stop.set();
  }

  server_identity self;                                     // of the home loop; others are given copies
  std::unique_ptr<api::jwt_issuers> issuers;                // of tokens that aren't this cluster's
  std::shared_ptr<api::event_limiter> event_limits;         // of the home loop; null: Events aren't limited
  std::shared_ptr<api::authorization_state> authorization;  // whom the cores ask whether somebody may
  api::health checks;
  api::metrics measures;
  std::unique_ptr<kms_metrics> kms;                   // what `sealing` tells
  std::unique_ptr<api::encryption::sealing> sealing;  // null: no encryption-provider-config
  std::unique_ptr<api::fairness::flow_control> flows;
  api::service_ranges ranges;
  std::shared_ptr<api::audit_backends> audit;  // null: off. And what it tells, each null when it isn't asked for:
  std::shared_ptr<api::audit_log> audit_log;
  std::shared_ptr<api::audit_webhook> audit_webhook;
  std::unique_ptr<api::tracing::collector> traces;  // null: off
  std::unique_ptr<tunnel::server> tunnels;
  std::atomic<bool> bootstrapped = false;         // a new cluster's objects and roles are there
  std::atomic<bool> controllers_running = false;  // agents may join
  std::atomic<bool> leaving = false;
  // From any loop.
  std::function<task<result<bool>>()> token_stands;
  std::function<task<result<std::vector<std::string>>>(std::string)> rotate_token;
  // Files by K3s's names, and whether what those who trust the present authorities wouldn't trust is taken, too.
  std::function<task<result<void>>(crypto::bootstrap_files, bool)> rotate_authorities;
  std::function<task<json::value>()> encryption_status;
  std::function<task<result<void>>(json::value)> change_encryption;
  std::function<task<json::value>()> datastore_status;
  std::function<task<result<void>>()> compact_datastore;
  std::function<task<result<std::string>>()> etcd_members;  // /db/info; null without an etcd of the cluster's own
  std::shared_ptr<call_desk> desk;  // where other loops ask webhooks; used on the home loop alone
  // What other API servers behind this one serve.
  std::function<task<std::shared_ptr<const api::aggregation::documents>>()> documents;
  std::function<task<result<json::value>>(json::value)> snapshot_request;  // snapshots.h
  api::usage_source usage;  // of nodes and pods; null with --disable=metrics-server

  bool serves_usage() const {
    return std::ranges::find(settings.cluster.disables, "metrics-server") == settings.cluster.disables.end();
  }

  // How other servers know this one now: its address may have changed since the start. On the home loop.
  std::string own_address() const {
    return reactor::endpoint{moved_to.empty() ? settings.cluster.advertise_address : moved_to,
                             settings.cluster.advertise_port}
        .text();
  }
  std::string moved_to;  // the advertised address, when it is another than the settings'
  // What is stored otherwise than it would be written now; for any core.
  api::storage::outdated outdated() const {
    if (!sealing) return nullptr;
    return [s = sealing.get()](const store::object& o) { return s->is_old(o); };
  }

  reactor::loop& home() noexcept { return *where.loops.front(); }
  reactor::loop& background() noexcept { return where.background ? *where.background : home(); }
  // Those that serve, and the background one.
  std::vector<reactor::loop*> all_loops() const {
    auto all = where.loops;
    if (where.background && std::ranges::find(all, where.background) == all.end()) all.push_back(where.background);
    return all;
  }
};

// On all loops at once: f(its number) gives task<bool>.
template <typename F>
task<void> on_every_loop(shared& s, F f) {
  reactor::scope running;
  for (std::size_t i = 0; i < s.where.loops.size(); ++i)
    running.spawn([](reactor::loop& l, std::size_t number, F work) -> task<void> {
      co_await reactor::call_on(l, [number, work] { return work(number); });
    }(*s.where.loops[i], i, f));
  co_await running.join();
}

}  // namespace kedge::server
