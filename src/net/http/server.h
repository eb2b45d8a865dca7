// server.h: listens, speaks TLS when asked to, and gives every connection to HTTP/1.1 or 2.
//
//   http::server s(handler, options);              // one object for all cores
//   loop.spawn(s.run(core));                       // on each core's loop, the first's before the others listen:
//                                                  // listens with SO_REUSEPORT and serves
//
//   client ─▶ the core that the kernel's hash says ─▶ the core with the least work (server::place) ─▶ TLS ─▶ HTTP
//
//   s.leave(core);                                 // on each core's loop: clients are told to go elsewhere
//   co_await s.drain(core, deadline);              // on each core's loop: no new work; waits for what runs
//
// An accepted connection beyond connections_max (or the process's descriptor limit) is closed at once. Shortly before
// that, quiet connections of whoever has most of them are ended.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/http/connection.h"
#include "net/http/handler.h"
#include "net/tls.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::net::http {

struct server_options {
  std::vector<reactor::endpoint> listen;    // IP addresses (port 0: any, see server::listening) or unix sockets
  std::shared_ptr<tls_server_context> tls;  // null: plaintext
  bool plain_http2 = false;  // without TLS: HTTP/2 with prior knowledge (gRPC on a unix socket) instead of HTTP/1.1
  connection_options connections;
  std::size_t connections_max = net::connections_max;
  unsigned unix_mode = 0600;
  // Where to listen; null: this machine's network.
  reactor::network* network = nullptr;
};

class server {
 public:
  // `h` outlives the server. `cores`: how many loops will call run.
  server(handler& h, server_options options, std::size_t cores = 1);
  ~server();

  // Listens and serves on the calling core until it is dropped, which ends its connections. Returns only on failure to
  // listen. Unix sockets are served by core 0 alone.
  task<result<void>> run(std::size_t core);
  // The addresses listened at, once run() has got that far on that core (with the ports that the system chose).
  const std::vector<reactor::endpoint>& listening(std::size_t core) const noexcept;
  // Set when listening.
  reactor::event& ready(std::size_t core) noexcept;
  // On the core's loop: goes on serving, but each connection's next answer is its last (Connection: close, GOAWAY), so
  // that clients come to other servers without losing a request.
  void leave(std::size_t core);
  // On the core's loop: accepts no more, ends idle connections, tells busy ones to end after their exchange, and waits
  // for them until `until`. true when none was left; unfinished ones are dropped.
  task<bool> drain(std::size_t core, time_point until);

  // From any core.
  struct totals {
    std::uint64_t connections, connections_total, connections_refused, connections_evicted, handshakes_failed,
        exchanges, exchanges_total, bad_requests;
  };
  totals count() const noexcept;
  totals count(std::size_t core) const noexcept;

 private:
  struct core_state;
  task<void> accept_on(std::size_t core, std::unique_ptr<reactor::listener> l);
  // The core with the least work.
  std::size_t place(std::size_t here);
  void make_room(core_state& c, const reactor::endpoint& for_whom);
  task<void> serve_connection(core_state& c, std::unique_ptr<reactor::stream> s);
  task<std::unique_ptr<reactor::stream>> shake_hands(core_state& c, std::unique_ptr<reactor::stream> s,
                                                     connection_info& info, bool& h2);

  handler& handler_;
  server_options options_;
  std::size_t connections_max_;
  std::vector<std::shared_ptr<core_state>> cores_;  // shared with what is on its way from one to another
};

}  // namespace kedge::net::http
