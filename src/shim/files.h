// files.h: small files, whole; and where a program is.
#pragma once

#include <string>
#include <string_view>

#include "base/descriptor.h"
#include "base/error.h"

namespace kedge::shim {

// At most `limit` bytes: errc::too_large beyond.
result<std::string> read_file(const std::string& path, std::size_t limit);
// The same of an open file, from its beginning or, for a pipe, from what comes until its end; cut at `limit`.
std::string read_all(int fd, std::size_t limit);
// By a file beside it that is renamed: it is there whole, or not at all.
result<void> write_file(const std::string& path, std::string_view text, unsigned mode);
// An open file in memory with that text, to give to a program as its input or to take its output.
result<descriptor> memory_file(std::string_view text);
bool write_all(int fd, std::string_view text);

// The executable of that name in $PATH or where packages put such; a path is itself. Empty: there is none.
std::string find_program(std::string_view name);

// A name as containerd gives them (its identifiers package): letters, digits and ._- between, no path.
bool is_identifier(std::string_view text);

}  // namespace kedge::shim
