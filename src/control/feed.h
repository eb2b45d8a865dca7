// feed.h: the store's events as controllers hear them: one stream for all controllers of a loop.
//
//   start: everything that exists, as added ─▶ synced ─▶ each change, in the order of revisions ─▶ those who follow its
//   resource
//
// Until it is synced, a change may be given before or after the version that the start found; what comes last is the
// newest. A callback only names keys, or notes what the change itself says; it never looks at other objects, because it
// runs for each of a hundred thousand. What it needs of the object is parsed once for all who ask.
//
// The stream has no gaps. Where one would be (the history went past it, or the loop was too slow), run() ends: whoever
// derived something from the events starts anew without it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/view.h"
#include "reactor/sync.h"

namespace kedge::control {

// One change. Lives for the callback.
class seen {
 public:
  // `previous` is null for what is new, or was there before the start.
  seen(store::event_type type, const store::object_ref& object, const store::object_ref& previous,
       std::string_view prefix)
      : type_(type), object_(object), previous_(previous), name_(name_under(prefix, object->key())) {}

  bool added() const noexcept { return type_ == store::event_type::added; }
  bool modified() const noexcept { return type_ == store::event_type::modified; }
  bool deleted() const noexcept { return type_ == store::event_type::deleted; }
  std::string_view key() const noexcept { return object_->key(); }
  // "default/web", or "node-1": the key under the prefix that is followed.
  std::string_view name() const noexcept { return name_; }
  // The new version; of what was deleted the last one.
  const store::object_ref& object() const noexcept { return object_; }
  const store::object_ref& previous() const noexcept { return previous_; }
  // Parsed; a null value when it can't be, or isn't there.
  const json::value& value() const { return parsed(object_, value_); }
  const json::value& value_before() const { return parsed(previous_, value_before_); }

 private:
  static const json::value& parsed(const store::object_ref& o, std::shared_ptr<const json::value>& into);
  store::event_type type_;
  const store::object_ref& object_;
  const store::object_ref& previous_;
  std::string_view name_;
  mutable std::shared_ptr<const json::value> value_, value_before_;
};

class feed {
 public:
  using callback = std::function<void(const seen&)>;

  explicit feed(store::store& s) noexcept : store_(s) {}
  // Before run(). `prefix` "/registry/" hears of everything.
  void follow(std::string prefix, callback each);
  // Set when everything that existed at the start has been seen.
  reactor::event& synced() noexcept { return synced_; }
  // Ends where the stream would have a gap, with the reason. Once.
  task<error> run();

 private:
  struct follower {
    std::string prefix;
    std::vector<callback> callbacks;
  };
  void give(store::event_type type, const store::object_ref& object, const store::object_ref& previous);
  std::vector<store::object_ref> piece_of(const follower& f, const std::string& start) const;
  task<result<void>> give_existing(store::watcher& changes);
  task<result<void>> give_next(store::watcher& changes);

  store::store& store_;
  std::vector<follower> followers_;  // fixed once it runs
  bool running_ = false;
  reactor::event synced_;
};

}  // namespace kedge::control
