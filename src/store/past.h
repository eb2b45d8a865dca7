// past.h: what was, read from the log: for watches that start before the history in memory, and states of lists that
// began then.
//
// On the owner core. Work and memory are bounded: the log gives a stretch at a time, few readers hold one at once, and
// the stretches that were read last are kept for a while, for whoever starts near them (all watches of a server that
// was restarted).
#pragma once

#include <deque>

#include "datastore/log.h"
#include "store/hub.h"
#include "store/limits.h"
#include "store/stored_values.h"

namespace kedge::store {

// What the log's entries become. All must outlive the reader.
struct past_source {
  datastore::log& log;
  const stored_values& values;  // what can't be read counts as absent
  std::function<std::size_t(std::string_view key)> resource_size;
  // What found an object before or after a change (event::found_by).
  std::function<std::vector<std::uint64_t>(const object* before, const object* after)> found_by;
};

// The versions that stood at a revision of those keys of a prefix that were changed in (after, at]; null: there was
// none.
struct undone {
  std::vector<std::pair<std::string, object_ref>> versions;
  revision at = 0;
};

class past_reader {
 public:
  explicit past_reader(past_source source) : source_(std::move(source)) {}

  // Events of the prefix behind `after`, up to the stretch's `at`, which is more than that; earlier ones may be among
  // them. `newest`: everything up to there has been applied. errc::expired: compacted.
  task<result<stretch_ref>> events(std::string prefix, revision after, revision newest);
  // What the changes in (after, upto] replaced of the state at `state`, or in a part of that.
  task<result<undone>> undo(std::string prefix, revision state, revision after, revision upto);

 private:
  struct kept_stretch {
    std::string prefix;
    revision after;
    time_point read;
    stretch_ref what;
  };
  stretch_ref kept(std::string_view prefix, revision after);
  task<result<stretch_ref>> read(std::string prefix, revision after, revision upto);
  object_ref object_of(const datastore::past_change& c, bool replaced) const;
  event_ref event_of(const datastore::past_change& c) const;

  past_source source_;
  std::deque<kept_stretch> kept_;
  reactor::semaphore readers_{past_readers_max};
};

}  // namespace kedge::store
