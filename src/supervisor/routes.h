// routes.h: what a server offers to agents and other servers, on the API's port, in front of the API.
//
//   request ─▶ public (/cacerts, /ping, /static) ─▶ CONNECT ─▶ server-only ─▶ connect (nodes' tunnels)
//           ─▶ agent (certificates, config, apiservers, readyz) ─▶ API
//
// Paths match exactly. Who may: the groups k3s:server, or k3s:agent, system:nodes and system:bootstrappers; a tunnel,
// system:nodes under the certificate's own name; CONNECT (the egress proxy, and servers that relay for each other),
// system:masters. Errors are Kubernetes Status objects, and close the connection, as K3s's do.
#pragma once

#include <functional>
#include <memory>

#include "api/authentication/authenticator.h"
#include "crypto/bootstrap_record.h"
#include "net/http/handler.h"
#include "supervisor/credentials.h"
#include "supervisor/node_dialer.h"
#include "supervisor/node_passwords.h"
#include "tunnel/server.h"

namespace kedge::supervisor {

struct services {
  const config& settings;
  credentials& identity;
  api::authenticator& who;
  api::objects& objects;
  node_passwords& passwords;
  std::function<bool()> controllers_running;  // for /v1-k3s/readyz and whether new nodes can be checked
  std::function<bool()> serves;               // for /ping: it can serve, and isn't about to leave
  net::http::handler& next;                   // the API
  // The same without passwords: who a certificate or a bearer token says.
  api::authenticator& who_without_password;
  // The servers' token (token_rotation.h), from this core: whether it still opens anything; and it is to be another
  // ("": a random one), which gives the servers that live and don't have it.
  std::function<task<result<bool>>()> token_stands;
  std::function<task<result<std::vector<std::string>>>(std::string)> rotate_token;
  // Other authorities and service account keys for the cluster (ca_rotation.h), from this core.
  std::function<task<result<void>>(crypto::bootstrap_files, bool force)> rotate_authorities;
  // Secrets' encryption (encryption.h), from this core.
  std::function<task<json::value>()> encryption_status;
  std::function<task<result<void>>(json::value)> change_encryption;
  // The datastore's space, from this core: {"bytes":…,"free":…,"compacting":…}; and its compaction, which goes on after
  // the answer.
  std::function<task<json::value>()> datastore_status;
  std::function<task<result<void>>()> compact_datastore;
  // The members of the cluster's own etcd, from this core, as K3s's /db/info tells them; null: there is none.
  std::function<task<result<std::string>>()> etcd_members;
  // Snapshots, from this core: what `k3s etcd-snapshot` asks for, and the answer.
  std::function<task<result<json::value>>(json::value)> snapshot_request;
  tunnel::server& tunnels;
  node_dialer& dialer;
};

std::unique_ptr<net::http::handler> make_routes(services s);

}  // namespace kedge::supervisor
