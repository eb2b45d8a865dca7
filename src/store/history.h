// history.h: the recent events, for watches to start from and to undo.
//
// Kept by resource: what is too much is taken from the resource that has the most, so a flood in one can't expire
// another's, and a resource that is quiet keeps its events for the whole time. Older ones are in the log.
#pragma once

#include <deque>
#include <functional>
#include <unordered_map>

#include "base/strings.h"
#include "base/time.h"
#include "store/store.h"

namespace kedge::store {

// Events kept in memory, for watches to start from and for states of the past: kube-apiserver's watch cache promises
// 75 s. Under load the bytes win, of the resource that has the most; what is older is read from the log.
inline constexpr std::chrono::seconds history_in_memory{90};

struct history_limits {
  duration states;    // how long states of the past are given
  duration age;       // older events go
  std::size_t bytes;  // of events, and of versions that exist nowhere else
};

// How much of a key names its resource: "/registry/pods/", or with the group where there is one
// ("/registry/example.com/gizmos/").
std::size_t resource_size(std::string_view key) noexcept;

class history {
 public:
  explicit history(history_limits limits) noexcept : limits_(limits) {}

  // What came up to `floor` is not here.
  void start(revision floor) noexcept { base_ = floor; }
  // In the order of their revisions.
  void add(const event_ref& e);
  // After a batch, and from time to time: forgets what is too old or too much. `newest`: the revision that stands at
  // `now`.
  void trim(time_point now, revision newest);

  // The newest revision of those whose states are no longer given, whatever of it is still here.
  revision expired() const noexcept { return expired_; }
  // The newest one whose events are too old to be kept.
  revision forgotten() const noexcept { return forgotten_; }

  // Events of keys with this prefix up to there are not all here.
  revision floor(std::string_view prefix) const noexcept;
  // Visits the events in (after, upto] whose keys begin with `prefix`, oldest (newest) first, until `visit` gives
  // false.
  using visitor = std::function<bool(const event_ref&)>;
  void forwards(std::string_view prefix, revision after, revision upto, const visitor& visit) const;
  void backwards(std::string_view prefix, revision after, revision upto, const visitor& visit) const;
  // Null when it isn't here.
  event_ref find(std::string_view key, revision at) const;

  std::size_t bytes() const noexcept { return bytes_; }
  // Bytes of all versions that were ever replaced, since the start.
  std::uint64_t replaced_bytes() const noexcept { return replaced_; }
  static std::size_t size_of(const event& e) noexcept;

 private:
  struct of_resource {
    std::deque<event_ref> events;
    revision floor = 0;
    std::size_t bytes = 0;
  };
  struct cursor;
  std::vector<cursor> cursors(std::string_view prefix, revision after, revision upto) const;
  void drop_oldest(of_resource& r);
  void drop_old(std::size_t at_most);

  history_limits limits_;
  std::unordered_map<std::string, of_resource, string_hash, std::equal_to<>> resources_;
  revision base_ = 0;
  std::size_t bytes_ = 0;
  std::uint64_t replaced_ = 0;
  struct mark {
    time_point when;
    revision newest;
  };
  std::deque<mark> marks_;  // about one a second
  std::size_t old_ = 0;     // of them, how many are of what is too old to be kept
  revision forgotten_ = 0, expired_ = 0;
  bool dropping_ = false;  // more than one call may drop are
};

}  // namespace kedge::store
