// backend.h: what takes audit events: a log, a webhook. As --audit-<name>-… say.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "api/audit/event.h"
#include "reactor/task.h"

namespace kedge::api {

enum class audit_mode : unsigned char {
  batch,           // requests never wait; what doesn't fit into the queue is dropped and counted
  blocking,        // a request waits until its event is taken, or could not be
  blocking_strict  // a request whose first event could not be taken is refused
};

struct audit_backend_settings {
  audit_mode mode = audit_mode::batch;
  std::size_t buffer_events = 10'000;  // of batch mode
  bool truncate = false;
  std::size_t event_max_bytes = 100 * 1024, batch_max_bytes = 10 * 1024 * 1024;  // where it truncates
};

class audit_backend {
 public:
  explicit audit_backend(audit_backend_settings s) noexcept : common_(s) {}
  virtual ~audit_backend() = default;
  virtual std::string_view name() const noexcept = 0;
  audit_mode mode() const noexcept { return common_.mode; }
  // The event as this backend writes it; empty when it is too large to be written.
  virtual std::string text_of(const audit_event& e, audit_stage stage, wall_time at) const;
  // From any core. False: dropped, and counted.
  virtual bool post(std::string text) = 0;
  // Until the event is taken. False: it could not be.
  virtual task<bool> write(std::string text) = 0;

  // Events that were lost.
  void lost(std::uint64_t n = 1) noexcept { lost_->fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t lost_events() const noexcept { return lost_->load(std::memory_order_relaxed); }

 protected:
  audit_backend_settings common_;
  // Counted on any core and by jobs of the pool, read for metrics: no order needed.
  std::shared_ptr<std::atomic<std::uint64_t>> lost_ = std::make_shared<std::atomic<std::uint64_t>>(0);
};

}  // namespace kedge::api
