// server.h: the server's end: nodes' websockets come in, streams to nodes go out.
//
//   agent ── GET /v1-k3s/connect, Upgrade ──▶ serve() on the core that accepted it: a link, listed on every core
//   any core ── dial(node, "tcp", "127.0.0.1:10250") ──▶ the newest session's core ──▶ Connect
//
// Each core has the whole list of sessions (who, on which core), kept by messages; a dial from another core gets a
// stream that carries its bytes across in copied pieces. Several sessions of a node may stand; the newest is
// used, so that one that a node has replaced gets nothing new and can go (remotedialer takes the oldest). A session
// whose agent missed two pings stays, but is known as one that may be dead.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/http/handler.h"
#include "reactor/loop.h"
#include "reactor/stream.h"
#include "tunnel/link.h"

namespace kedge::tunnel {

class server {
 public:
  // The loops on which serve and dial are called.
  explicit server(std::vector<reactor::loop*> cores, link::options options = {});
  ~server();

  // Upgrades the exchange and serves `node`'s session until it ends. The caller has authenticated the node (group
  // system:nodes, name from the certificate). A request that is no websocket handshake is answered with 400.
  task<void> serve(net::http::exchange& e, std::string node);

  // A stream to `address` ("host:port") as seen from the node. Succeeds at once: a refused target shows in the first
  // receive. errc::unavailable when the node has no session. Belongs to the calling core. Never ask for what the agent
  // won't allow: a K3s agent then ends its session.
  task<result<std::unique_ptr<reactor::stream>>> dial(std::string node, std::string protocol, std::string address);

  // Ends every session, and takes no new ones: the server stops. From any of the cores.
  void close();

  // As the calling core knows it.
  bool has_session(std::string_view node) const;
  struct session_info {
    std::string node;
    std::int64_t key = 0;
    std::size_t core = 0;
    time_point since{};
    bool lively = true;  // it has pinged of late; others may be black holes, and are last resorts
  };
  std::vector<session_info> sessions() const;  // by node, the newest first
  std::vector<session_info> sessions_of(std::string_view node) const;
  // As dial, through that session alone.
  task<result<std::unique_ptr<reactor::stream>>> dial_through(session_info through, std::string protocol,
                                                              std::string address);
  // Nothing came back through that session, while another way led there: it isn't lively until its next ping.
  void doubt(const session_info& session);

  struct state;

 private:
  std::shared_ptr<state> state_;
};

// Carries a stream of core `home` to the calling core: for what dial does, and for tests. `make` runs on `home`.
task<result<std::unique_ptr<reactor::stream>>> bring_here(
    reactor::loop& home, std::function<task<result<std::unique_ptr<reactor::stream>>>()> make);

}  // namespace kedge::tunnel
