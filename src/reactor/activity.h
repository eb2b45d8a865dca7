// activity.h: what a loop works on, for who asks why a turn took so long.
//
// A request or a controller's key is an activity from its begin() to its end(). What waits meanwhile (a `waiter`)
// remembers it, so that a loop knows at each resumption for whom it runs. It costs a request two stores and no
// allocation: only a long turn asks for names.
#pragma once

#include <string>

#include "reactor/list.h"

namespace kedge::reactor {

// Used on one loop. Ended by its destructor at the latest.
class activity : list_hook {
 public:
  activity() noexcept = default;
  activity(const activity&) = delete;
  activity& operator=(const activity&) = delete;

  // What runs on this loop from now on, up to the next wait, and after it again, is this.
  void begin() noexcept;
  void end() noexcept;

  // The one that runs now; null: nobody's.
  static const activity* running() noexcept { return running_; }

 protected:
  ~activity() { end(); }
  // For the log: `PATCH /api/v1/pods/a of 10.0.0.1:4000`. What clients sent is to be quoted.
  virtual std::string describe() const = 0;

 private:
  friend class loop;
  friend class turn_meter;
  friend class scope;
  friend class list<activity>;
  const activity* outer_ = nullptr;
  static inline constinit thread_local const activity* running_ = nullptr;
};

// An activity with a name, from here to the end of the block.
class named_activity final : public activity {
 public:
  explicit named_activity(std::string name) : name_(std::move(name)) { begin(); }
  ~named_activity() { end(); }

 private:
  std::string describe() const override { return name_; }
  std::string name_;
};

}  // namespace kedge::reactor
