#include "api/fairness/arbiter.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "api/fairness/limits.h"

namespace kedge::api::fairness {
namespace {
time_point now() { return reactor::loop::current().now(); }
}  // namespace

unsigned arbiter::level::all_leased() const noexcept { return std::accumulate(leased.begin(), leased.end(), 0u); }

arbiter::arbiter(std::vector<core_face*> cores, unsigned seats, std::function<void(const arbiter&)> shared)
    : cores_(std::move(cores)), seats_(seats), shared_(std::move(shared)), shared_at_(now()) {}

void arbiter::configure(std::shared_ptr<const configuration> c) {
  configuration_ = std::move(c);
  for (auto& [name, l] : levels_) l.wanted = false;
  for (auto& spec : configuration_->levels) {
    auto [it, fresh] = levels_.try_emplace(spec.name);
    auto& l = it->second;
    l.spec = spec;
    l.wanted = true;
    l.leased.resize(cores_.size());
  }
  reap();
  // Levels that are left only for those who still wait there count like the others.
  double shares = 0;
  for (auto& [name, l] : levels_) shares += l.spec.shares;
  for (auto& [name, l] : levels_) {
    const bool fresh = l.limits.nominal == 0 && l.limits.highest == 0;
    l.limits =
        limits_of(l.spec.shares, shares, seats_, l.spec.exempt, l.spec.lendable_percent, l.spec.borrowing_percent);
    if (fresh) l.current = l.limits.nominal - (l.limits.nominal - l.limits.lowest) / 2;
  }
  request_max_.clear();
  for (auto& spec : configuration_->levels) {
    auto nominal = levels_.at(spec.name).limits.nominal;
    auto most = request_seats_max;
    // A request that takes a great part of its level keeps all others waiting until so many seats are free at once.
    if (spec.queues.queues > 0)
      most = std::min(most, std::max(1u, std::min(static_cast<unsigned>(std::ceil(nominal * request_part_max)),
                                                  nominal / spec.queues.hand_size)));
    request_max_.push_back(most);
  }
  for (auto* core : cores_) core->use(configuration_, request_max_);
  share();
}

void arbiter::greet(std::size_t core) {
  if (configuration_) cores_[core]->use(configuration_, request_max_);
}

arbiter::level* arbiter::find(const std::string& name) {
  auto it = levels_.find(name);
  return it == levels_.end() ? nullptr : &it->second;
}

void arbiter::ask(std::size_t core, const std::string& name, ticket t, const work& w, std::uint64_t hash) {
  auto* l = find(name);
  if (!l)
    return cores_[core]->tell(name, t, {.what = answer::kind::no_seat});  // gone while the question was on its way
  const auto wanted = w.max_seats();
  const auto free = l->queues.free_seats();
  if (l->queues.waiting() == 0 && free >= wanted) {
    l->recalled = false;
    // What is left is shared with those who haven't asked yet.
    auto lease = wanted + (free - wanted) / (lease_part * static_cast<unsigned>(cores_.size()));
    l->leased[core] += lease;
    leases_changed(*l);
    return cores_[core]->tell(name, t, {.what = answer::kind::leased, .lease = lease});
  }
  recall(*l);
  switch (l->queues.start(now(), t, w, hash)) {
    case queue_set::verdict::runs:
      l->asked[t] = core;
      cores_[core]->tell(name, t, {.what = answer::kind::runs});
      break;
    case queue_set::verdict::waits:
      l->asked[t] = core;
      somebody_waits_ = true;
      changed_.pulse();
      cores_[core]->tell_waits(t);
      break;
    case queue_set::verdict::queue_full: refuse(*l, core, t, answer::kind::queue_full); break;
    case queue_set::verdict::no_seat: refuse(*l, core, t, answer::kind::no_seat); break;
  }
  dispatched(*l);
}

void arbiter::refuse(level& l, std::size_t core, ticket t, answer::kind why) {
  ++l.refused;
  cores_[core]->tell(l.spec.name, t, {.what = why, .retry_after = l.refusals.refuse(now())});
}

void arbiter::cancel(const std::string& name, ticket t, bool too_late) {
  auto* l = find(name);
  if (!l) return;
  if (!l->queues.cancel(now(), t)) return finished(name, t);  // the news that it runs crossed this
  l->asked.erase(t);
  ++(too_late ? l->timed_out : l->cancelled);
  if (too_late) {
    ++l->refused;
    (void)l->refusals.refuse(now());
  }
  dispatched(*l);
  reap();
}

void arbiter::finished(const std::string& name, ticket t) {
  auto* l = find(name);
  if (!l || l->asked.erase(t) == 0) return;
  // Its seats are taken for a while yet.
  if (auto after = l->queues.finish(now(), t); after > duration(0)) {
    lingering_.spawn([](arbiter& self, std::string level_name, ticket one, duration d) -> task<void> {
      co_await reactor::sleep_for(d);
      if (auto* there = self.find(level_name)) {
        there->queues.release(now(), one);
        self.dispatched(*there);
        self.reap();
      }
    }(*this, name, t, after));
  }
  dispatched(*l);
  reap();
}

void arbiter::returned(std::size_t core, const std::string& name, unsigned seats) {
  auto* l = find(name);
  if (!l) return;
  l->leased[core] -= std::min(l->leased[core], seats);
  leases_changed(*l);
  dispatched(*l);
  reap();
}

void arbiter::recall(level& l) {
  if (std::exchange(l.recalled, true)) return;
  for (std::size_t i = 0; i < cores_.size(); ++i)
    if (l.leased[i] > 0) cores_[i]->recall(l.spec.name);
}

void arbiter::leases_changed(level& l) { l.queues.set_elsewhere(now(), l.all_leased()); }

void arbiter::dispatched(level& l) {
  for (auto t : l.queues.take_dispatched())
    if (auto it = l.asked.find(t); it != l.asked.end())
      cores_[it->second]->tell(l.spec.name, t, {.what = answer::kind::runs});
}

// Levels that nobody wants any more and nobody uses.
void arbiter::reap() {
  std::erase_if(levels_, [](auto& entry) {
    return !entry.second.wanted && entry.second.queues.idle() && entry.second.all_leased() == 0;
  });
}

void arbiter::share() {
  std::vector<level_share> shares;
  for (auto& [name, l] : levels_) shares.push_back({.limits = l.limits, .wants = l.wants});
  fair_fraction_ = share_out(shares);
  std::size_t i = 0;
  for (auto& [name, l] : levels_) {
    l.current = shares[i].gets;
    l.target = shares[i].target;
    ++i;
    apply_limits(l);
  }
  shared_at_ = now();
  if (shared_) shared_(*this);
}

void arbiter::apply_limits(level& l) {
  l.queues.configure(now(), l.spec.queues, l.current);
  // Who holds more than there is now, or of what is to go, gives it back.
  if (!l.wanted || l.all_leased() > l.current) recall(l);
  dispatched(l);
}

void arbiter::demand_of(std::size_t, const std::map<std::string, demand_sum>& by_level) {
  for (auto& [name, sum] : by_level)
    if (auto* l = find(name)) l->period += sum;
  if (demands_missing_ == 0 || --demands_missing_ > 0) return;
  for (auto& [name, l] : levels_) l.wants.update(std::exchange(l.period, {}));
  share();
  changed_.pulse();
}

task<void> arbiter::keep() {
  for (;;) {
    const auto due = shared_at_ + borrow_period;
    while (now() < due && !(somebody_waits_ && now() >= shared_at_ + borrow_pause))
      co_await changed_.wait_until(somebody_waits_ ? shared_at_ + borrow_pause : due);
    somebody_waits_ = false;
    demands_missing_ = cores_.size();
    for (auto* core : cores_) core->ask_demand();
    // A core that is stuck is not waited for longer than a period.
    const auto until = now() + borrow_period;
    while (demands_missing_ > 0 && now() < until) co_await changed_.wait_until(until);
    shared_at_ = now();
  }
}

std::vector<level_state> arbiter::state() const {
  std::vector<level_state> out;
  for (auto& [name, l] : levels_)
    out.push_back({.name = name,
                   .quiescing = !l.wanted,
                   .limits = l.limits,
                   .wants = l.wants,
                   .current = l.current,
                   .target = l.target,
                   .leased = l.all_leased(),
                   .seats_in_use = l.queues.seats_in_use(),
                   .waiting = l.queues.waiting(),
                   .running = l.queues.running(),
                   .refused = l.refused,
                   .cancelled = l.cancelled,
                   .timed_out = l.timed_out,
                   .not_accommodated = l.queues.not_accommodated(),
                   .queues = l.queues.queues(),
                   .last_dispatch = l.queues.last_dispatch(),
                   .progress = l.queues.progress()});
  return out;
}

}  // namespace kedge::api::fairness
