// open.h: from a log to a store.
#pragma once

#include <functional>
#include <optional>

#include "datastore/log.h"
#include "reactor/cores.h"
#include "store/index.h"
#include "store/limits.h"
#include "store/store.h"

namespace kedge::store {

// Makes the canonical JSON of a stored value that isn't JSON (kube-apiserver's protobuf); errors leave the row
// untouched and out of the store. Called on the owner core.
using value_decoder = std::function<result<std::string>(std::string_view key, std::string_view raw)>;

// The canonical JSON of a stored JSON value of an older API version; nullopt where there is nothing to do. Called on
// the owner core for everything that is read.
using value_upgrade = std::function<std::optional<std::string>(std::string_view key, std::string_view text)>;

// A value as it is to be stored, and what must still stand when it lands: what says that its key is the one to write
// with.
struct sealed_value {
  std::string stored;
  std::vector<guard> guards;
};

// Encryption at rest. On the owner core.
struct value_transform {
  // Nullopt: it is stored as it is. `now` is the newest state that this server has; when one of the guards fails the
  // value is sealed again, by a newer state.
  std::function<result<std::optional<sealed_value>>(std::string_view key, std::string_view plain, const snapshot& now)>
      seal;
  // Called for stored values that begin with "k8s:enc:".
  std::function<result<std::string>(std::string_view key, std::string_view stored)> open;
  // Called for each value outside of /registry/ as it comes, in the log's order: keys may come there.
  std::function<void(std::string_view key, std::string_view stored)> seen;
  // Rows of keys with this prefix hold what `open` needs: older versions of them are kept, and shown to `seen` at the
  // start, while there is a value that it can't open. Empty: there are none.
  std::string keys_prefix;
};

struct store_options {
  std::unique_ptr<datastore::log> log;
  std::vector<reactor::loop*> loops;  // every core that uses the store; the first owns it
  value_decoder decode = {};
  value_upgrade upgrade = {};
  value_transform transform = {};
  std::vector<index> indexes = {};  // what snapshots can be asked for by value
  // How much of a key names its resource ("/registry/pods/"): the past is kept by resource. Unset: resource_size() in
  // history.h.
  std::function<std::size_t(std::string_view key)> resource_size = {};
  // Of recent events and the versions that they replaced, beside what exists.
  std::size_t history_bytes = history_bytes_default;
  // Whether this server removes what has expired and compacts: with a shared database only the leader does. Unset:
  // always.
  std::function<bool()> leads = {};
  // Called once, on the owner core, when the database turns out to have another history than what was served from it:
  // the store has stopped, and all that can be done is to start anew.
  std::function<void(const error& why)> on_lost_history = {};
  std::chrono::nanoseconds history = history_age;
  std::chrono::nanoseconds compaction = compaction_interval;
  // Where it is noted how far the database's history was seen (seen.h); empty: nowhere. A database that has less is
  // refused with errc::corrupt, unless that is accepted: then revisions go on far above, and whoever holds an older one
  // lists again.
  std::string seen_file = {};
  bool accept_data_loss = false;
  // Which cluster a state is of; empty when it doesn't say yet.
  std::function<std::string(const snapshot&)> cluster_of = {};
  // How long callers wait to learn what became of a write without an answer.
  std::chrono::nanoseconds outcome_wait = unknown_outcome_wait;
};

std::vector<reactor::loop*> loops_of(reactor::cores& c);

// Loads everything; on the first of the loops. The store must be closed (close()) before it is dropped, on that loop,
// after the last of its users and watchers.
task<result<std::unique_ptr<store>>> open_store(store_options options);

// Of a store that open_store() gave, on its first loop: what its database takes, as last looked at; nullopt where it
// doesn't tell.
std::optional<datastore::space> occupied(const store& s);
// There too: forgets the history now, but for the newest revisions, which are always kept, and gives the space back.
task<result<void>> compact(store& s);

}  // namespace kedge::store
