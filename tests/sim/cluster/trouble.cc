#include "trouble.h"

#include <filesystem>

namespace kedge::sim {

using namespace std::chrono_literals;

void trouble::begin(time_point until) {
  until_ = until;
  next();
}

// At most that long, and never beyond the end.
duration trouble::lasting(duration most) {
  auto left = until_ - cluster_.w.now();
  return std::min(cluster_.w.between(50ms, most), std::max(left, duration(1ms)));
}

machine& trouble::somebody() {
  auto& r = cluster_.w.random();
  // Servers as often as agents, of which there are more.
  if (r.below(2)) return some_server();
  return *cluster_.agents[r.below(cluster_.agents.size())];
}
server_machine& trouble::some_server() { return *cluster_.servers[cluster_.w.random().below(cluster_.servers.size())]; }

void trouble::next() {
  later(cluster_.w.between(500ms, 12s), [this] {
    if (cluster_.w.now() + 1s >= until_) return;
    ++count_;
    static constexpr void (trouble::* all[])() = {
        &trouble::cut_two,      &trouble::cut_two,       &trouble::isolate,   &trouble::crash,
        &trouble::crash,        &trouble::pause,         &trouble::jump,      &trouble::cut_database,
        &trouble::lose_answers, &trouble::break_network, &trouble::take_disk, &trouble::lose_disk};
    (this->*all[cluster_.w.random().below(std::size(all))])();
    next();
  });
}

void trouble::cut_two() {
  auto& a = some_server();
  machine* b = &somebody();
  if (&a == b) return;
  cluster_.w.cut(*a.at, *b->at);
  later(lasting(45s), [this, &a, b] { cluster_.w.heal(*a.at, *b->at); });
}

void trouble::isolate() {
  auto& m = somebody();
  std::vector<machine*> others;
  for (auto& s : cluster_.servers) others.push_back(s.get());
  for (auto& a : cluster_.agents) others.push_back(a.get());
  std::erase(others, &m);
  for (auto* o : others) cluster_.w.cut(*m.at, *o->at);
  later(lasting(30s), [this, &m, others] {
    for (auto* o : others) cluster_.w.heal(*m.at, *o->at);
  });
}

void trouble::crash() {
  auto& m = somebody();
  if (!m.at->running()) return;
  m.at->crash();
  later(lasting(30s), [&m] {
    if (!m.at->running()) m.at->restart();
  });
}

void trouble::pause() {
  auto& m = somebody();
  if (!m.at->running() || m.at->paused()) return;
  m.at->pause();
  later(lasting(30s), [&m] {
    if (m.at->running() && m.at->paused()) m.at->resume();
  });
}

// Forwards or backwards, and right again in the end.
void trouble::jump() {
  auto& m = somebody();
  auto by = cluster_.w.between(-2h, 2h);
  cluster_.w.trace(m.at->name() + ": its clock jumps by " +
                   std::to_string(std::chrono::duration_cast<std::chrono::seconds>(by).count()) + " s");
  m.at->jump_clock(by);
  later(lasting(2min), [&m, by] { m.at->jump_clock(-by); });
}

void trouble::cut_database() {
  auto& s = some_server();
  if (s.link.cut) return;
  cluster_.w.trace(s.at->name() + ": no way to the database");
  s.link.cut = true;
  later(lasting(30s), [this, &s] {
    cluster_.w.trace(s.at->name() + ": the database is there again");
    s.link.cut = false;
  });
}

// Commits land, and nobody is told; or they don't.
void trouble::lose_answers() {
  if (cluster_.general_fault) return;
  cluster_.general_fault = true;
  cluster_.w.trace("the database's answers get lost");
  auto some = [this](errc code) -> std::optional<error> {
    if (!cluster_.w.chance(0.3)) return std::nullopt;
    return error{code, "the database's answer was lost"};
  };
  cluster_.db.faults.fail_before_commit = [some] { return some(errc::unavailable); };
  cluster_.db.faults.fail_after_commit = [some] { return some(errc::unknown_outcome); };
  cluster_.db.faults.fail_read = [some] { return some(errc::unavailable); };
  later(lasting(15s), [this] {
    cluster_.w.trace("the database answers");
    cluster_.db.faults.fail_before_commit = cluster_.db.faults.fail_after_commit = cluster_.db.faults.fail_read =
        nullptr;
    cluster_.general_fault = false;
  });
}

void trouble::break_network() {
  if (cluster_.general_fault) return;
  cluster_.general_fault = true;
  cluster_.w.trace("connections break");
  cluster_.w.faults.reset_probability = 0.02;
  cluster_.w.faults.refuse_probability = 0.1;
  cluster_.w.faults.delay_max = 300ms;
  later(lasting(15s), [this] {
    cluster_.w.trace("connections hold");
    cluster_.w.faults = {};
    cluster_.general_fault = false;
  });
}

void trouble::take_disk() {
  auto& m = somebody();
  if (m.disk_away) return;
  cluster_.take_disk(m);
  later(lasting(20s), [this, &m] { cluster_.give_disk(m); });
}

// A server's machine is replaced by an empty one, which has nothing but its settings.
void trouble::lose_disk() {
  auto& s = some_server();
  if (!s.at->running() || s.disk_away || &s == cluster_.servers.front().get()) return;
  s.at->crash();
  cluster_.w.trace(s.at->name() + ": a new machine in its place");
  std::error_code ignored;
  std::filesystem::remove_all(s.folder + "/data", ignored);
  later(lasting(20s), [&s] {
    if (!s.at->running()) s.at->restart();
  });
}

}  // namespace kedge::sim
