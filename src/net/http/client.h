// client.h: requests to HTTP/1.1 and HTTP/2 servers, over TCP, TLS or unix sockets.
//
//   client c;                                           // one for each core that asks
//   auto r = co_await c.fetch({.to = target, .path = "/v1-k3s/config"});      // status, headers, whole body
//   auto x = co_await c.open(request); … x->read() …    // streaming
//
// Deadlines come from the caller (reactor::with_deadline): dropping a call gives up its connection (HTTP/1) or resets
// its stream (HTTP/2). Everything here belongs to one core.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/http/handler.h"
#include "net/limits.h"
#include "net/tls.h"

namespace kedge::net::http {

// Where a request goes. Connections are shared between requests whose targets are equal.
struct target {
  reactor::endpoint at;  // an address, or a unix socket; see also `host`
  std::string host;      // name for DNS (when `at.address` is empty), TLS and the Host header; empty: at
  std::shared_ptr<tls_client_context> tls;  // null: plaintext
  bool http2 = false;                       // plaintext: prior knowledge (gRPC). TLS: by ALPN alone

  std::string authority() const;  // "host:port"; "localhost" for a unix socket
  friend bool operator==(const target&, const target&) = default;
};
// "https://host:6443/path?query" → target and "/path?query". `tls` is used for https.
result<std::pair<target, std::string>> parse_url(std::string_view url, std::shared_ptr<tls_client_context> tls);

struct client_request {
  target to;
  std::string method = "GET";
  std::string path = "/";  // with the query; the authority for CONNECT
  http::headers headers;
  std::string body;                          // sent with Content-Length, unless `streams`
  bool streams = false;                      // the body is written with client_exchange::write and ended with finish
  std::optional<std::uint64_t> length = {};  // of a body that streams: sent as Content-Length. nullopt: in chunks
  std::string authority;                     // of the Host header; empty: the target's
  bool fresh = false;  // on a new connection: for what can't be sent again when a kept one proves dead
};

struct client_response {
  int status = 0;
  http::headers headers;
  std::string body;
};

// One request under way. Ends with its owner: an unfinished one costs the connection (HTTP/1) or the stream (HTTP/2).
class client_exchange {
 public:
  virtual ~client_exchange() = default;
  // The answer's head; waits for it. Later calls give the same.
  virtual task<result<const response*>> head() = 0;
  // The next piece of the answer's body; empty at the end. Calls head() when that wasn't done.
  virtual task<result<reactor::buffer>> read() = 0;
  virtual const http::headers& trailers() const noexcept = 0;  // after the end of the body
  // The request's body, when it streams. May run beside head() and read() (HTTP/2 only).
  virtual task<result<void>> write(std::span<const bytes> parts) = 0;
  virtual task<result<void>> finish() = 0;
  // After a 101, or 2xx to CONNECT (HTTP/1.1 only): the connection's bytes, with nothing lost. This exchange is then
  // over.
  virtual result<std::unique_ptr<reactor::stream>> upgraded() = 0;
  virtual const std::vector<std::string>& peer_certificates() const noexcept = 0;  // DER; empty without TLS
  virtual reactor::endpoint local() const = 0;
  // Whether the connection was used before: then it may have been dead all along.
  virtual bool reused() const noexcept = 0;
  // Whether the server said that it has done nothing of it and won't (HTTP/2: REFUSED_STREAM, or a GOAWAY before it):
  // it may be sent again, whatever it is.
  virtual bool refused() const noexcept = 0;

  task<result<std::string>> read_all(std::size_t most = response_body_max_bytes);
};

struct client_connection;  // a pooled connection

class client {
 public:
  // Connects through `network` (null: this machine's). `idle_max`: HTTP/1.1 connections that are kept to one target.
  explicit client(reactor::network* network = nullptr, std::size_t idle_max = pool_idle_per_target_max);
  ~client();

  task<result<std::unique_ptr<client_exchange>>> open(client_request r);
  // The whole exchange. GET, HEAD, PUT and DELETE (RFC 9110 §9.2.2) are sent again when a reused connection ends
  // without an answer.
  task<result<client_response>> fetch(client_request r, std::size_t body_most = response_body_max_bytes);
  // Ends idle connections, e.g. after the credentials changed.
  void forget_idle() noexcept;

  // A connected stream to `to`, with TLS as it says; for protocols of one's own.
  task<result<std::unique_ptr<reactor::stream>>> connect(const target& to);

  struct state;

 private:
  std::shared_ptr<state> state_;
};

}  // namespace kedge::net::http
