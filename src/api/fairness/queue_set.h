// queue_set.h: fair queueing of one priority level's requests. A state machine: time comes in, decisions come out.
//
//   start ─▶ a seat at once, if one is free and nobody waits in front
//         └▶ queue (the one with the least work of the flow's hand) ─▶ dispatched, in the order of virtual finish ─▶
//         finish ─▶ release └▶ refused: its queue is full
//
// Virtual time R is the seat time that each queue with requests has been entitled to since the start: it advances by
// min(seats asked for, seats) / (queues with requests). A queue knows the R at which its next request begins in the
// virtual world, where all queues are served at once, and the request that would end first there is dispatched first
// here. A request counts as service_time until its end tells better. (S. Nagle 1987, Demers et al. 1989, KEP-1040.)
//
// Invariant: seats in use never pass the limit, but for one request that is wider than the limit and runs alone, and
// while the limit was lowered under them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "api/fairness/work.h"

namespace kedge::api::fairness {

class queue_set {
 public:
  // Names a request for its user; unique among those that live.
  using ticket = std::uint64_t;

  struct settings {
    unsigned queues = 0;  // 0: nobody waits, who finds no seat is refused
    unsigned hand_size = 0, queue_length = 0;
    friend bool operator==(const settings&, const settings&) = default;
  };
  enum class verdict : unsigned char { runs, waits, queue_full, no_seat };

  // `limit`: seats of this level. Queues beyond those of new settings live until they are empty.
  void configure(time_point now, const settings& s, unsigned limit);
  // Seats that somebody else holds out of the same limit (leases).
  void set_elsewhere(time_point now, unsigned seats);

  // A request of a flow with that hash. `runs` and `waits` keep it; the others forget it.
  verdict start(time_point now, ticket t, const work& w, std::uint64_t hash);
  // One that waits goes without having run. False when it doesn't wait (any more).
  bool cancel(time_point now, ticket t);
  // One that runs has ended. Its seats are free now, or at release(), which is due after what this gives, if that isn't
  // 0.
  duration finish(time_point now, ticket t);
  void release(time_point now, ticket t);
  // Those that began to run since the last call, by any of the above but start() of their own, in their order.
  std::vector<ticket> take_dispatched() { return std::exchange(dispatched_, {}); }

  unsigned limit() const noexcept { return limit_; }
  unsigned seats_in_use() const noexcept { return seats_in_use_; }  // of this set's own requests
  unsigned seats_waiting() const noexcept { return seats_waiting_; }
  std::size_t waiting() const noexcept { return waiting_; }
  std::size_t running() const noexcept { return running_; }
  bool idle() const noexcept { return requests_.empty(); }
  unsigned free_seats() const noexcept {
    return limit_ > seats_in_use_ + elsewhere_ ? limit_ - seats_in_use_ - elsewhere_ : 0;
  }

  // For metrics and dumps.
  struct queue_state {
    std::vector<ticket> waiting;
    std::size_t running;
    unsigned seats_in_use, seats_waiting, max_seats_waiting;
    seat_time next_dispatch, work_waiting;
  };
  std::vector<queue_state> queues() const;
  seat_time progress() const noexcept { return progress_; }
  struct dispatch_state {
    seat_time progress = 0, start = 0, earliest = 0,
              latest = 0;  // R, and the S of the last dispatched and of those that waited
  };
  const dispatch_state& last_dispatch() const noexcept { return last_dispatch_; }
  std::uint64_t not_accommodated() const noexcept { return not_accommodated_; }

 private:
  struct queue;
  struct request {
    work cost;
    queue* in = nullptr;  // null without queues
    seat_time arrival = 0, total = 0;
    time_point began{};
    enum class state : unsigned char { waits, runs, lingers } what = state::waits;
  };
  struct queue {
    std::deque<ticket> waiting;
    std::size_t running = 0;
    unsigned seats_in_use = 0, seats_waiting = 0;  // by max_seats
    seat_time next_dispatch = 0, work_waiting = 0;
    bool active() const noexcept { return running > 0 || !waiting.empty(); }
  };

  void advance(time_point now);
  bool has_room_for(unsigned seats) const noexcept;
  queue& choose(std::uint64_t hash);
  void dispatch(time_point now);
  bool dispatch_one(time_point now);
  void run(time_point now, request& r);
  void free_seats_of(ticket t);
  void not_before_arrival(queue& q);
  void changed(queue& q, bool was_active);
  void drop_surplus();

  settings settings_;
  unsigned limit_ = 0, elsewhere_ = 0;
  std::deque<std::unique_ptr<queue>> queues_;
  std::unordered_map<ticket, request> requests_;
  std::vector<ticket> dispatched_;
  seat_time progress_ = 0;  // R
  time_point at_{};         // when that was so
  std::size_t robin_ = 0;   // the queue that was dispatched from last
  std::size_t starts_ = 0;
  std::size_t active_ = 0;  // queues with requests
  std::size_t waiting_ = 0, running_ = 0;
  unsigned seats_in_use_ = 0, seats_waiting_ = 0;
  dispatch_state last_dispatch_;
  std::uint64_t not_accommodated_ = 0;
};

}  // namespace kedge::api::fairness
