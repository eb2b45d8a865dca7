// writer.h: a snapshot file that is being written, under another name until it is whole.
//
// Blocking, one thread at a time: on the offload pool. Dropped before finish(): nothing stays.
#pragma once

#include <string>
#include <vector>

#include "backup/format.h"
#include "store/store.h"

namespace kedge::backup {

class writer {
 public:
  // `<path>.part`, with mode 0600. The folder is made. `key`: the header's, opened.
  static result<writer> create(std::string path, const header& h, std::string key);
  writer(writer&& other) noexcept;
  writer& operator=(writer&&) = delete;
  ~writer();

  // One block of them.
  result<void> add(const std::vector<store::object_ref>& objects);
  // The end; on disk, and under its name. Its size. errc::already_exists: a file has that name.
  result<std::uint64_t> finish();

 private:
  writer(std::string path, std::string key, int file) : path_(std::move(path)), key_(std::move(key)), file_(file) {}
  result<void> put(std::string_view text);
  std::string part() const { return path_ + ".part"; }

  std::string path_, key_;
  int file_;
  totals so_far_;
  std::uint64_t bytes_ = 0;
};

}  // namespace kedge::backup
