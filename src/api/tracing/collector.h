// collector.h: spans for another server, in batches.
//
//   any core ── a span that ended into a bounded queue ──▶ home loop: a batch when enough wait, or time is up ──▶ OTLP
//
// Requests never wait for it. What finds the queue full is dropped and counted, and so is a batch that can't be sent.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "api/tracing/configuration.h"
#include "api/tracing/span.h"
#include "net/grpc.h"
#include "reactor/loop.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::api::tracing {

// A request, as its trace begins.
struct beginning {
  std::string_view name;
  std::optional<context> named;  // by the client
  bool trusted = false;          // whether that is followed
  wall_time at{};
};

// One for all cores; made, started and ended on its home loop.
class collector {
 public:
  // `resource`: what all spans are of. errc::invalid: the endpoint is none.
  static result<std::unique_ptr<collector>> make(settings s, attributes resource, reactor::loop& home,
                                                 reactor::network* network = nullptr);
  ~collector();

  // On any core.
  live_span begin(const beginning& b);
  void take(span s) noexcept;
  static live_span pass_on(context c);

  // Sends what waits and what comes, until end().
  void start();
  // Sends the rest, as far as there is time.
  task<void> end();

  std::uint64_t sent() const noexcept { return sent_.load(std::memory_order_relaxed); }
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  collector(settings s, attributes resource, net::http::target to, reactor::loop& home, reactor::network* network);
  task<void> run();
  task<void> send(std::vector<span> batch);
  std::vector<span> take_batch();
  std::size_t waiting() const;

  const settings settings_;
  const attributes resource_;
  reactor::loop& home_;
  net::grpc::channel to_;

  mutable std::mutex mutex_;  // held for a push or a swap only
  std::vector<span> queue_;
  bool told_ = false;  // the home loop has been told that a batch is full

  // Counted on any core, read for metrics: no order needed.
  std::atomic<std::uint64_t> sent_ = 0, dropped_ = 0;

  // Of the home loop.
  reactor::event full_;
  bool ending_ = false;
  bool away_ = false;  // the last batch couldn't be sent, which has been said
  reactor::scope running_;
};

}  // namespace kedge::api::tracing
