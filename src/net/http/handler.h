// handler.h: the one interface between HTTP (any version, TLS or not) and what answers.
//
//   client ──▶ h1.cc / h2.cc (framing, limits, flow control) ──▶ exchange ──▶ handler::serve ──▶ exchange ──▶ client
//
// An exchange is one request and its answer. The body is read piece by piece, the answer is written piece by piece;
// both wait for the other side (back pressure), so nothing here holds more than a few pieces. serve() is dropped where
// it waits when the client goes away or the server stops: it needs no loop that asks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "reactor/stream.h"

namespace kedge::net::http {

// Header fields in order; names compare without case and are kept as received (HTTP/2: lower-case).
class headers {
 public:
  void add(std::string name, std::string value) {
    if (fields_.empty()) fields_.reserve(usual_size);
    fields_.emplace_back(std::move(name), std::move(value));
  }
  void set(std::string_view name, std::string value);  // replaces all of that name
  void remove(std::string_view name);
  // The first field's value; empty view when absent. has() tells apart.
  std::string_view get(std::string_view name) const noexcept;
  bool has(std::string_view name) const noexcept;
  std::vector<std::string_view> all(std::string_view name) const;
  // Whether a comma-separated list (all fields of that name together) has `token`, ignoring case: Connection: Upgrade.
  bool has_token(std::string_view name, std::string_view token) const noexcept;
  auto begin() const noexcept { return fields_.begin(); }
  auto end() const noexcept { return fields_.end(); }
  std::size_t size() const noexcept { return fields_.size(); }

 private:
  static constexpr std::size_t usual_size = 8;  // a Kubernetes client sends six or seven, and gets as many
  std::vector<std::pair<std::string, std::string>> fields_;
};

enum class version : unsigned char { http1_0, http1_1, http2 };

struct request {
  std::string method;     // "GET"; "CONNECT" has the authority in `target` and an empty path
  std::string target;     // as received: path and query
  std::string path;       // before '?', not decoded
  std::string query;      // after '?', not decoded
  std::string authority;  // Host or :authority
  version http = version::http1_1;
  http::headers headers;
  std::optional<std::uint64_t> content_length;
};

struct response {
  int status = 200;
  http::headers headers;  // Date, Content-Length or chunked framing, Connection are the server's
};

// What is the same for all exchanges of a connection. Lives as long as the connection.
struct connection_info {
  reactor::endpoint local, peer;
  bool tls = false;
  std::string sni;  // what the client asked for; empty without
  std::vector<std::string>
      peer_certificates;             // DER, leaf first; empty without a client certificate (not verified here)
  std::shared_ptr<void> attachment;  // for the handler: what it found out once per connection (the user)
  std::size_t owner =
      0;  // whose it is when connections become few: of the peer's address, or what the handler knows better
};

class exchange {
 public:
  virtual ~exchange() = default;

  virtual const http::request& request() const noexcept = 0;
  virtual connection_info& connection() noexcept = 0;

  // The next piece of the body, at most 64 KiB; empty at the end (also when there is none). Sends 100-continue first
  // when the client waits for it. errc::too_large past the limit set, errc::timeout from a slow client, errc::closed.
  virtual task<result<reactor::buffer>> read() = 0;
  // When the whole body must have come; the default is body_whole_timeout after its head. Then read() fails with
  // errc::timeout.
  virtual void body_deadline(time_point when) noexcept = 0;
  // Limits the body that read() gives out; the default is limits.h's request_body_max_bytes.
  virtual void limit_body(std::uint64_t bytes) noexcept = 0;
  task<result<std::string>> read_all();  // the whole body

  // A whole answer in one go; with content-length, in one write where it fits. `body` parts must live until it ends.
  virtual task<result<void>> respond(const http::response& head, std::span<const bytes> body) = 0;
  task<result<void>> respond(const http::response& head, std::string_view body);

  // A streamed answer: start (sends the head at once), write any number of times (each is sent at once), finish.
  virtual task<result<void>> start(const http::response& head) = 0;
  virtual task<result<void>> write(std::span<const bytes> parts) = 0;
  task<result<void>> write(std::string_view part);
  virtual task<result<void>> finish(const http::headers& trailers) = 0;
  task<result<void>> finish();
  // Whether start or respond has been called.
  virtual bool started() const noexcept = 0;
  // Ends the answer abnormally: the client sees a broken stream rather than a short answer.
  virtual void abort() noexcept = 0;

  // HTTP/1.1 only (errc::unsupported otherwise): sends `head` (101, or 200 to CONNECT) and hands over the connection's
  // bytes. The stream lives no longer than this exchange.
  virtual task<result<std::unique_ptr<reactor::stream>>> upgrade(const http::response& head) = 0;
};

class handler {
 public:
  virtual ~handler() = default;
  // Answers, and returns when the answer is complete; returning without one is a 500. `e` lives until it returns.
  virtual task<void> serve(exchange& e) = 0;
};

// The standard reason phrase ("Not Found"); "" for unknown codes.
std::string_view reason_phrase(int status) noexcept;

}  // namespace kedge::net::http
