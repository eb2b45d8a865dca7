// gate.h: one core's door: a request gets a seat of its priority level here, at once, after a wait, or not at all.
//
//   flow f = gate.classify(attributes)      which FlowSchema and level; for the answer's headers, too
//   auto s = gate.try_enter(f, work)        nearly always; else
//   auto s = co_await gate.enter(f, work, …)
//   … the request runs, and gives its seat back when `s` ends
//
// Whose client doesn't read gives it back before, when others wait: his answer goes on without (make_room).
//
// Used on its core's loop alone; what it says to the arbiter, and hears, goes by messages.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "api/fairness/arbiter.h"
#include "api/fairness/match.h"
#include "api/metrics/metrics.h"
#include "reactor/cores.h"

namespace kedge::api::fairness {

class gate;
class watched_exchange;

// One level on this core, and what metrics tell of it by schema.
struct place;
struct series;
struct core_tables;

// What a request belongs to. Keeps what its views lie in.
struct flow {
  std::shared_ptr<const core_tables> tables;
  const flow_schema* schema = nullptr;
  const priority_level* level = nullptr;
  place* at = nullptr;
  series* counts = nullptr;
  unsigned seats_max = 1;  // of one request of this level
};

// A place to run. Gives itself back at its end.
class seat : reactor::list_hook {
 public:
  seat() noexcept = default;
  seat(seat&& other) noexcept;
  seat& operator=(seat&& other) noexcept;
  ~seat() { leave(); }
  explicit operator bool() const noexcept { return gate_ != nullptr; }
  void leave() noexcept;
  // The answer that it is for, which outlives it.
  void is_for(watched_exchange& answer) noexcept { answer_ = &answer; }

 private:
  friend class gate;
  friend class reactor::list<seat>;
  gate* gate_ = nullptr;
  const flow* of_ = nullptr;
  const attributes* who_ = nullptr;
  watched_exchange* answer_ = nullptr;
  bool given_back_ = false;  // among those that nobody reads
  ticket ticket_ = 0;        // 0: on the core's lease
  work cost_;
  time_point began_{};
};

class gate {
 public:
  // `to_arbiter` runs a function on the arbiter's loop, in the order of the calls. All outlive the gate.
  gate(std::size_t core, std::function<void(std::move_only_function<void(arbiter&)>)> to_arbiter, metrics& m);
  gate(const gate&) = delete;
  ~gate();

  flow classify(const attributes& a);
  // A seat, unless the level has none left for this core. `f` and `a` live as long as the seat.
  std::optional<seat> try_enter(const flow& f, const work& w, const attributes& a);
  struct refusal {
    int retry_after;
  };
  // Waits for a seat, until `until` at the latest. Dropping it leaves the queue.
  task<std::expected<seat, refusal>> enter(const flow& f, work w, const attributes& a, time_point until);

  // Watches on this core, of all resources, and of the one that is asked for.
  std::size_t watches() const noexcept { return all_watches_; }
  std::size_t watches(const attributes& of) const;

  // What dump_requests tells of each request.
  struct request_state {
    std::string level, schema, distinguisher;
    ticket id;
    bool waits;
    time_point arrived, began;
    work cost;
    attributes who;
  };
  std::vector<request_state> requests();
  std::map<std::string, std::uint64_t> dispatched() const;  // by level
  std::size_t core() const noexcept { return core_; }
  void to_arbiter(std::move_only_function<void(arbiter&)> f) { to_arbiter_(std::move(f)); }

  // --- what the arbiter says, on this core
  void use(std::shared_ptr<const configuration> c, std::vector<unsigned> request_max);
  void told(const std::string& level, ticket t, answer a);
  void told_to_wait(ticket t);
  void recalled(const std::string& level);
  std::map<std::string, demand_sum> take_demand();

 private:
  friend class seat;
  struct waiting;
  seat take(const flow& f, const work& w, const attributes& a, ticket t);
  void leave(seat& s) noexcept;
  void freed(place& p, series& counts, unsigned seats, bool elsewhere);
  void give_back(place& p);
  // Takes the seats of answers that nobody reads for those who wait; keep_room does so until nobody waits any more.
  void make_room(place& p);
  void keep_room(place& p);
  seat& longest_of_the_most();  // of answers that nobody reads, of the user's with the most of them
  void demand_changed(place& p);
  series& series_of(const std::string& level, const std::string& schema);

  std::size_t core_;
  std::function<void(std::move_only_function<void(arbiter&)>)> to_arbiter_;
  metrics& metrics_;
  std::shared_ptr<const core_tables> tables_;
  std::unique_ptr<matcher> matcher_;
  std::map<std::string, std::unique_ptr<place>> places_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<series>> series_;
  std::unordered_map<ticket, waiting*> waiting_;
  reactor::list<seat> seated_, unread_;
  std::size_t unread_count_ = 0;
  friend class watch_count;
  std::unordered_map<std::string, std::size_t>
      watches_;  // by group and resource; names of those that are or were served
  std::size_t all_watches_ = 0;
  ticket next_ticket_;
  reactor::scope lingering_;
};

// Counts a watch while it lives. Nothing without a gate.
class watch_count {
 public:
  watch_count(gate* g, const attributes& of);
  watch_count(const watch_count&) = delete;
  ~watch_count();

 private:
  gate* gate_;
  std::size_t* of_resource_ = nullptr;
};

}  // namespace kedge::api::fairness
