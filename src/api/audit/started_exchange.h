// started_exchange.h: an exchange whose answer is made elsewhere (by a node, by a pod), so that the trail learns of its
// head before it leaves.
#pragma once

#include "api/audit/trail.h"

namespace kedge::api {

class started_exchange final : public net::http::exchange {
 public:
  // All outlive it. `code` gets the answer's.
  started_exchange(net::http::exchange& of, audit_trail& told, int& code) noexcept
      : of_(of), told_(told), code_(code) {}

  const net::http::request& request() const noexcept override { return of_.request(); }
  net::http::connection_info& connection() noexcept override { return of_.connection(); }
  task<result<reactor::buffer>> read() override { return of_.read(); }
  void body_deadline(time_point when) noexcept override { of_.body_deadline(when); }
  void limit_body(std::uint64_t bytes) noexcept override { of_.limit_body(bytes); }
  using net::http::exchange::respond;
  task<result<void>> respond(const net::http::response& head, std::span<const bytes> body) override {
    co_await tell(head.status);
    co_return co_await of_.respond(head, body);
  }
  task<result<void>> start(const net::http::response& head) override {
    co_await tell(head.status);
    co_return co_await of_.start(head);
  }
  using net::http::exchange::write;
  task<result<void>> write(std::span<const bytes> parts) override { return of_.write(parts); }
  using net::http::exchange::finish;
  task<result<void>> finish(const net::http::headers& trailers) override { return of_.finish(trailers); }
  bool started() const noexcept override { return of_.started(); }
  void abort() noexcept override { of_.abort(); }
  task<result<std::unique_ptr<reactor::stream>>> upgrade(const net::http::response& head) override {
    co_await tell(head.status);
    co_return co_await of_.upgrade(head);
  }

 private:
  task<void> tell(int code) {
    if (code_ != 0) co_return;
    code_ = code;
    co_await told_.started(code);
  }
  net::http::exchange& of_;
  audit_trail& told_;
  int& code_;
};

}  // namespace kedge::api
