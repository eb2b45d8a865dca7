// log.h: audit events as lines of a file, rotated by size.
//
//   any core ── a line into a bounded queue ──▶ one writer on the offload pool, for all that wait ──▶ file
//
// In batch mode requests never wait for the disk. Otherwise each waits for the write that its line goes with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/audit/backend.h"

namespace kedge::api {

struct audit_log_settings {
  std::string path;                     // "-": standard output
  std::uint64_t max_bytes = 100 << 20;  // 0: no rotation
  unsigned max_backups = 100;           // 0: keep all
  unsigned max_age_days = 366;          // by the time in a rotated file's name; 0: for ever
  bool compress = false;                // rotated files, by gzip
  bool legacy = false;                  // a line of words instead of JSON
  audit_backend_settings common{.mode = audit_mode::blocking};
};

// One for all cores.
class audit_log final : public audit_backend {
 public:
  // Opens the file (blocking: at start), and makes its folder. An error names the path.
  static result<std::shared_ptr<audit_log>> open(audit_log_settings settings);
  ~audit_log() override;

  std::string_view name() const noexcept override { return "log"; }
  std::string text_of(const audit_event& e, audit_stage stage, wall_time at) const override;
  bool post(std::string text) override;
  task<bool> write(std::string text) override;

  // Writes all that waits (blocking): at the end of the process.
  void flush();

 private:
  struct file;
  audit_log(audit_backend_settings common, std::shared_ptr<file> f) : audit_backend(common), file_(std::move(f)) {}
  std::shared_ptr<file> file_;  // shared with the job that writes
};

}  // namespace kedge::api
