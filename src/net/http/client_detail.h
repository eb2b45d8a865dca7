// client_detail.h: what the client's files share. Internal to net/http.
#pragma once

#include <deque>

#include "net/http/client.h"
#include "net/http/connection.h"
#include "reactor/scope.h"

namespace kedge::net::http {

// A connection to a target, idle in the pool or held by one exchange.
struct h1_client_connection {
  target to;
  std::unique_ptr<reactor::stream> stream;
  std::vector<std::string> peer_certificates;
  reactor::buffer rest;  // received behind the last answer
  bool reused = false;
  time_point idle_since{};
};

class h2_session;

struct client::state {
  reactor::network* network;
  std::size_t idle_max = pool_idle_per_target_max;
  std::deque<std::unique_ptr<h1_client_connection>> idle;  // oldest first
  // HTTP/2 connections, each with its exchanges; a dead one goes when its last exchange does.
  std::vector<std::pair<target, std::shared_ptr<h2_session>>> h2;

  std::unique_ptr<h1_client_connection> take_idle(const target& to);
  void put_idle(std::unique_ptr<h1_client_connection> c);
};

result<std::unique_ptr<client_exchange>> make_h1_exchange(std::shared_ptr<client::state> state,
                                                          std::unique_ptr<h1_client_connection> connection,
                                                          client_request& request);
// Sends the head (and the body, unless it streams).
task<result<void>> send_h1_request(client_exchange& x);
// Whether the exchange failed before a byte of the answer came, on a connection that had been used before: the server
// has closed it while it was idle, and a request without effect may be sent again.
bool died_idle(const client_exchange& x) noexcept;

// A new HTTP/2 connection over `s`, which it takes.
std::shared_ptr<h2_session> make_h2_client(std::unique_ptr<reactor::stream> s,
                                           std::vector<std::string> peer_certificates);
bool h2_usable(h2_session& s) noexcept;  // takes another exchange
bool h2_idle(const h2_session& s, time_point now) noexcept;
// Whether the connection ended before an answer: a request without effect may be sent again.
bool h2_died(const client_exchange& x) noexcept;
task<result<std::unique_ptr<client_exchange>>> open_h2_exchange(std::shared_ptr<h2_session> session,
                                                                client_request request);

}  // namespace kedge::net::http
