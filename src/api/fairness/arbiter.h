// arbiter.h: who runs and who waits, when the seats that a core holds don't suffice.
//
//   core ── lease: seats of a level that it gives to its requests without a word to anybody
//     │ none left: ask(ticket, work, flow)
//     ▼
//   arbiter (one loop) ── free seats, nobody waits ─▶ they become the core's lease, and the request runs on it
//                      └─ else: leases are recalled, and this request and all that come are queued here, fairly
//                      (queue_set)
//                         until nobody waits
//
// So a request costs a core nothing but a count while there are seats, and the queues are exact when there are none:
// one set for the whole server, whatever core a client came to. Invariant, for each level: leased seats + seats of
// requests that run by the queues <= limit (but for queue_set's exception, and while a limit was lowered under them).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/fairness/config.h"
#include "api/fairness/demand.h"
#include "api/fairness/retry_after.h"
#include "reactor/sync.h"

namespace kedge::api::fairness {

using ticket = queue_set::ticket;

// What a core is told of a request that it asked for.
struct answer {
  enum class kind : unsigned char {
    leased,      // it runs on the core's lease, which has grown by `lease`
    runs,        // it runs on seats of the arbiter's: finished() gives them back
    queue_full,  // refused
    no_seat,     // refused: this level has no queues
  } what;
  unsigned lease = 0;
  int retry_after = 1;
};

// One core as the arbiter sees it. Called on the arbiter's loop: an implementation hands it on to its own.
class core_face {
 public:
  virtual ~core_face() = default;
  virtual void use(std::shared_ptr<const configuration> c,
                   const std::vector<unsigned>& request_max) = 0;  // request_max by level
  virtual void tell(const std::string& level, ticket t, answer a) = 0;
  virtual void tell_waits(ticket t) = 0;
  // Gives back what of the lease isn't in use now, and the rest as it is left.
  virtual void recall(std::string level) = 0;
  // Demand of each level since the last time, to arbiter::demand().
  virtual void ask_demand() = 0;
};

// What of a level is to be seen from outside: metrics, dumps.
struct level_state {
  std::string name;
  bool quiescing = false;
  level_limits limits;
  demand wants;
  unsigned current = 0;
  double target = 0;
  unsigned leased = 0, seats_in_use = 0;
  std::size_t waiting = 0, running = 0;
  std::uint64_t refused = 0, cancelled = 0, timed_out = 0, not_accommodated = 0;
  std::vector<queue_set::queue_state> queues;
  queue_set::dispatch_state last_dispatch;
  seat_time progress = 0;
};

// Used on one loop. Without I/O but for its timers.
class arbiter {
 public:
  // `seats`: of the whole server. `cores` outlive it. `shared`: called when seats have been shared out.
  arbiter(std::vector<core_face*> cores, unsigned seats, std::function<void(const arbiter&)> shared);

  // New objects; also tells all cores.
  void configure(std::shared_ptr<const configuration> c);
  // Tells a core that has come what holds now.
  void greet(std::size_t core);

  void ask(std::size_t core, const std::string& level, ticket t, const work& w, std::uint64_t hash);
  // The client has gone, or waited too long.
  void cancel(const std::string& level, ticket t, bool too_late);
  void finished(const std::string& level, ticket t);
  void returned(std::size_t core, const std::string& level, unsigned seats);
  void demand_of(std::size_t core, const std::map<std::string, demand_sum>& by_level);

  // Shares seats out anew from period to period, until dropped.
  task<void> keep();

  std::vector<level_state> state() const;
  double fair_fraction() const noexcept { return fair_fraction_; }

 private:
  struct level {
    priority_level spec;
    level_limits limits;
    demand wants;
    demand_sum period;
    unsigned current = 0;
    double target = 0;
    bool wanted = true;
    queue_set queues;
    std::vector<unsigned> leased;  // by core
    bool recalled = false;
    std::map<ticket, std::size_t> asked;  // core of each request in the queues
    retry_after refusals;
    std::uint64_t refused = 0, cancelled = 0, timed_out = 0;
    unsigned all_leased() const noexcept;
  };
  level* find(const std::string& name);
  void recall(level& l);
  void leases_changed(level& l);
  void dispatched(level& l);
  void refuse(level& l, std::size_t core, ticket t, answer::kind why);
  void share();
  void apply_limits(level& l);
  void reap();

  std::vector<core_face*> cores_;
  unsigned seats_;
  std::function<void(const arbiter&)> shared_;
  std::shared_ptr<const configuration> configuration_;
  std::vector<unsigned> request_max_;  // by level of that
  std::map<std::string, level> levels_;
  double fair_fraction_ = 0;
  std::size_t demands_missing_ = 0;
  bool somebody_waits_ = false;
  time_point shared_at_{};
  reactor::event changed_;
  reactor::scope lingering_;
};

}  // namespace kedge::api::fairness
