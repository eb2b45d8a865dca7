// connection.h: what the server knows of each connection that it serves, whatever its HTTP version.
#pragma once

#include <atomic>
#include <cstdint>

#include "net/http/handler.h"
#include "net/limits.h"
#include "reactor/list.h"
#include "reactor/loop.h"

namespace kedge::net::http {

// A deadline that closes a stream. Moving it later costs nothing: the timer looks again when it fires.
class deadline final : reactor::timer {
 public:
  explicit deadline(reactor::stream& s) noexcept : timer(reactor::loop::current()), stream_(s) {}
  void set(time_point when) {
    when_ = when;
    if (!armed() || armed_for_ > when) arm(armed_for_ = when);
  }
  void set_after(duration d) { set(reactor::loop::current().now() + d); }
  void clear() noexcept { when_ = time_point::max(); }
  bool passed() const noexcept { return passed_; }

 private:
  void fired() override {
    if (when_ == time_point::max()) return;
    if (when_ > reactor::loop::current().now()) return arm(armed_for_ = when_);
    passed_ = true;
    stream_.close();
  }
  reactor::stream& stream_;
  time_point when_ = time_point::max(), armed_for_ = time_point::max();
  bool passed_ = false;
};

// Counted on one core, read by any (metrics).
struct core_counters {
  std::atomic<std::uint64_t> connections{0}, connections_total{0}, connections_refused{0}, connections_evicted{0};
  std::atomic<std::uint64_t> handshakes_failed{0};
  std::atomic<std::uint64_t> exchanges{0}, exchanges_total{0};
  std::atomic<std::uint64_t> bad_requests{0};
  // Only the owning core writes: plain add, no lock prefix. Relaxed, since nothing else is published by these.
  static void add(std::atomic<std::uint64_t>& c, std::int64_t n) noexcept {
    c.store(c.load(std::memory_order_relaxed) + static_cast<std::uint64_t>(n), std::memory_order_relaxed);
  }
};

struct connection_options {
  std::uint64_t body_max_bytes = request_body_max_bytes;
  duration header_timeout = net::header_timeout;
  duration idle_timeout = net::idle_timeout;
  duration body_timeout = net::body_timeout;
  duration body_whole_timeout = net::body_whole_timeout;
  duration write_timeout = net::write_timeout;
};

// Linked into its server while it lives.
class connection : public reactor::list_hook {
 public:
  explicit connection(const connection_info& about) noexcept : about_(about) {}
  // Tells the client to go elsewhere: the next answer is the last (HTTP/1.1), streams that are opened from now on are
  // served, but the client should open none (HTTP/2).
  virtual void leave() noexcept = 0;
  // Ends when idle, else after the exchanges that run; takes no new ones.
  virtual void drain() noexcept = 0;
  // Whether nothing is asked on it now.
  virtual bool quiet() const noexcept = 0;
  // Ends it for good: a quiet one so that its client sees an end, not a reset.
  virtual void evict() noexcept = 0;

  std::size_t owner() const noexcept { return about_.owner; }
  const reactor::endpoint& peer() const noexcept { return about_.peer; }
  time_point active() const noexcept { return active_; }  // when something was asked or answered last

 protected:
  ~connection() = default;
  void is_active() noexcept { active_ = reactor::loop::current().now(); }

 private:
  const connection_info& about_;
  time_point active_ = reactor::loop::current().now();
};

struct connection_context {
  http::handler& handler;
  const connection_options& options;
  core_counters& counters;
  reactor::list<connection>& connections;
  connection_info& info;
  bool leaving = false;  // from its start
};

// Method, path and peer, for the log.
std::string describe_request(const request& r, const connection_info& info);

// Serve one connection until it ends. The caller closes the stream.
task<void> serve_h1(reactor::stream& s, connection_context context);
task<void> serve_h2(reactor::stream& s, connection_context context);

}  // namespace kedge::net::http
