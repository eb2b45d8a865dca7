// bootstrap_data.h: the cluster's identity (CAs, keys, passwd, encryption keys), shared between servers through the datastore.
//
//   open the store ─▶ load(): the record ─▶ files of $D/server      none yet: an empty record holds the place
//                 ─▶ credentials::open() makes what is missing ─▶ save(): files ─▶ the record
//
// The record is K3s's (crypto/bootstrap_record.h), so that a server needs only the datastore and the token, and either program's
// servers can join the other's. With SQLite it is there too: the database and the token are then a whole backup.
//
// Invariant: the files that were served with are the record's; where both differ, what is older is replaced, and a file that was
// changed by hand later than the record stops the start, because half of the cluster would not trust the other.
#pragma once

#include <optional>
#include <string>

#include "crypto/bootstrap_record.h"
#include "store/store.h"
#include "supervisor/config.h"

namespace kedge::supervisor {

class bootstrap_data {
 public:
  // `shared`: other servers may use the same datastore.
  bootstrap_data(const config& c, store::store& s, bool shared) : settings_(c), store_(s), shared_(shared) {}

  // Before credentials::open(). errc::invalid: the datastore belongs to a cluster with another token.
  task<result<void>> load();
  // After it, with the server's password: writes the record where it is missing, or differs from the files (a new agent token, new
  // encryption keys).
  task<result<void>> save(std::string password);
  // The token was changed: the record moves to the new one's key.
  task<result<void>> move(std::string old_password, std::string new_password);

  // A record that another server changed: its files replace this server's. Answers which did (K3s's names).
  task<result<std::vector<std::string>>> refresh(std::string password);

  // The key whose changes refresh() is for.
  static std::string key_of(std::string_view password) { return crypto::bootstrap_key(password); }

 private:
  task<result<void>> adopt(store::object_ref record, std::string password, bool compare);
  task<result<std::optional<store::object_ref>>> find_or_hold(std::string key);
  task<result<void>> adopt_older_form(const store::snapshot& s, const std::string& password);

  const config& settings_;
  store::store& store_;
  bool shared_;
  std::optional<store::revision> held_;  // the empty record of this server's making
  bool token_made_ = false;              // no token was given or known: this is a first server
};

// The password that this server is to use, when one is given or was recorded; for tests.
result<std::optional<std::string>> known_password(const config& c);

// What stands on this server's disk, by K3s's names. Blocking.
result<crypto::bootstrap_files> read_bootstrap_files(const std::string& server_dir);
// Writes `files`, with their times; names of those that changed. `compare`: refuses to replace one that is newer by more than K3s's
// 3 s. Blocking.
result<std::vector<std::string>> write_bootstrap_files(const std::string& server_dir, const crypto::bootstrap_files& files, bool compare);

}  // namespace kedge::supervisor
