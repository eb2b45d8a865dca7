// restore.h: from a snapshot file into a datastore of any kind, that no server uses.
//
//   every block opened ─▶ the datastore looked at: empty, or it may go ─▶ row /kedge/restore: no server starts over it
//     ─▶ revisions go on far above the snapshot's ─▶ what was there goes ─▶ objects, a batch a commit ─▶ the row goes
//
// Until the row stands nothing has changed. From then on whoever is cut off does it again: what was there goes first.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "backup/format.h"
#include "backup/limits.h"
#include "crypto/bootstrap_record.h"
#include "datastore/log.h"
#include "store/store.h"

namespace kedge::backup {

struct restore_options {
  std::string path, password;
  bool overwrite = false;  // a cluster that stands in the datastore goes
  bool partial = false;    // a damaged file: what can be read of it
  // How far above the snapshot's the revisions go on; nothing: where the datastore is, for clients to list again.
  std::optional<std::uint64_t> revision_jump = restored_revision_jump;
  // How far it is: "reading the snapshot", 512, 100000.
  std::function<void(std::string_view step, std::uint64_t done, std::uint64_t of)> told = {};
};
struct restored {
  header about;
  std::uint64_t objects = 0;
  crypto::bootstrap_files identity;  // CAs, keys, tokens: what belongs into a server's folder
};

// Reads all of the file: what it gives back, or why it can't be restored as asked. Changes nothing; blocking.
// errc::corrupt: damaged; the message says what could be had of it with `partial`.
result<restored> look_into(const restore_options& o);

// `log` is not open yet, and is closed afterwards, whatever comes. After look_into(). errc::already_exists: a cluster
// is there, and `overwrite` is not asked for; errc::conflict: a server uses it.
task<result<restored>> restore(datastore::log& log, restore_options o);

// Of a datastore that a restore has not finished with; and its row.
inline constexpr std::string_view restore_row = "/kedge/restore";
// For a server that starts: errc::unavailable, and how to go on, when a restore into the datastore was cut off.
result<void> check_restored(const store::snapshot& now);

// The same beside the files of one server's folder ($D/server): written before they change, gone when all is done.
std::string restore_mark(const std::string& server_dir);
result<void> mark_restore(const std::string& server_dir, const std::string& file);
result<void> check_restored(const std::string& server_dir);

}  // namespace kedge::backup
