// bootstrap_data.h: the cluster's identity (CAs, keys, passwd, encryption keys), shared between servers through the
// datastore.
//
//   open the store ─▶ load(): the record ─▶ files of $D/server      none yet: an empty record holds the place
//                 ─▶ credentials::open() makes what is missing ─▶ save(): files ─▶ the record
//
// The record is K3s's (crypto/bootstrap_record.h), so that a server needs only the datastore and the token, and either
// program's servers can join the other's. With SQLite it is there too: the database and the token are then a whole
// backup.
//
// A token is rotated by one write, and whoever comes upon that carries the rest out:
//
//   rotate: row /kedge/token/<id of the old> = {by, at, the new one sealed by the old, and by the clients' CA's key}
//        from here on the old one opens nothing
//        ─▶ each server that knows the old one: the record under the new one's key ─▶ the old record goes ─▶ files of
//        $D/server ─▶ all that live have told that they have it, or a minute is over: what is sealed by the old token
//        goes, the rest stays
//
// Every step may be done twice, by several servers at once, and by a server that starts. One that was away for longer
// finds what stays, and opens it by the CA's key that lies in its files: whoever has that can be anybody anyway. What
// is sealed is not weaker than what stood beside it: with the old token and the datastore's rows of that time one has
// the old record, and so the CAs' keys.
//
// Invariant: the files that were served with are the record's; where both differ, what is older is replaced, and a file
// that was changed by hand later than the record stops the start, because half of the cluster would not trust the
// other.
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
  // After it, with the server's password: writes the record where it is missing, or differs from the files (a new agent
  // token, new encryption keys).
  task<result<void>> save(std::string password);
  // With load(): --token is one from before a rotation that this server has taken part in. It goes on with what it
  // knows.
  bool token_outdated() const noexcept { return token_outdated_; }

  // From here on `old_password` opens nothing, and whoever knows it comes to know the new one. errc::already_exists: it
  // was rotated before.
  task<result<void>> rotate(std::string old_password, std::string new_password, std::string by);
  // What a rotation of that token has left to be done with the records. Any number of servers at once.
  task<result<void>> finish_rotation(std::string old_password, std::string new_password);
  // Takes the sealed token out of that row, and the oldest rows away.
  task<result<void>> forget_sealed(std::string sealed_row);

  // Other authorities and service account keys (ca_rotation.h), by one write: `given` by K3s's names. Answers what was
  // forced; refresh() takes it over, here as anywhere.
  task<result<std::vector<std::string>>> rotate_authorities(std::string password, crypto::bootstrap_files given,
                                                            bool force);

  // A record that another server changed: its files replace this server's. Answers which did (K3s's names).
  task<result<std::vector<std::string>>> refresh(std::string password);

  // The key whose changes refresh() is for.
  static std::string key_of(std::string_view password) { return crypto::bootstrap_key(password); }

 private:
  task<result<std::string>> present_password(std::string password);
  task<result<void>> adopt(store::object_ref record, std::string password, bool compare);
  task<result<std::optional<store::object_ref>>> find_or_hold(std::string key);
  task<result<void>> adopt_older_form(const store::snapshot& s, const std::string& password);

  const config& settings_;
  store::store& store_;
  bool shared_;
  std::optional<store::revision> held_;  // the empty record of this server's making
  bool token_made_ = false;              // no token was given or known: this is a first server
  bool token_outdated_ = false;
};

// That a token was rotated.
struct rotation {
  std::string by;  // the server that was asked to
  wall_time at{};
  std::optional<std::string> password;  // the new one, where it could be opened
};
inline constexpr std::string_view rotation_prefix = "/kedge/token/";
// How a token is called where all may read: the end of its record's key.
std::string token_id(std::string_view password);
std::string rotation_key(std::string_view password);
// Whether the token with that password was rotated; what is sealed is opened, by it or by the key (PEM) of the clients'
// CA. Some milliseconds when there is anything.
std::optional<rotation> rotation_of(const store::snapshot& s, std::string_view password, std::string_view ca_key);
rotation read_rotation(std::string_view row, std::string_view password, std::string_view ca_key);
// For the log: "the cluster's token was rotated at … by the server at …".
std::string text_of(const rotation& r);

// The password that this server is to use, when one is given or was recorded. `given`: whether --token counts.
result<std::optional<std::string>> known_password(const config& c, bool given = true);

// What stands on this server's disk, by K3s's names. Blocking.
result<crypto::bootstrap_files> read_bootstrap_files(const std::string& server_dir);
// Writes `files`, with their times; names of those that changed. `compare`: refuses to replace one that is newer by
// more than K3s's 3 s. Blocking.
result<std::vector<std::string>> write_bootstrap_files(const std::string& server_dir,
                                                       const crypto::bootstrap_files& files, bool compare);

}  // namespace kedge::supervisor
