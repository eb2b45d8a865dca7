#include "api/fairness/body_budget.h"

#include <unistd.h>

#include <algorithm>

#include "api/fairness/limits.h"

namespace kedge::api::fairness {

struct body_budget::waiter : reactor::list_hook {
  std::size_t bytes = 0;
  bool granted = false;
  reactor::event done;
};

struct body_budget::user : reactor::list_hook {
  std::string name;
  std::size_t held = 0, waiting = 0;
  reactor::list<waiter> line;
};

body_budget::body_budget(std::size_t all, std::size_t per_user) noexcept : free_(all), per_user_(per_user) {}
body_budget::~body_budget() = default;

body_budget::user& body_budget::find(const std::string& name) {
  auto& u = users_[name];
  if (!u) {
    u = std::make_unique<user>();
    u->name = name;
  }
  return *u;
}

bool body_budget::has_own_room(const user& u, std::size_t bytes) const noexcept { return u.held + bytes <= per_user_; }

std::optional<body_budget::share> body_budget::try_take(const std::string& name, std::size_t bytes) {
  if (bytes > free_ || !next_.empty()) return std::nullopt;
  auto& u = find(name);
  if (u.waiting > 0 || !has_own_room(u, bytes)) return std::nullopt;  // then it is there already
  u.held += bytes;
  free_ -= bytes;
  return share(*this, u, bytes);
}

task<std::optional<body_budget::share>> body_budget::take(std::string name, std::size_t bytes, time_point until) {
  if (auto s = try_take(name, bytes)) co_return s;
  auto& u = find(name);
  if (u.waiting >= bodies_waiting_max) co_return std::nullopt;
  struct in_line {
    body_budget& of;
    user& mine;
    waiter me;
    in_line(body_budget& b, user& u, std::size_t n) : of(b), mine(u) {
      me.bytes = n;
      ++mine.waiting;
      mine.line.push_back(me);
      of.settle(mine);
    }
    ~in_line() {
      --mine.waiting;
      if (me.granted) {  // but dropped before it ran
        of.give_back(mine, me.bytes);
        return;
      }
      me.unlink();
      of.settle(mine);
      of.dispatch();  // those behind it may need less
      of.forget_if_idle(mine);
    }
  } place(*this, u, bytes);
  (void)co_await place.me.done.wait_until(until);
  if (!std::exchange(place.me.granted, false)) co_return std::nullopt;
  co_return share(*this, u, bytes);
}

void body_budget::give_back(user& u, std::size_t bytes) noexcept {
  free_ += bytes;
  u.held -= bytes;
  settle(u);
  dispatch();
  forget_if_idle(u);
}

// Whether it is its turn when there is memory.
void body_budget::settle(user& u) noexcept {
  const bool could = !u.line.empty() && has_own_room(u, u.line.front().bytes);
  if (could && !u.linked()) next_.push_back(u);
  if (!could) u.unlink();
}

void body_budget::dispatch() noexcept {
  while (!next_.empty()) {
    auto& u = next_.front();
    auto& w = u.line.front();
    if (w.bytes > free_) return;
    u.held += w.bytes;
    free_ -= w.bytes;
    w.granted = true;
    w.unlink();
    w.done.set();
    u.unlink();
    settle(u);
  }
}

void body_budget::forget_if_idle(user& u) noexcept {
  if (u.held == 0 && u.waiting == 0) users_.erase(std::string(u.name));
}

std::size_t memory_for_bodies() noexcept {
  const auto pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  const auto all = pages > 0 && page > 0 ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(page) : 0;
  return std::clamp(all / bodies_part, bodies_least, bodies_most);
}

}  // namespace kedge::api::fairness
