// work_queue.h: names of things to look at, each at most once at a time.
//
// A key added while it waits is one; a key added while it is worked on is worked on once more afterwards. Failures come
// back later and later (client-go's rate limiter: 5 ms doubling to 1,000 s). One core; bounded by the number of
// distinct keys, which are names of objects that exist.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "control/queue_metrics.h"
#include "reactor/sync.h"

namespace kedge::control {

class work_queue {
 public:
  void add(const std::string& key);
  void add_at(const std::string& key, time_point when);  // the earlier of several times counts
  void add_after(const std::string& key, duration d) { add_at(key, reactor::loop::current().now() + d); }

  // The next key, which is then being worked on until done() or retry().
  task<std::string> next();
  std::optional<std::string> take();  // the same without waiting
  void done(const std::string& key);  // forgets its failures
  // Done, and again after its backoff, or `least` where that is longer.
  void retry(const std::string& key, duration least = {});
  std::size_t size() const noexcept { return ready_.size() + later_.size(); }
  // Counts what goes on from now on; before the first key.
  void measure(std::unique_ptr<queue_metrics> m) { measures_ = std::move(m); }

 private:
  struct alarm final : reactor::timer {
    explicit alarm(work_queue& q) : timer(reactor::loop::current()), queue(q) {}
    void fired() override { queue.wake_due(); }
    work_queue& queue;
  };
  void wake_due();
  void arm();

  struct ready_key {
    std::string key;
    time_point since;
  };
  void ended(const std::string& key);

  std::deque<ready_key> ready_;
  std::set<std::string> waiting_;              // what is in ready_
  std::map<std::string, time_point> working_;  // and since when
  std::set<std::string> again_;                // added while worked on
  std::multimap<time_point, std::string> due_;
  std::unordered_map<std::string, std::multimap<time_point, std::string>::iterator> later_;
  std::unordered_map<std::string, unsigned> failures_;
  reactor::event changed_;
  std::unique_ptr<alarm> alarm_;
  std::unique_ptr<queue_metrics> measures_;  // null: nobody asks
};

}  // namespace kedge::control
