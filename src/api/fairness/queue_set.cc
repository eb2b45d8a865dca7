#include "api/fairness/queue_set.h"

#include <limits>

#include "api/fairness/limits.h"
#include "api/fairness/shuffle.h"
#include "base/assert.h"

namespace kedge::api::fairness {

void queue_set::configure(time_point now, const settings& s, unsigned limit) {
  advance(now);
  settings_ = s;
  limit_ = limit;
  while (queues_.size() < s.queues) queues_.push_back(std::make_unique<queue>());
  drop_surplus();
  dispatch(now);
}

void queue_set::set_elsewhere(time_point now, unsigned seats) {
  advance(now);
  elsewhere_ = seats;
  dispatch(now);
}

queue_set::verdict queue_set::start(time_point now, ticket t, const work& w, std::uint64_t hash) {
  advance(now);
  request r{
      .cost = w, .arrival = progress_, .total = seats_for(w.seats, service_time) + seats_for(w.final_seats, w.after)};
  if (settings_.queues == 0) {
    if (!has_room_for(w.max_seats())) return verdict::no_seat;
    run(now, requests_.emplace(t, r).first->second);
    return verdict::runs;
  }
  auto& q = choose(hash);
  if (seats_in_use_ + elsewhere_ >= limit_ && q.waiting.size() >= settings_.queue_length) return verdict::queue_full;
  const bool was_active = q.active();
  if (!was_active) q.next_dispatch = progress_;
  r.in = &q;
  requests_.emplace(t, r);
  q.waiting.push_back(t);
  q.seats_waiting += w.max_seats();
  q.work_waiting += r.total;
  ++waiting_;
  seats_waiting_ += w.max_seats();
  changed(q, was_active);
  not_before_arrival(q);
  dispatch(now);
  if (requests_.at(t).what == request::state::waits) return verdict::waits;
  std::erase(dispatched_, t);
  return verdict::runs;
}

bool queue_set::cancel(time_point now, ticket t) {
  advance(now);
  auto it = requests_.find(t);
  if (it == requests_.end() || it->second.what != request::state::waits) return false;
  auto r = it->second;
  auto& q = *r.in;
  std::erase(q.waiting, t);
  q.seats_waiting -= r.cost.max_seats();
  q.work_waiting -= r.total;
  --waiting_;
  seats_waiting_ -= r.cost.max_seats();
  requests_.erase(it);
  changed(q, true);
  not_before_arrival(q);
  drop_surplus();
  dispatch(now);  // it may have been too wide for those behind it
  return true;
}

duration queue_set::finish(time_point now, ticket t) {
  advance(now);
  auto it = requests_.find(t);
  kedge_assert(it != requests_.end() && it->second.what == request::state::runs);
  auto& r = it->second;
  --running_;
  if (auto q = r.in) {
    --q->running;
    // It counted as service_time: now it is known.
    q->next_dispatch -= seats_for(r.cost.seats, duration(service_time) - (now - r.began));
    not_before_arrival(*q);
    changed(*q, true);
  }
  r.what = request::state::lingers;
  if (r.cost.after > duration(0)) {
    const auto after = r.cost.after;
    dispatch(now);
    return after;
  }
  free_seats_of(t);
  dispatch(now);
  return duration(0);
}

void queue_set::release(time_point now, ticket t) {
  advance(now);
  free_seats_of(t);
  dispatch(now);
}

void queue_set::free_seats_of(ticket t) {
  auto it = requests_.find(t);
  kedge_assert(it != requests_.end() && it->second.what == request::state::lingers);
  auto seats = it->second.cost.max_seats();
  seats_in_use_ -= seats;
  if (auto q = it->second.in) q->seats_in_use -= seats;
  requests_.erase(it);
  drop_surplus();
}

// To be called before anything changes: the rate was the same since the last time.
void queue_set::advance(time_point now) {
  if (now <= at_) return;
  if (active_ > 0) {
    const auto wanted = std::min<double>(seats_in_use_ + seats_waiting_, limit_);
    progress_ += seats_for(wanted / static_cast<double>(active_), now - at_);
  }
  at_ = now;
}

bool queue_set::has_room_for(unsigned seats) const noexcept {
  if (seats > limit_) return seats_in_use_ + elsewhere_ == 0;
  return seats_in_use_ + elsewhere_ + seats <= limit_;
}

// Of the flow's hand the queue with the least work waiting; where they are alike, another one each time.
queue_set::queue& queue_set::choose(std::uint64_t hash) {
  hand dealt(hash, settings_.queues, settings_.hand_size);
  auto cards = dealt.cards();
  auto offset = starts_++ % cards.size();
  queue* best = nullptr;
  for (std::size_t i = 0; i < cards.size(); ++i) {
    auto& q = *queues_[cards[(offset + i) % cards.size()]];
    if (!best || q.work_waiting < best->work_waiting) best = &q;
  }
  return *best;
}

void queue_set::dispatch(time_point now) {
  while (waiting_ > 0 && seats_in_use_ + elsewhere_ < limit_ && dispatch_one(now)) continue;
}

// From the queue whose first request ends first in the virtual world, if that has room; round robin among equals.
bool queue_set::dispatch_one(time_point now) {
  constexpr auto never = std::numeric_limits<seat_time>::max();
  auto first = never;
  std::size_t best = 0;
  dispatch_state seen{.progress = progress_, .earliest = never, .latest = -never};
  for (std::size_t n = 0, i = robin_; n < queues_.size(); ++n) {
    i = (i + 1) % queues_.size();
    auto& q = *queues_[i];
    if (q.waiting.empty()) continue;
    seen.earliest = std::min(seen.earliest, q.next_dispatch);
    seen.latest = std::max(seen.latest, q.next_dispatch);
    auto finish = q.next_dispatch + requests_.at(q.waiting.front()).total;
    if (finish < first) {
      first = finish;
      best = i;
    }
  }
  auto& q = *queues_[best];
  auto t = q.waiting.front();
  auto& r = requests_.at(t);
  if (!has_room_for(r.cost.max_seats())) {
    ++not_accommodated_;
    return false;
  }
  robin_ = best;
  seen.start = q.next_dispatch;
  last_dispatch_ = seen;
  q.waiting.pop_front();
  q.seats_waiting -= r.cost.max_seats();
  q.work_waiting -= r.total;
  --waiting_;
  seats_waiting_ -= r.cost.max_seats();
  // What is wider than the level takes as many seats as there are, for longer.
  if (r.cost.final_seats > limit_ && limit_ > 0) {
    r.cost.after =
        duration(static_cast<std::int64_t>(static_cast<double>(r.cost.after.count()) * r.cost.final_seats / limit_));
    r.cost.final_seats = limit_;
  }
  run(now, r);
  q.next_dispatch += r.total;
  not_before_arrival(q);
  dispatched_.push_back(t);
  return true;
}

void queue_set::run(time_point now, request& r) {
  r.what = request::state::runs;
  r.began = now;
  ++running_;
  seats_in_use_ += r.cost.max_seats();
  if (r.in) {
    ++r.in->running;
    r.in->seats_in_use += r.cost.max_seats();
  }
}

// A queue that can't use all that it is entitled to gathers no claims on the future: nothing begins before it came.
void queue_set::not_before_arrival(queue& q) {
  if (!q.waiting.empty()) q.next_dispatch = std::max(q.next_dispatch, requests_.at(q.waiting.front()).arrival);
}

void queue_set::changed(queue& q, bool was_active) {
  if (q.active() == was_active) return;
  was_active ? --active_ : ++active_;
}

// Queues beyond the wanted number, from the end: those in between keep their places in everybody's hand.
void queue_set::drop_surplus() {
  while (queues_.size() > settings_.queues && !queues_.back()->active() && queues_.back()->seats_in_use == 0)
    queues_.pop_back();
  if (robin_ >= queues_.size()) robin_ = 0;
}

std::vector<queue_set::queue_state> queue_set::queues() const {
  std::vector<queue_state> out;
  for (auto& q : queues_) {
    unsigned initial = 0;
    for (auto t : q->waiting) initial += requests_.at(t).cost.seats;
    out.push_back({{q->waiting.begin(), q->waiting.end()},
                   q->running,
                   q->seats_in_use,
                   initial,
                   q->seats_waiting,
                   q->next_dispatch,
                   q->work_waiting});
  }
  return out;
}

}  // namespace kedge::api::fairness
