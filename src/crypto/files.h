// files.h: the small files that hold credentials. Blocking calls: at start, or on the offload pool, never on a reactor.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "crypto/limits.h"

namespace kedge::crypto {

// The whole file; errc::not_found when absent, errc::too_large beyond `max_bytes`.
result<std::string> read_file(const std::string& path, std::size_t max_bytes = credential_file_max_bytes);

struct write_options {
  unsigned mode = 0600;               // whatever the umask says
  std::optional<wall_time> modified;  // the time to give the file, else now
  bool sync = true;                   // false: the caller makes it durable later (sync_file), together with others
};
// Replaces the file at once or not at all: writes `<path>.tmp`, syncs it, and renames. The folder must exist. After a
// crash either the old or the new content is there, complete.
result<void> write_file(const std::string& path, std::string_view content, const write_options& options = {});

// Makes a file that was written without sync durable, and its name.
result<void> sync_file(const std::string& path);

// Creates the folder and its missing parents with that mode; one that stands already is left as it is.
result<void> make_folder(const std::string& path, unsigned mode = 0700);

// When the file was last written; errc::not_found when absent.
result<wall_time> modified_time(const std::string& path);

}  // namespace kedge::crypto
