// watch_socket.h: a watch whose client asked for a websocket: each event is a message, text for JSON. Browsers and
// fabric8's Java client watch so.
//
//   watching.cc ── start, write, finish ──▶ watch_socket ── 101, messages, close ──▶ client
//
// What the client sends means nothing, but its close. As kube-apiserver has it, who names no Origin gets no websocket.
#pragma once

#include <memory>

#include "api/request/negotiate.h"
#include "net/http/handler.h"
#include "net/websocket/websocket.h"
#include "reactor/scope.h"

namespace kedge::api {

class watch_socket final : public net::http::exchange {
 public:
  // `e` outlives it.
  watch_socket(net::http::exchange& e, wire format) noexcept : e_(e), format_(format) {}

  const net::http::request& request() const noexcept override { return e_.request(); }
  net::http::connection_info& connection() noexcept override { return e_.connection(); }
  task<result<reactor::buffer>> read() override { return e_.read(); }
  void body_deadline(time_point when) noexcept override { e_.body_deadline(when); }
  void limit_body(std::uint64_t bytes) noexcept override { e_.limit_body(bytes); }
  task<result<void>> respond(const net::http::response& head, std::span<const bytes> body) override {
    return e_.respond(head, body);
  }
  bool started() const noexcept override { return e_.started(); }
  void abort() noexcept override { e_.abort(); }
  task<result<std::unique_ptr<reactor::stream>>> upgrade(const net::http::response& head) override {
    return e_.upgrade(head);
  }

  // The handshake. When it isn't one, the client has been told.
  task<result<void>> start(const net::http::response& head) override;
  // Each part is an event's frame.
  task<result<void>> write(std::span<const bytes> parts) override;
  task<result<void>> finish(const net::http::headers& trailers) override;

  // Does `work` until the client leaves.
  task<void> while_there(task<void> work);

 private:
  net::http::exchange& e_;
  const wire format_;
  std::unique_ptr<net::websocket::connection> socket_;
  reactor::event left_;
  reactor::scope beside_;
};

}  // namespace kedge::api
