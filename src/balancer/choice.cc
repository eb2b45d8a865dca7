#include "balancer/choice.h"

#include <algorithm>

namespace kedge::balancer {

std::string_view name_of(state s) noexcept {
  constexpr std::string_view names[] = {"INVALID",    "FAILED",  "STANDBY",   "UNCHECKED",
                                        "RECOVERING", "HEALTHY", "PREFERRED", "ACTIVE"};
  return names[static_cast<std::size_t>(s)];
}

namespace {

// FNV-1a, finished by MurmurHash3's mixer: short texts that differ in one digit must differ in all bits.
std::uint64_t weight(std::string_view node, std::string_view address) noexcept {
  std::uint64_t h = 0xcbf29ce484222325;
  auto add = [&](std::string_view text) {
    for (unsigned char c : text) h = (h ^ c) * 0x100000001b3;
    h = (h ^ 0xff) * 0x100000001b3;
  };
  add(node);
  add(address);
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
  return h ^ (h >> 33);
}

bool good(state s) noexcept { return s >= state::healthy; }

}  // namespace

server* choice::find(std::string_view address) noexcept {
  for (auto& s : servers_)
    if (s.address == address) return &s;
  return nullptr;
}

std::vector<std::string> choice::addresses() const {
  std::vector<std::string> out;
  for (auto& s : servers_)
    if (!s.is_default || s.state != state::standby) out.push_back(s.address);
  return out;
}

void choice::set_default(std::string_view address, time_point now) {
  for (auto i = servers_.begin(); i != servers_.end(); ++i) {
    if (!i->is_default) continue;
    if (i->address == address) return;
    i->is_default = false;
    if (i->state == state::standby) servers_.erase(i);
    break;
  }
  if (address.empty()) return;
  if (auto* s = find(address))
    s->is_default = true;
  else
    servers_.push_back({.address = std::string(address), .is_default = true, .state = state::standby, .since = now});
  choose_own();
  sort(now);
}

bool choice::set_addresses(const std::vector<std::string>& wanted, time_point now) {
  auto has = [&](const std::string& a) { return std::find(wanted.begin(), wanted.end(), a) != wanted.end(); };
  bool changed = false;
  for (auto& s : servers_) {
    bool real = !s.is_default || s.state != state::standby;
    if (real && !has(s.address)) {
      changed = true;
      s.move = ++changes_;
      if (s.is_default) enter(s, state::standby, now);
    } else if (!real && has(s.address)) {
      changed = true;
      enter(s, state::unchecked, now);
    }
  }
  std::erase_if(servers_, [&](auto& s) { return !s.is_default && !has(s.address); });
  for (auto& a : wanted) {
    if (find(a) || servers_.size() >= servers_max) continue;
    changed = true;
    servers_.push_back({.address = a, .since = now});
  }
  choose_own();
  sort(now);
  return changed;
}

void choice::success(std::string_view address, reason r, time_point now) {
  auto* s = find(address);
  if (!s) return;
  if (r == reason::dial) {
    s->doubtful = false;
    for (auto& other : servers_)
      if (&other != s && other.doubtful && other.state == state::active) return sort(now);
  }
  switch (s->state) {
    case state::failed:
    case state::unchecked:
      s->leaving = false;
      enter(*s, state::recovering, now);
      break;
    case state::recovering:
      if (r != reason::health_check) break;
      if (s->connections > 0)
        become_active(*s, now);
      else
        enter(*s, state::preferred, now);
      break;
    case state::healthy:
      if (r == reason::dial) become_active(*s, now);
      break;
    case state::preferred:
      if (r == reason::dial)
        become_active(*s, now);
      else if (now - s->since > preferred_for)
        enter(*s, state::healthy, now);
      break;
    default: break;
  }
  sort(now);
}

void choice::failure(std::string_view address, reason r, time_point now) {
  auto* s = find(address);
  if (!s) return;
  s->doubtful = false;
  bool leaves = policy_.extended && (r == reason::refusal || r == reason::farewell);
  switch (s->state) {
    case state::unchecked:
    case state::recovering:
      // Dials may work where a health check doesn't (yet): it doesn't count, and connections may live.
      if (r == reason::health_check) return;
      // The only server may never have been more than that, and hold all connections when its machine goes.
      if (policy_.extended && !leaves) s->cut = ++changes_;
      break;
    case state::healthy:
    case state::preferred:
    case state::active:
      if (!leaves) s->cut = ++changes_;
      break;
    default: return;
  }
  if (leaves) s->move = ++changes_;
  s->leaving = leaves;
  if (r != reason::farewell) ++s->failures;
  enter(*s, state::failed, now);
  sort(now);
}

void choice::measured(std::string_view address, duration took) {
  auto* s = find(address);
  if (!s || !policy_.extended) return;
  s->latency = s->latency == duration(0) ? took : (3 * s->latency + took) / 4;
  auto fastest = duration::max();
  for (auto& other : servers_)
    if (&other != s && good(other.state) && other.latency > duration(0)) fastest = std::min(fastest, other.latency);
  auto limit = fastest == duration::max() ? fastest : std::max<duration>(slow_floor, slow_factor * fastest);
  if (s->latency > limit) {
    if (++s->slow_in_a_row >= slow_measures) s->slow = true;
  } else {
    s->slow_in_a_row = 0;
    if (limit == duration::max() || s->latency < limit / 2) s->slow = false;
  }
}

void choice::doubt(std::string_view address, bool hangs, time_point now) {
  auto* s = find(address);
  if (!s || !policy_.extended) return;
  s->doubtful = hangs;
  sort(now);
}

void choice::tick(time_point now) {
  for (auto& s : servers_)
    if (good(s.state) && now - s.well_since > forgive_after) s.failures = 0;
  sort(now);
}

void choice::enter(server& s, state to, time_point now) {
  if (s.state == to) return;
  if (good(to) && !good(s.state)) s.well_since = now;
  s.state = to;
  s.since = now;
}

bool choice::settled(const server& s, time_point now) const {
  if (!policy_.extended || !s.own || s.slow || !good(s.state)) return false;
  duration wait = settle_time;
  for (unsigned i = 0; i < s.failures && wait < settle_max; ++i) wait *= 2;
  return now - s.well_since >= std::min<duration>(wait, settle_max);
}

// Of an ACTIVE server and one that would become so, whether the old one stays.
bool choice::stays(const server& old, const server& fresh, time_point now) const {
  if (policy_.extended) {
    if (settled(old, now) != settled(fresh, now)) return settled(old, now);
    if (old.slow != fresh.slow) return fresh.slow;
  }
  return old.connections > fresh.connections;
}

void choice::become_active(server& s, time_point now) {
  auto to = state::active;
  for (auto& other : servers_) {
    if (&other == &s) continue;
    switch (other.state) {
      case state::failed: (other.leaving ? other.move : other.cut) = ++changes_; break;
      case state::standby:
      case state::recovering:
      case state::healthy: other.move = ++changes_; break;
      case state::active:
        if (stays(other, s, now)) {
          to = state::preferred;
          s.move = ++changes_;
        } else {
          enter(other, state::preferred, now);
          other.move = ++changes_;
        }
        break;
      default: break;
    }
  }
  enter(s, to, now);
}

void choice::choose_own() {
  server* best = nullptr;
  std::uint64_t most = 0;
  for (auto& s : servers_) {
    s.own = false;
    if (s.is_default && s.state == state::standby) continue;
    auto w = weight(policy_.node_name, s.address);
    if (!best || w > most) {
      best = &s;
      most = w;
    }
  }
  if (best && policy_.extended) best->own = true;
}

void choice::sort(time_point now) {
  auto rank = [&](const server& s) -> int {
    if (s.doubtful && good(s.state)) return 2 * static_cast<int>(state::recovering) + 1;
    if (settled(s, now)) return 2 * static_cast<int>(state::active) + 1;
    if (s.slow && good(s.state)) return 2 * static_cast<int>(state::recovering) + 1;
    // Between servers of which nothing is known, the own one.
    return 2 * static_cast<int>(s.state) + (s.own && s.state == state::unchecked ? 1 : 0);
  };
  std::stable_sort(servers_.begin(), servers_.end(), [&](const server& a, const server& b) {
    auto x = rank(a), y = rank(b);
    return x != y ? x > y : a.connections > b.connections;
  });
}

}  // namespace kedge::balancer
