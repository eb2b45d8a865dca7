#include "control/scheduler/queue.h"

#include <algorithm>

namespace kedge::control::scheduler {

bool queue::earlier::operator()(const entry* a, const entry* b) const noexcept {
  if (a->pod->is->priority != b->pod->is->priority) return a->pod->is->priority > b->pod->is->priority;
  if (a->since != b->since) return a->since < b->since;
  return a < b;
}

void queue::leave(entry& e) {
  switch (e.at) {
    case place::active: active_.erase(&e); break;
    case place::backoff: due_.erase(e.due); break;
    case place::refused: refused_.erase(e.due); break;
    case place::gated: --gated_; break;
    case place::trying: break;
  }
}

// To active, or to where its backoff is waited for. Out of all places before.
void queue::activate(entry& e, time_point now) {
  if (!e.pod->is->gates.empty()) {
    e.at = place::gated;
    ++gated_;
  } else if (auto by = waits_ ? waits_(*e.pod) : nullptr) {
    e.by = {by};
    e.at = place::refused;
    e.due = refused_.emplace(now, &e);
  } else if (e.backoff_end > now) {
    e.at = place::backoff;
    e.due = due_.emplace(e.backoff_end, &e);
  } else {
    e.at = place::active;
    active_.insert(&e);
  }
}

void queue::add(const pod_ref& p, time_point now) {
  auto& slot = all_[p->key()];
  if (!slot || slot->pod->uid != p->uid) {
    if (slot) leave(*slot);
    slot = std::make_unique<entry>();
    slot->pod = p;
    slot->since = now;
    return activate(*slot, now);
  }
  auto& e = *slot;
  if (e.at == place::trying) {
    e.pod = p;
    return;
  }
  const bool same = e.pod->is == p->is && e.pod->made_claims == p->made_claims;
  if (e.at == place::refused && same) {
    e.pod = p;  // a condition, a nomination: nothing that helps it
    return;
  }
  leave(e);
  e.pod = p;
  activate(e, now);
}

void queue::remove(std::string_view key) {
  auto it = all_.find(key);
  if (it == all_.end()) return;
  leave(*it->second);
  all_.erase(it);
}

pod_ref queue::pop(time_point now) {
  while (!due_.empty() && due_.begin()->first <= now) {
    auto& e = *due_.begin()->second;
    leave(e);
    activate(e, now);
  }
  while (!refused_.empty() && refused_.begin()->first + limits_.unschedulable_most <= now) {
    auto& e = *refused_.begin()->second;
    leave(e);
    activate(e, now);
  }
  if (active_.empty()) return nullptr;
  auto& e = **active_.begin();
  leave(e);
  e.at = place::trying;
  ++e.attempts;
  return e.pod;
}

static duration backoff_after(unsigned failures, const queue_limits& l) {
  auto out = l.backoff_first;
  for (unsigned i = 1; i < failures && out < l.backoff_most; ++i) out *= 2;
  return std::min(out, l.backoff_most);
}

void queue::refuse(const pod_ref& p, std::vector<const plugin*> by, time_point now) {
  auto it = all_.find(p->key());
  if (it == all_.end() || it->second->at != place::trying || it->second->pod->uid != p->uid) return;
  auto& e = *it->second;
  e.by = std::move(by);
  e.refused_at = now;
  e.backoff_end = now + backoff_after(++e.failures, limits_);
  // It changed while it was tried: that may have been what it lacked.
  if (e.pod != p && (e.pod->is != p->is || e.pod->made_claims != p->made_claims)) return activate(e, now);
  if (!e.pod->is->gates.empty()) return activate(e, now);
  e.at = place::refused;
  e.due = refused_.emplace(now, &e);
}

void queue::retry(const pod_ref& p, time_point now) {
  auto it = all_.find(p->key());
  if (it == all_.end() || it->second->at != place::trying || it->second->pod->uid != p->uid) return;
  auto& e = *it->second;
  e.backoff_end = now + backoff_after(++e.failures, limits_);
  activate(e, now);
}

std::size_t queue::happened(const cluster_event& event, time_point now) {
  std::vector<entry*> helped;
  for (auto& [at, e] : refused_) {
    const bool any =
        e->by.empty() || std::any_of(e->by.begin(), e->by.end(), [&](auto p) { return p->may_help(event, *e->pod); });
    if (any) helped.push_back(e);
  }
  for (auto e : helped) {
    leave(*e);
    activate(*e, now);
  }
  return helped.size();
}

time_point queue::next_due() const {
  auto out = time_point::max();
  if (!active_.empty()) return time_point::min();
  if (!due_.empty()) out = due_.begin()->first;
  if (!refused_.empty()) out = std::min(out, refused_.begin()->first + limits_.unschedulable_most);
  return out;
}

time_point queue::since(std::string_view key) const {
  auto it = all_.find(key);
  return it == all_.end() ? time_point() : it->second->since;
}

unsigned queue::attempts(std::string_view key) const {
  auto it = all_.find(key);
  return it == all_.end() ? 0 : it->second->attempts;
}

}  // namespace kedge::control::scheduler
