// forward.h: one request passed on to whom it is for, and the answer that comes back.
//
//   client ─▶ head without what proves who the client is, body ─▶ the first way that gives an answer ─▶ target
//   client ◀─ head without hop-by-hop fields, body (links of pages rewritten) ◀──────────────────────────┘
//
// Upgrades are carried as bytes. A connection that was kept, or a way, may be dead without a word: a GET is asked again
// over a new connection when a kept one gives no answer for some seconds, and every request on the next way when one
// can't be connected.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "meta/status.h"
#include "net/http/client.h"
#include "supervisor/proxied_links.h"

namespace kedge::supervisor {

struct forwarding {
  std::vector<net::http::target> ways;  // to the same target, the likeliest first; at least one
  std::string path;                     // with the query
  std::string authority;                // of the Host header; empty: the target's
  std::optional<proxied_origin>
      links;            // redirects and links of pages lead through the proxy; nullopt: stay as they are
  std::string told_as;  // the resource that a refusal is told about, such as "pods/log"; empty: passed as it is
  bool bytes_to_websocket =
      false;  // the target's answer is a stream of bytes, and a client that asks for a websocket gets them by it
  net::http::headers identity;  // who asks, for a target that trusts this server to say so
  net::http::headers answer;    // of the answer's, where the target has none of that name
  bool is_api_server = false;   // refusals are plain text as kube-aggregator's, and redirects are none of the client's
  std::function<void(std::size_t way)> doubt;  // a way gave no connection in time, and a later one did
};

// Gives the code of the answer that was sent; 0: none was.
task<int> forward(net::http::exchange& e, net::http::client& through, forwarding f);

// Answers with a Status.
task<void> refuse(net::http::exchange& e, const api::status& s);

// The request's header as the target gets it: nothing hop-by-hop (RFC 9110 §7.6.1), nothing that proves who the client
// is, also not the token that a browser puts into Sec-WebSocket-Protocol. `upgrade`: it asks for another protocol.
net::http::headers forwarded_headers(const net::http::request& r, const std::string& client_address, bool upgrade);

// Whether it asks for another protocol. One that asks for a kind of HTTP goes on as an ordinary request.
bool wants_upgrade(const net::http::request& r);

}  // namespace kedge::supervisor
