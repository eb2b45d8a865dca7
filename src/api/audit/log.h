// log.h: who did what, as JSON lines (audit.k8s.io/v1 Event, level Metadata).
//
//   any core ── record(): one line, into a bounded queue ──▶ one writer on the offload pool ──▶ file, rotated by size
//
// Requests never wait for the disk: when the queue is full the event is dropped and counted, and the log says how many.
// Off without a path.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "api/audit/sink.h"

namespace kedge::api {

struct audit_settings {
  std::string path;                     // --audit-log-path; empty: off. "-": standard output is not offered
  std::uint64_t max_bytes = 100 << 20;  // --audit-log-maxsize, 100 MB as K3s's documentation has it; 0: no rotation
  unsigned max_backups = 10;            // --audit-log-maxbackup; 0: keep all
  unsigned max_age_days = 0;            // --audit-log-maxage; 0: for ever
};

// One for all cores; record() may be called from every one.
class audit_log final : public audit_sink {
 public:
  // Opens the file (blocking: at start). An error names the path.
  static result<std::shared_ptr<audit_log>> open(audit_settings settings);
  ~audit_log() override;

  bool enabled() const noexcept override { return true; }
  void record(const audit_record& r, bool started) override;

  // Writes all that waits (blocking): at the end of the process.
  void flush();
  std::uint64_t dropped() const noexcept;

 private:
  struct file;
  explicit audit_log(std::shared_ptr<file> f) : file_(std::move(f)) {}
  std::shared_ptr<file> file_;  // shared with the job that writes
};

// The event's line, without newline.
std::string audit_line(const audit_record& r, bool started);

}  // namespace kedge::api
