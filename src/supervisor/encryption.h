// encryption.h: Secrets encrypted at rest (--secrets-encryption), in K3s's files, with its stages and its answers.
//
//   cred/encryption-config.json   EncryptionConfiguration: keys, the first writes; `identity` first: disabled
//   cred/encryption-state.json    <stage>-<SHA-256 of the configuration>
//   both in the bootstrap record ─▶ every server takes them over as soon as the record changes (K3s's after a restart)
//
//   start ─ prepare: a new key, last ─ rotate: it writes ─ reencrypt: all Secrets written anew, old keys go ─
//   reencrypt_finished
//
// A key writes only after every living server has told (server_endpoints) that it knows it. A server that slept through
// that finds the record in the log before the first value under the new key.
//
// No key is dropped under a value that is still on its way: each is sealed with what the record says, and lands only
// while that record, and the row that names the writing key, are the ones it was sealed by. From the moment that
// another key writes, nothing lands under the one before, so that writing everything anew leaves none behind: whatever
// slept, was cut off or has another token meanwhile.
//
// On the store's owner core, make() and read() before the store is there.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "crypto/at_rest.h"
#include "json/value.h"
#include "store/open.h"
#include "supervisor/bootstrap_data.h"
#include "supervisor/cluster_lock.h"

namespace kedge::supervisor {

// The keys of an EncryptionConfiguration as K3s writes it, in their order.
struct key_ring {
  struct key {
    crypto::cipher kind;
    std::string name, secret;  // secret: base64, as in the file
    friend bool operator==(const key&, const key&) = default;
  };
  std::vector<key> keys;
  bool enabled = false;  // the first key writes; else values are written as they are

  static result<key_ring> parse(std::string_view config);
  std::string write() const;
  // Tells which key writes from others, and nothing of its secret.
  std::string writer() const;
};

class encryption {
 public:
  explicit encryption(const config& c) : settings_(c) {}

  // The files as they stand; true when they are others than before. Blocking.
  result<bool> read();
  // The same while the server runs.
  task<result<void>> reload();
  // With --secrets-encryption and no file yet: a first key. Blocking.
  result<void> make(random_source& random);

  // For store_options. `password`: the bootstrap record's.
  store::value_transform transform(std::function<std::string()> password);

  // What this server says of itself to the others; empty without a configuration.
  const std::string& hash() const noexcept { return hash_; }
  bool changing() const noexcept { return changing_; }

  struct parts {
    store::store& objects;
    bootstrap_data& record;
    cluster_lock& lock;
    std::function<std::string()> password;
    // The hashes of the other servers that live, by their address.
    std::function<std::vector<std::pair<std::string, std::string>>()> others;
  };
  void serve(parts p) { parts_.emplace(std::move(p)); }
  // GET /v1-k3s/encrypt/status.
  json::value status() const;
  // PUT /v1-k3s/encrypt/config: {"stage":…,"enable":…,"force":…,"skip":…}. Writing everything anew goes on after the
  // answer.
  task<result<void>> change(json::value request);
  void stop() noexcept { work_.cancel(); }

 private:
  struct texts {
    std::string config, hash;  // both empty: there is no configuration
  };
  // An EncryptionConfiguration, and the version of the record that it is of.
  struct recorded {
    std::string key;
    store::revision at = 0;
    crypto::encryption_config rules;
    std::string writer;
  };
  static result<texts> read_files(const std::string& folder);
  result<void> use(std::string config, std::string hash);
  result<store::sealed_value> seal(std::string_view key, std::string_view plain, const store::snapshot& now,
                                   std::string_view password);
  task<result<void>> apply(key_ring ring, std::string stage);
  task<result<void>> tell_writer(std::string writer);
  task<result<void>> wait_for_others();
  task<result<void>> work(json::value request);
  task<result<void>> reencrypt(bool keep_old, std::string end_stage);
  void begin_reencryption(bool keep_old, std::string end_stage);
  task<void> give_back();
  std::string path(const char* name) const { return settings_.server_dir() + "/cred/" + name; }
  key_ring::key new_key(bool first) const;

  const config& settings_;
  std::string config_text_, hash_, stage_, last_record_;
  key_ring ring_;
  crypto::encryption_config rules_;
  recorded standing_;  // of the record that stands, as far as this server has read: values are sealed with it
  crypto::encryption_config passed_;  // of a record that came through the log: for reading only
  std::optional<parts> parts_;
  bool changing_ = false;  // from the request to the end of what it began
  bool running_ = false;   // Secrets are being written anew
  reactor::scope work_;
};

}  // namespace kedge::supervisor
