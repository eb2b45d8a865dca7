// webhook.h: audit events for another server, in batches.
//
//   any core ── event into a bounded queue ──▶ home loop: a batch when enough wait, or time is up ──▶ POST, again later
//
// In batch mode requests never wait for it; what finds the queue full is dropped and counted, and so is a batch that
// could not be sent after some attempts. Otherwise each request waits until its event was sent.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/audit/backend.h"
#include "api/remote/remote.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::api {

struct audit_webhook_settings {
  std::shared_ptr<const remote_server> server;
  duration first_pause = std::chrono::seconds(10);  // before a batch is sent again
  std::size_t batch_events = 400;
  duration batch_wait = std::chrono::seconds(30);
  bool throttle = true;  // batches a second
  double batches_a_second = 10;
  std::size_t batches_burst = 15;
  audit_backend_settings common{.mode = audit_mode::batch};
};

// One for all cores; made, started and ended on its home loop.
class audit_webhook final : public audit_backend {
 public:
  audit_webhook(audit_webhook_settings settings, reactor::loop& home, reactor::network* network = nullptr);
  ~audit_webhook() override;

  std::string_view name() const noexcept override { return "webhook"; }
  bool post(std::string text) override;
  task<bool> write(std::string text) override;

  // Sends what waits and what comes, until end().
  void start();
  // Sends the rest, as far as there is time; what isn't sent then counts as lost, and the log says so.
  task<void> end();

 private:
  task<void> run();
  task<void> send(std::vector<std::string> events);
  task<bool> deliver(std::vector<std::string> events);
  std::vector<std::string> take();
  std::size_t waiting() const;
  task<void> wait_for_turn();

  const audit_webhook_settings settings_;
  reactor::loop& home_;
  remote to_;

  mutable std::mutex mutex_;  // held for a push or a swap only
  std::deque<std::string> queue_;
  std::size_t queue_bytes_ = 0;
  bool told_ = false;  // the home loop has been told that a batch is full

  // Of the home loop.
  reactor::event full_;
  bool ending_ = false;
  double turns_ = 0;  // batches that may go now
  time_point turns_at_{};
  reactor::semaphore under_way_;
  reactor::scope running_;
};

// The body of a batch.
std::string audit_event_list(const std::vector<std::string>& events);

}  // namespace kedge::api
