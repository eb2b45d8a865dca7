// log_files.h: the files of containers' logs, below the node's folder of logs. A pod that mounts that folder may
// exchange what is in it at any moment: no symbolic link is followed, and nothing but a plain file is read or written.
//
//   <logs>/<namespace>_<pod>_<uid>/<container>/0.log                      what the runtime writes to
//                                              0.log.20261130-030556      set aside last
//                                              0.log.20261130-021503.gz   before that
//
// All of it blocks: through offload.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"

namespace kedge::node {

// An open log.
class log_file {
 public:
  // `path` is below `logs`. errc::not_found: there is none (yet).
  static result<std::shared_ptr<log_file>> open(const std::string& logs, const std::string& path);
  explicit log_file(int fd) : fd_(fd) {}
  log_file(const log_file&) = delete;
  log_file& operator=(const log_file&) = delete;
  ~log_file();

  // At most `most` bytes from `at`; none at the end.
  result<std::string> read(std::uint64_t at, std::size_t most) const;
  std::uint64_t size() const;
  // Whether both are the same file.
  bool is(const log_file& other) const;
  // Where the last `lines` lines begin: read from the end, piece by piece.
  std::uint64_t tail_begins(std::int64_t lines) const;

 private:
  int fd_;
};

// Sets a log aside as "<log>.<stamp>", as the kubelet does: of those set aside before, the oldest go, so that with the
// log that the runtime then begins there are at most `files_max`; the rest are compressed.
result<void> set_log_aside(const std::string& logs, const std::string& path, int files_max, const std::string& stamp);
// Takes that back: the runtime goes on writing to it.
result<void> put_log_back(const std::string& logs, const std::string& path, const std::string& stamp);
// The log and what was set aside of it; success when there is none.
result<void> remove_logs(const std::string& logs, const std::string& path);

}  // namespace kedge::node
