// watching.h: WATCH. One small object and one small coroutine frame an idle watch; frames are shared (encode.h).
#pragma once

#include "api/metrics/request_metrics.h"
#include "api/read/listing.h"

namespace kedge::api {

namespace custom {
class tables;
}

// What a running watch keeps.
struct watch_state {
  // A custom resource: kept, and looked up again, for the watch ends when it is no longer served as it was.
  std::shared_ptr<const custom::definition> kept;
  custom::tables* tables = nullptr;
  const served* what = nullptr;
  bool converts = false;  // some of its objects by webhook, perhaps
  std::unique_ptr<store::watcher> source;
  std::unique_ptr<selection> which;  // null: everything
  view as;
  store::revision from = 0;  // events up to this one are known to the client
  time_point ends{}, next_bookmark{};
  bool bookmarks = false;
  bool columns_sent = false;  // Tables: the first frame only carries the column definitions
  watch_counts counts = {};
};

struct watch_start {
  std::unique_ptr<watch_state> state;
  store::snapshot initial;  // what to send first
  search where;
  bool send_initial = false, end_mark = false;
  std::string refused;  // text of an ERROR event (410) instead of everything
};
// Opens the watch. 400, 422, 504.
task<api_result<watch_start>> open_watch(store::store& s, const authorized& target, list_options options,
                                         selection which, view as, custom::tables* tables = nullptr);

// An accepted watch on its way to its stream. `head` and all of `start` but its state are given back once they are
// sent.
struct prepared_watch {
  net::http::response head;
  watch_start start;
};

// Sends the head, and what there is to begin with. False when nothing may follow, not even the stream's end. `w`
// outlives both.
task<bool> begin_watch(net::http::exchange& e, prepared_watch& w);
// Then what happens, until the end.
task<void> follow_watch(net::http::exchange& e, prepared_watch& w);

}  // namespace kedge::api
