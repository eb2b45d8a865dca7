// stored_values.h: from what a database holds to an object's text: decrypted, decoded, of today's version, in the
// canonical order.
//
// What can't be read is left as it is, told, and remembered: nobody may write over it.
#pragma once

#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/strings.h"
#include "store/open.h"

namespace kedge::store {

class stored_values {
 public:
  // `options` must outlive this.
  explicit stored_values(const store_options& options) noexcept : options_(options) {}

  static bool is_api_key(std::string_view key) noexcept { return key.starts_with("/registry/"); }
  static bool is_sealed(std::string_view stored) noexcept { return stored.starts_with("k8s:enc:"); }

  // The text; what lies outside of /registry/ is its own.
  result<std::string> plain(std::string_view key, std::string_view stored) const;
  // The same of the newest entry of its key, for the state: nullopt for a removal, and for what can't be read.
  std::optional<std::string> take(const datastore::entry& e);
  // Why the key's newest value can't be read; null when it can.
  const std::string* unreadable(std::string_view key) const noexcept;
  // How many there are, if more than were named.
  void tell_unreadable() const;
  void forget() noexcept;
  void forget_all_but(const std::unordered_set<std::string>& names);

  // The version of a row that held keys goes with compaction once a newer one stands: called for every change, in the
  // log's order or not. Up to where compaction may go: it takes no row with the key of a value that can't be opened
  // now.
  void note_keys(revision at, datastore::change kind, std::string_view key);
  revision compaction_bound() const noexcept;
  // Notes every change of rows with keys in (after, upto] that the log still has, in its order, and gives it to `visit`
  // (if any). Without one it takes its time, as compaction does.
  task<result<void>> read_key_rows(revision after, revision upto,
                                   std::function<void(const datastore::past_change&)> visit);
  // Whether each sealed value could be opened, and what to say when not.
  bool all_opened() const noexcept { return unopened_.empty(); }
  error unopened() const;

 private:
  void forget(std::string_view key);

  const store_options& options_;
  std::unordered_map<std::string, std::string, string_hash, std::equal_to<>> unreadable_;  // key → why
  std::set<std::string, std::less<>> unopened_;  // of these, the sealed ones: their keys are missing
  std::set<revision> key_changes_;               // where a row with keys replaced an older one, or was removed
};

}  // namespace kedge::store
