// serving_keeper.h: keeps the certificate of port 6443 true to the names under which the servers are reached, together
// with the other servers. What K3s's dynamiclistener does:
//
//   addresses of the servers' nodes ──┐
//   names that clients ask for ───────┴─▶ grow ─▶ Secret kube-system/k3s-serving ─▶ every server shows the same
//   certificate (without --tls-san-security)                  (all servers' names, one key)
//
// With --tls-san-security (the default) nobody but the servers' own nodes and configuration adds a name; without,
// whoever can connect does, up to a bound.
#pragma once

#include <set>
#include <string>

#include "api/objects.h"
#include "net/http/handler.h"
#include "reactor/sync.h"
#include "supervisor/config.h"
#include "supervisor/credentials.h"

namespace kedge::supervisor {

class serving_keeper {
 public:
  // `changed`: the certificate is another one now; on the keeper's core. All outlive the keeper.
  serving_keeper(credentials& identity, api::objects& objects, std::function<void()> changed)
      : identity_(identity), objects_(objects), changed_(std::move(changed)) {}

  // Until dropped; also renews the certificate when its end is near.
  task<void> run();

  // The certificate here is another one: it is to be told.
  void changed() noexcept { work_.set(); }
  // Names that a client used, on the keeper's core. Only without --tls-san-security.
  void asked(std::vector<std::string> names);

 private:
  task<void> follow_nodes();
  task<void> follow_secret();
  task<result<void>> reconcile();

  credentials& identity_;
  api::objects& objects_;
  std::function<void()> changed_;
  std::set<std::string> wanted_;
  reactor::event work_;
};

// How a client reached this server: the address it connected to, the name in its TLS hello, an address in its Host
// header. Empty for browsers, and for CONNECT, whose host is somebody else.
std::vector<std::string> names_used(const net::http::request& r, const net::http::connection_info& c);

// The addresses of nodes that are servers.
std::vector<std::string> server_node_names(const json::value& node);

}  // namespace kedge::supervisor
