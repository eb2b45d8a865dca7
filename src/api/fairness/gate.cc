#include "api/fairness/gate.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/fairness/limits.h"
#include "api/fairness/unread.h"
#include "base/strings.h"
#include "reactor/sync.h"

namespace kedge::api::fairness {

struct place {
  std::string name;
  bool exempt = false;
  bool open = false;         // the lease may be used without asking
  bool room_kept = false;    // somebody looks after answers that nobody reads
  unsigned leased = 0;       // seats of the lease
  unsigned in_use = 0;       // of these
  unsigned elsewhere = 0;    // seats of requests of this core that run by the queues
  unsigned waiting = 0;      // seats that requests of this core wait for
  std::size_t requests = 0;  // that run or wait
  int retry_after = 1;       // as the arbiter said last
  demand_integral demand;
};

// What metrics tell of a level and a schema, as far as this core has to do with it.
struct series {
  metric_cell *dispatched, *running, *seats, *waiting, *seats_waiting, *refused_full, *refused_limit, *refused_late;
  histogram *ran, *watched, *waited, *waited_in_vain, *wide;
};

struct core_tables {
  std::shared_ptr<const configuration> config;
  struct level {
    place* at;
    unsigned request_max;
  };
  std::vector<level> levels;    // as config->levels
  std::vector<series*> counts;  // as config->schemas
};

namespace {

time_point now() { return reactor::loop::current().now(); }
double seconds(duration d) { return std::chrono::duration<double>(d).count(); }

constexpr double duration_bounds[] = {0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30};
constexpr double width_bounds[] = {1, 2, 4, 8, 16, 32, 64, 100};

}  // namespace

// ---- seats

seat::seat(seat&& other) noexcept { *this = std::move(other); }

seat& seat::operator=(seat&& other) noexcept {
  if (this == &other) return *this;
  leave();
  if (!other.gate_) return *this;
  kedge_assert(!other.given_back_);
  gate_ = std::exchange(other.gate_, nullptr);
  answer_ = other.answer_;
  of_ = other.of_;
  who_ = other.who_;
  ticket_ = other.ticket_;
  cost_ = other.cost_;
  began_ = other.began_;
  other.unlink();
  gate_->seated_.push_back(*this);
  return *this;
}

void seat::leave() noexcept {
  if (!gate_) return;
  unlink();
  auto& of = *std::exchange(gate_, nullptr);
  if (given_back_)
    --of.unread_count_;
  else
    of.leave(*this);
}

// ---- the gate

gate::gate(std::size_t core, std::function<void(std::move_only_function<void(arbiter&)>)> to_arbiter, metrics& m)
    : core_(core),
      to_arbiter_(std::move(to_arbiter)),
      metrics_(m),
      next_ticket_((static_cast<ticket>(core) << 48) + 1) {
  // Until the arbiter has read the objects: what is there always.
  use(std::make_shared<const configuration>(configuration::make({}, {})), {});
}

gate::~gate() = default;

flow gate::classify(const attributes& a) {
  auto& schema = matcher_->match(a);
  auto& t = *tables_;
  auto& level = t.levels[schema.level];
  return {.tables = tables_,
          .schema = &schema,
          .level = &t.config->levels[schema.level],
          .at = level.at,
          .counts = t.counts[static_cast<std::size_t>(&schema - t.config->schemas.data())],
          .seats_max = level.request_max};
}

void gate::demand_changed(place& p) { p.demand.set(now(), p.in_use + p.elsewhere + p.waiting); }

seat gate::take(const flow& f, const work& w, const attributes& a, ticket t) {
  auto& p = *f.at;
  (t == 0 ? p.in_use : p.elsewhere) += w.max_seats();
  ++p.requests;
  demand_changed(p);
  f.counts->dispatched->count();
  f.counts->running->count();
  f.counts->seats->count(w.max_seats());
  seat s;
  s.gate_ = this;
  s.of_ = &f;
  s.who_ = &a;
  s.ticket_ = t;
  s.cost_ = w;
  s.began_ = now();
  seated_.push_back(s);
  return s;
}

std::optional<seat> gate::try_enter(const flow& f, const work& w, const attributes& a) {
  auto& p = *f.at;
  if (!p.exempt && !(p.open && p.in_use + w.max_seats() <= p.leased)) return std::nullopt;
  f.counts->wide->observe_own(w.max_seats());
  if (!p.exempt) f.counts->waited->observe_own(0);
  return take(f, w, a, 0);
}

struct gate::waiting {
  gate& at;
  const flow& of;
  const attributes& who;
  const ticket id;
  const work cost;
  const time_point since = now();
  reactor::event done;
  std::optional<answer> said;
  bool queued = false, late = false, settled = false;

  waiting(gate& g, const flow& f, const attributes& a, ticket t, const work& w) : at(g), of(f), who(a), id(t), cost(w) {
    of.at->waiting += cost.max_seats();
    ++of.at->requests;
    at.demand_changed(*of.at);
    at.waiting_.emplace(id, this);
  }
  void is_queued() {
    queued = true;
    of.counts->waiting->count();
    of.counts->seats_waiting->count(cost.max_seats());
  }
  // Whatever ends the wait: the queue is left, and what was granted meanwhile given back.
  ~waiting() {
    at.waiting_.erase(id);
    of.at->waiting -= cost.max_seats();
    --of.at->requests;
    at.demand_changed(*of.at);
    if (queued) {
      of.counts->waiting->count(-1);
      of.counts->seats_waiting->count(-static_cast<std::int64_t>(cost.max_seats()));
    }
    if (settled) return;
    if (!said)
      at.to_arbiter_([level = of.at->name, t = id, too_late = late](arbiter& to) { to.cancel(level, t, too_late); });
    else if (said->what == answer::kind::runs)
      at.to_arbiter_([level = of.at->name, t = id](arbiter& to) { to.finished(level, t); });
  }
};

task<std::expected<seat, gate::refusal>> gate::enter(const flow& f, work w, const attributes& a, time_point until) {
  auto& counts = *f.counts;
  counts.wide->observe_own(w.max_seats());
  std::optional<waiting> me(std::in_place, *this, f, a, next_ticket_++, w);
  keep_room(*f.at);
  to_arbiter_([core = core_, level = f.at->name, t = me->id, w,
               hash = hash_of(f.schema->name, distinguisher_of(*f.schema, a))](arbiter& to) {
    to.ask(core, level, t, w, hash);
  });
  me->late = !co_await me->done.wait_until(until);
  const auto said = me->said;
  const auto t = me->id;
  const auto waited = seconds(now() - me->since);
  me->settled = said.has_value();
  me.reset();
  if (said && (said->what == answer::kind::leased || said->what == answer::kind::runs)) {
    counts.waited->observe_own(waited);
    co_return take(f, w, a, said->what == answer::kind::runs ? t : 0);
  }
  counts.waited_in_vain->observe_own(waited);
  if (said) f.at->retry_after = said->retry_after;
  (!said                                    ? counts.refused_late
   : said->what == answer::kind::queue_full ? counts.refused_full
                                            : counts.refused_limit)
      ->count();
  co_return std::unexpected(refusal{f.at->retry_after});
}

void gate::leave(seat& s) noexcept {
  auto& p = *s.of_->at;
  auto& counts = *s.of_->counts;
  const auto seats = s.cost_.max_seats();
  counts.running->count(-1);
  (s.who_->verb == "watch" ? counts.watched : counts.ran)->observe_own(seconds(now() - s.began_));
  if (s.ticket_ != 0) {
    freed(p, counts, seats, true);
    to_arbiter_([level = p.name, t = s.ticket_](arbiter& to) { to.finished(level, t); });
  } else if (s.cost_.after == duration(0)) {
    freed(p, counts, seats, false);
  } else {
    // What its watchers make of it goes on for a while.
    lingering_.spawn([](gate& g, place& at, series& c, unsigned n, duration d) -> task<void> {
      co_await reactor::sleep_for(d);
      g.freed(at, c, n, false);
    }(*this, p, counts, seats, s.cost_.after));
  }
}

void gate::make_room(place& p) {
  const auto since = now() - unread_patience;
  seated_.for_each([&](seat& s) {
    if (s.of_->at != &p || !s.answer_ || s.answer_->unread_since().value_or(time_point::max()) > since) return;
    s.unlink();
    s.given_back_ = true;
    unread_.push_back(s);
    ++unread_count_;
    leave(s);
  });
  for (; unread_count_ > unread_answers_max; --unread_count_) {
    auto& longest = longest_of_the_most();
    longest.unlink();
    longest.gate_ = nullptr;
    longest.answer_->abort();
  }
}

seat& gate::longest_of_the_most() {
  std::unordered_map<std::string_view, std::size_t> of_user;
  unread_.for_each([&](seat& s) { ++of_user[s.who_->user->name]; });
  const auto most = std::ranges::max_element(of_user, {}, [](auto& e) { return e.second; })->first;
  seat* found = nullptr;
  unread_.for_each([&](seat& s) {
    if (!found && s.who_->user->name == most) found = &s;
  });
  return *found;
}

void gate::keep_room(place& p) {
  if (p.exempt || std::exchange(p.room_kept, true)) return;
  lingering_.spawn([](gate& g, place& at) -> task<void> {
    // Seats of a lease that is open are had without waiting.
    while (at.waiting > 0 || !at.open) {
      g.make_room(at);
      if (at.requests == 0) break;
      co_await reactor::sleep_for(unread_period);
    }
    at.room_kept = false;
  }(*this, p));
}

void gate::freed(place& p, series& counts, unsigned seats, bool elsewhere) {
  (elsewhere ? p.elsewhere : p.in_use) -= seats;
  --p.requests;
  demand_changed(p);
  counts.seats->count(-static_cast<std::int64_t>(seats));
  if (!elsewhere && !p.open) give_back(p);
}

void gate::give_back(place& p) {
  if (p.exempt || p.leased <= p.in_use) return;
  const auto seats = p.leased - p.in_use;
  p.leased -= seats;
  to_arbiter_([core = core_, level = p.name, seats](arbiter& to) { to.returned(core, level, seats); });
}

// ---- what the arbiter says

void gate::use(std::shared_ptr<const configuration> c, std::vector<unsigned> request_max) {
  auto fresh = std::make_shared<core_tables>();
  fresh->config = std::move(c);
  for (std::size_t i = 0; i < fresh->config->levels.size(); ++i) {
    auto& level = fresh->config->levels[i];
    auto& p = places_[level.name];
    if (!p) p = std::make_unique<place>(place{.name = level.name, .demand = demand_integral(now())});
    p->exempt = level.exempt;
    fresh->levels.push_back({p.get(), i < request_max.size() ? request_max[i] : 1});
  }
  for (auto& s : fresh->config->schemas)
    fresh->counts.push_back(&series_of(fresh->config->levels[s.level].name, s.name));
  // Places of levels that are gone and that nobody uses; what runs or waits is counted in its place.
  std::erase_if(places_, [&](auto& entry) {
    auto* p = entry.second.get();
    return p->requests == 0 && p->leased == 0 && !p->room_kept &&
           std::ranges::none_of(fresh->levels, [&](auto& l) { return l.at == p; });
  });
  matcher_ = std::make_unique<matcher>(*fresh->config);
  tables_ = std::move(fresh);
}

void gate::told(const std::string& level, ticket t, answer a) {
  if (a.what == answer::kind::leased) {
    auto p = places_.find(level);
    if (p == places_.end())
      return to_arbiter_([core = core_, level, n = a.lease](arbiter& to) { to.returned(core, level, n); });
    p->second->leased += a.lease;
    p->second->open = true;
  }
  // Who has gone meanwhile has told the arbiter so, which then knows of what it gave.
  auto it = waiting_.find(t);
  if (it == waiting_.end()) return;
  it->second->said = a;
  it->second->done.set();
}

void gate::told_to_wait(ticket t) {
  if (auto it = waiting_.find(t); it != waiting_.end() && !it->second->said) it->second->is_queued();
}

void gate::recalled(const std::string& level) {
  auto p = places_.find(level);
  if (p == places_.end()) return;
  p->second->open = false;
  give_back(*p->second);
  keep_room(*p->second);
}

std::map<std::string, demand_sum> gate::take_demand() {
  std::map<std::string, demand_sum> out;
  for (auto& [name, p] : places_) out.emplace(name, p->demand.take(now()));
  return out;
}

// ---- watches, dumps, metrics

namespace {
std::string resource_of(const attributes& a) { return a.api_group + '/' + a.resource; }
}  // namespace

std::size_t gate::watches(const attributes& of) const {
  auto it = watches_.find(resource_of(of));
  return it == watches_.end() ? 0 : it->second;
}

watch_count::watch_count(gate* g, const attributes& of) : gate_(g) {
  if (!gate_) return;
  of_resource_ = &gate_->watches_[resource_of(of)];
  ++*of_resource_;
  ++gate_->all_watches_;
}

watch_count::~watch_count() {
  if (!gate_) return;
  --*of_resource_;
  --gate_->all_watches_;
}

std::vector<gate::request_state> gate::requests() {
  std::vector<request_state> out;
  auto add = [&](const flow& f, const attributes& a, ticket id, bool waits, time_point arrived, time_point began,
                 const work& w) {
    out.push_back({.level = f.level->name,
                   .schema = f.schema->name,
                   .distinguisher = std::string(distinguisher_of(*f.schema, a)),
                   .id = id,
                   .waits = waits,
                   .arrived = arrived,
                   .began = began,
                   .cost = w,
                   .who = a});
  };
  for (auto& [id, w] : waiting_) add(w->of, w->who, id, true, w->since, {}, w->cost);
  seated_.for_each([&](seat& s) { add(*s.of_, *s.who_, s.ticket_, false, s.began_, s.began_, s.cost_); });
  return out;
}

std::map<std::string, std::uint64_t> gate::dispatched() const {
  std::map<std::string, std::uint64_t> out;
  for (auto& [key, s] : series_) out[key.first] += static_cast<std::uint64_t>(s->dispatched->value());
  return out;
}

series& gate::series_of(const std::string& level, const std::string& schema) {
  auto key = std::pair(level, schema);
  if (auto it = series_.find(key); it != series_.end()) return *it->second;
  // Names come and go: those beyond the bound are counted together.
  if (series_.size() >= series_max) key = {"other", "other"};
  auto& s = series_[key];
  if (s) return *s;
  const auto labels = fmt::format("flow_schema={},priority_level={}", quote(key.second), quote(key.first));
  const auto with = [&](std::string_view more) { return fmt::format("{},{}", labels, more); };
  auto counter = [&](std::string_view name, std::string_view help, const std::string& l) {
    return &metrics_.counter(name, help, l, core_ + 1);
  };
  auto gauge = [&](std::string_view name, std::string_view help) {
    return &metrics_.gauge(name, help, labels, core_ + 1);
  };
  auto histogram_of = [&](std::string_view name, std::string_view help, const std::string& l,
                          std::span<const double> bounds) {
    return &metrics_.observations(name, help, l, bounds, core_ + 1);
  };
  constexpr std::string_view rejected = "apiserver_flowcontrol_rejected_requests_total";
  constexpr std::string_view rejected_help = "Number of requests rejected by API Priority and Fairness subsystem";
  constexpr std::string_view ran = "apiserver_flowcontrol_request_execution_seconds";
  constexpr std::string_view ran_help =
      "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority "
      "and Fairness subsystem";
  constexpr std::string_view waited = "apiserver_flowcontrol_request_wait_duration_seconds";
  constexpr std::string_view waited_help = "Length of time a request spent waiting in its queue";
  s = std::make_unique<series>(series{
      .dispatched = counter("apiserver_flowcontrol_dispatched_requests_total",
                            "Number of requests executed by API Priority and Fairness subsystem", labels),
      .running = gauge("apiserver_flowcontrol_current_executing_requests",
                       "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the "
                       "API Priority and Fairness subsystem"),
      .seats = gauge("apiserver_flowcontrol_current_executing_seats",
                     "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, "
                     "any stage otherwise) requests in the API "
                     "Priority and Fairness subsystem"),
      .waiting = gauge("apiserver_flowcontrol_current_inqueue_requests",
                       "Number of requests currently pending in queues of the API Priority and Fairness subsystem"),
      .seats_waiting = gauge("apiserver_flowcontrol_current_inqueue_seats",
                             "Number of seats currently pending in queues of the API Priority and Fairness subsystem"),
      .refused_full = counter(rejected, rejected_help, with("reason=\"queue-full\"")),
      .refused_limit = counter(rejected, rejected_help, with("reason=\"concurrency-limit\"")),
      .refused_late = counter(rejected, rejected_help, with("reason=\"time-out\"")),
      .ran = histogram_of(ran, ran_help, with("type=\"regular\""), duration_bounds),
      .watched = histogram_of(ran, ran_help, with("type=\"watch\""), duration_bounds),
      .waited = histogram_of(waited, waited_help, fmt::format("execute=\"true\",{}", labels), duration_bounds),
      .waited_in_vain = histogram_of(waited, waited_help, fmt::format("execute=\"false\",{}", labels), duration_bounds),
      .wide = histogram_of("apiserver_flowcontrol_work_estimated_seats",
                           "Number of estimated seats (maximum of initial and final seats) associated with requests in "
                           "API Priority and Fairness",
                           labels, width_bounds)});
  return *s;
}

}  // namespace kedge::api::fairness
