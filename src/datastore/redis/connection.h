// connection.h: one connection to Redis on the calling core's loop. hiredis reads the replies; connecting, TLS and
// waiting are the reactor's (hiredis of Debian 12 has no TLS and blocks in DNS).
//
//   send() ─▶ RESP ─▶ all that a turn of the loop has sent in one write       any number on their way
//   request::done ◀─ reply, in the order of the requests          on_message ◀─ what a subscription gets
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "datastore/link.h"
#include "datastore/redis/settings.h"
#include "reactor/stream.h"

struct redisReply;
struct redisReader;

namespace kedge::datastore::redis {

// One command, encoded as it is built. Arguments are any bytes.
class command {
 public:
  explicit command(std::string_view name) { add(name); }
  command& add(std::string_view argument);
  command& add(std::uint64_t n);
  template <typename... A>
  static command of(std::string_view name, const A&... a) {
    command c(name);
    (c.add(a), ...);
    return c;
  }
  std::size_t size() const noexcept { return body_.size(); }
  void reserve(std::size_t bytes) { body_.reserve(bytes); }
  void append_to(std::string& out) const;

 private:
  std::size_t count_ = 0;
  std::string body_;
};

// A part of a reply, valid as long as the reply. What it isn't reads as empty, 0 and nothing.
class value {
 public:
  explicit value(const redisReply* r) noexcept : r_(r) {}
  bool is_nil() const noexcept;
  std::string_view text() const noexcept;  // string, status
  std::string_view error_text() const noexcept;
  std::int64_t number() const noexcept;  // integer, or a string of digits
  std::size_t size() const noexcept;     // elements of an array
  value operator[](std::size_t i) const noexcept;

 private:
  const redisReply* r_;
};

class reply {
 public:
  reply() = default;
  explicit reply(redisReply* r) noexcept : r_(r) {}
  reply(reply&& o) noexcept : r_(std::exchange(o.r_, nullptr)) {}
  reply& operator=(reply&& o) noexcept {
    std::swap(r_, o.r_);
    return *this;
  }
  ~reply();
  value operator*() const noexcept { return value(r_); }
  value operator[](std::size_t i) const noexcept { return value(r_)[i]; }
  std::size_t size() const noexcept { return value(r_).size(); }

 private:
  redisReply* r_ = nullptr;
};

using request = link_request<reply>;
using request_ref = std::shared_ptr<request>;

class connection final : public link<request> {
 public:
  using answer = reply;

  // Connected, authenticated, the database chosen. errc::unavailable while that may pass, errc::forbidden and
  // errc::unsupported when it won't.
  static task<result<std::unique_ptr<connection>>> open(settings s, time_point deadline);
  ~connection();  // closes it; what is on its way fails with errc::closed

  request_ref send(const command& c);
  task<result<reply>> run(command c);

  // Called for each message of a subscription.
  std::move_only_function<void(std::string_view payload)> on_message;

 private:
  explicit connection(std::unique_ptr<reactor::stream> s);
  static task<result<std::unique_ptr<connection>>> open_now(settings s);
  task<void> read_loop();
  task<void> write_loop();
  void take(reply r);
  void ended() override { stream_->close(); }

  std::unique_ptr<reactor::stream> stream_;
  redisReader* reader_;
  std::string out_;  // bounded by those who wait: the engine's two batches, a page, a question
  reactor::event must_write_;
  reactor::scope services_;  // last: ends first
};

// What an error reply means for who asked, by its first word.
errc code_of(std::string_view state);

}  // namespace kedge::datastore::redis
