// archive_source.h: a file of agent/images as a stream of what is in it: read, unpacked, cut into the archive's files
// and hashed, all in bounded pieces. Blocking: each call through offload, one at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "node/images/archive.h"

namespace kedge::node {

// What comes of the archive, in its order.
struct archive_event {
  enum class kind : unsigned char { begins, bytes, ends };
  kind what = kind::begins;
  std::string text;  // begins: the file's name; bytes: some of it; ends: its digest
};

// Whether `name` is one that is imported: .tar, .tar.gz, .tgz, .tar.zst, .tzst (in any case).
bool is_archive_name(std::string_view name);

class archive_source {
 public:
  static result<std::unique_ptr<archive_source>> open(const std::string& path);
  virtual ~archive_source() = default;
  // The next events; none at the end. errc::invalid: it is no such archive.
  virtual result<std::vector<archive_event>> next() = 0;
  // All that was in it, after the end.
  virtual const archive_files& files() const = 0;
};

}  // namespace kedge::node
