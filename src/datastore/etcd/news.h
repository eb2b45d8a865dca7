// news.h: what the watch of an etcd log has brought, kept for those who follow it: the newest entries without one
// missing between, bounded in bytes.
#pragma once

#include <deque>

#include "datastore/etcd/connection.h"
#include "datastore/log.h"

namespace kedge::datastore::etcd {

// Whether a key is the cluster's, or another's who uses the same etcd.
bool is_ours(std::string_view key);
entry to_entry(const key_value& kv);
entry to_entry(watch_event&& e);

class news {
 public:
  // From there on; nothing is kept.
  void begin(revision at);
  // The next piece; what is known already is passed over.
  void take(event_stream::piece p);
  // Entries up to there have been given to who follows: they are dropped when there are too many.
  void given(revision at);

  revision from() const noexcept { return from_; }  // everything above is here
  revision upto() const noexcept { return upto_; }  // up to there
  bool full() const noexcept;
  // Of the entries above `after` a page: whole revisions.
  page read(revision after) const;
  // All in (after, upto].
  std::vector<entry> between(revision after, revision upto) const;

  // What stands at `upto()`, to know it again: 0 where that isn't known.
  std::size_t mark() const noexcept { return mark_; }
  static std::size_t mark_of(const std::vector<watch_event>& events, revision at);

 private:
  void trim();

  std::deque<entry> entries_;
  std::size_t bytes_ = 0, mark_ = 0;
  revision from_ = 0, upto_ = 0, given_ = 0;
};

}  // namespace kedge::datastore::etcd
