// unread.h: an exchange that knows how long its client has taken nothing of the answer.
#pragma once

#include "net/http/handler.h"
#include "reactor/loop.h"

namespace kedge::api::fairness {

class watched_exchange final : public net::http::exchange {
 public:
  explicit watched_exchange(net::http::exchange& of) noexcept : of_(of) {}

  // Since when the answer, or the piece of it that was written last, waits to be taken; nothing while none does.
  std::optional<time_point> unread_since() const noexcept { return since_; }

  const net::http::request& request() const noexcept override { return of_.request(); }
  net::http::connection_info& connection() noexcept override { return of_.connection(); }
  task<result<reactor::buffer>> read() override { return of_.read(); }
  void body_deadline(time_point when) noexcept override { of_.body_deadline(when); }
  void limit_body(std::uint64_t bytes) noexcept override { of_.limit_body(bytes); }
  using net::http::exchange::respond;
  task<result<void>> respond(const net::http::response& head, std::span<const bytes> body) override {
    return wait(of_.respond(head, body));
  }
  task<result<void>> start(const net::http::response& head) override { return wait(of_.start(head)); }
  using net::http::exchange::write;
  task<result<void>> write(std::span<const bytes> parts) override { return wait(of_.write(parts)); }
  using net::http::exchange::finish;
  task<result<void>> finish(const net::http::headers& trailers) override { return wait(of_.finish(trailers)); }
  bool started() const noexcept override { return of_.started(); }
  void abort() noexcept override { of_.abort(); }
  task<result<std::unique_ptr<reactor::stream>>> upgrade(const net::http::response& head) override {
    return of_.upgrade(head);
  }

 private:
  task<result<void>> wait(task<result<void>> sent) {
    since_ = reactor::loop::current().now();
    auto done = co_await std::move(sent);
    since_.reset();
    co_return done;
  }

  net::http::exchange& of_;
  std::optional<time_point> since_;
};

}  // namespace kedge::api::fairness
