// seen.h: what a server has seen of its database's history, noted beside its own data. A database that was restored, or
// taken over from by a standby, may have less: revisions that were given out would be given a second time, and nobody
// who holds one would be told. So who starts looks first whether the database still has what it has seen (facts 2.7).
//
// One line of JSON, replaced at once (crypto/files.h):
// {"cluster":"<uid>","revision":285,"entry":{"revision":284,"digest":"…"},"lost":true}
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "datastore/log.h"
#include "store/store.h"

namespace kedge::store {

// A change, as far as it takes to tell it from another one under the same revision.
struct seen_entry {
  revision at = 0;
  std::uint64_t digest = 0;
  friend bool operator==(const seen_entry&, const seen_entry&) = default;
};
seen_entry look_at(revision at, datastore::change kind, std::string_view key, std::string_view stored);

struct seen_history {
  std::string cluster;  // whose it was; empty: not known yet
  revision at = 0;      // everything up to here was served
  seen_entry newest;    // the newest change below that
  bool lost = false;    // the server ended because the database had lost what it had seen
  friend bool operator==(const seen_history&, const seen_history&) = default;
};
std::string write_seen(const seen_history& seen);
// errc::corrupt for anything else.
result<seen_history> parse_seen(std::string_view text);

// What a start finds.
struct found_history {
  std::string cluster;
  revision at = 0, compacted = 0;
  std::optional<seen_entry> entry;  // the change at seen_history::newest.at, when it is there
  revision told = 0;                // up to where another server says that it had seen what was lost
};
// Why `found` can't be what was seen, in words; empty when it can. What was compacted since can't be compared, and
// needn't be: whoever holds a revision of before is told to list again. Before the log has begun only an empty
// database, or another cluster's, is one.
std::string missing_of(const seen_history& seen, const found_history& found, bool begun);

}  // namespace kedge::store
