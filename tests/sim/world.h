// world.h: a simulated world from one seed: clock, randomness, network, blocking work and processes. The code under
// test is the real one; only the bottom of its loops is replaced.
//
//   world ── virtual time, one event queue, one random source
//     └─ host ── one loop at a time (start, crash, restart), an address, a loopback, socket files, a clock that may be
//     wrong
//          └─ streams and listeners ── delay, bounded windows, resets, partitions
//
// Everything runs on the calling thread: the world gives one host a turn at a time, chosen by the seed, and moves the
// time to the next thing that happens when no host has work. So a seed replays exactly; a failing scenario prints it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "reactor/stream.h"
#include "reactor/sync.h"

namespace kedge::sim {

struct faults {
  duration delay_min = std::chrono::microseconds(50);
  duration delay_max = std::chrono::milliseconds(2);
  double reset_probability = 0;   // of each chunk sent: the connection dies instead of carrying it
  double refuse_probability = 0;  // of each connect
  duration offload_max = std::chrono::milliseconds(5);
};

class world;
class sim_stream;
class sim_listener;

class host final : public reactor::network {
 public:
  host(world& w, std::string name, std::string address);
  ~host() override;

  const std::string& name() const noexcept { return name_; }
  const std::string& address() const noexcept { return address_; }
  bool running() const noexcept { return loop_ != nullptr; }
  reactor::loop& loop() noexcept { return *loop_; }

  // Boots: a new loop, on which `main` runs (again after each restart).
  void start(std::function<task<void>(host&)> main);
  // The power goes: every task is dropped at once, its peers see their connections reset after the network's delay.
  void crash();
  void restart();
  // Its processes stand still, as after SIGSTOP or a machine that swaps: no turn, no work, while time passes and bytes
  // arrive.
  void pause();
  void resume();
  bool paused() const noexcept { return paused_; }
  // Moves this host's wall clock (not its monotonic one).
  void jump_clock(duration by) noexcept { clock_offset_ += by; }
  duration clock_offset() const noexcept { return clock_offset_; }

  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override;
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint& at,
                                                    const reactor::listen_options& o = {}) override;

 private:
  friend class world;
  friend class sim_backend;
  friend class sim_stream;
  friend class sim_listener;
  world& world_;
  std::string name_, address_;
  std::unique_ptr<reactor::loop> loop_;
  std::function<task<void>(host&)> main_;
  sim_listener* listener_for(const reactor::endpoint& to) const;
  std::uint16_t ephemeral_port() noexcept;
  std::map<std::string, sim_listener*, std::less<>> listeners_;  // by endpoint
  std::set<sim_stream*> streams_;
  std::uint16_t next_port_ = 0;
  std::uint64_t boots_ = 0;
  duration clock_offset_{0};
  bool paused_ = false;
  std::vector<std::function<void()>> waiting_work_;  // given to the pool before it stood still
};

class world {
 public:
  explicit world(std::uint64_t seed, faults f = {});
  ~world();

  std::uint64_t seed() const noexcept { return seed_; }
  sim::faults faults;

  time_point now() const noexcept { return now_; }
  random_source& random() noexcept { return random_; }
  duration between(duration least, duration most);  // uniform
  bool chance(double probability);

  host& add_host(std::string name);  // 10.0.0.1, 10.0.0.2 …
  // No bytes pass between the two while cut; connections stay, what is sent waits.
  void cut(host& a, host& b);
  void heal(host& a, host& b);
  void heal_all();
  bool cut_off(const host& a, const host& b) const { return is_cut(a, b); }

  // Runs `f` at that time, outside of every host.
  void at(time_point when, std::function<void()> f);
  void after(duration d, std::function<void()> f) { at(now_ + d, std::move(f)); }
  // Runs the world until `done` holds; false when `limit` of simulated time passed before that.
  bool run_until(const std::function<bool()>& done, duration limit);
  // How many turns and occurrences there have been: a seed's moments, to stop at any of them.
  std::uint64_t steps() const noexcept { return steps_; }
  void run_for(duration d) {
    run_until([] { return false; }, d);
  }

  // Lines for a person who reads a failing seed; printed by the scenario on failure.
  void trace(std::string line);
  std::string trace_text() const;

 private:
  friend class host;
  friend class sim_backend;
  friend class sim_stream;
  friend class sim_listener;
  struct occurrence {
    time_point when;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const occurrence& o) const { return when != o.when ? when > o.when : order > o.order; }
  };
  bool is_cut(const host& a, const host& b) const;
  host* find(const std::string& address);
  bool step(time_point limit);
  void wake(host& h);

  std::uint64_t seed_;
  seeded_random random_;
  time_point now_{std::chrono::hours(1)};
  std::uint64_t order_ = 0, steps_ = 0;
  std::priority_queue<occurrence> occurrences_;
  std::vector<std::unique_ptr<host>> hosts_;
  std::set<std::pair<const host*, const host*>> cuts_;
  std::vector<std::string> trace_;
};

// The seeds a scenario runs with: KEDGE_SIM_SEED alone when set (replay), else `count` from 1.
std::vector<std::uint64_t> seeds(std::size_t count);

}  // namespace kedge::sim
