// engine_settling.cc: the engine's part in putting together what has stood for a while (settled.h).
#include "store/engine.h"
#include "store/limits.h"

namespace kedge::store {

// Goes over all objects, so many a second, and begins anew some time after the last of them, when there may be more
// that no event holds any longer.
task<void> engine::settling_loop() {
  auto& loop = reactor::loop::current();
  std::string from;
  revision done = 0, upto = 0;
  bool moved = false;
  for (auto next_pass = loop.now();;) {
    co_await reactor::sleep_for(settling_interval);
    if (from.empty()) {
      upto = hubs_.front()->recent().forgotten();
      if (upto == done || loop.now() < next_pass) continue;
      next_pass = loop.now() + settling_pass;
    }
    bool changed = false;
    for (std::size_t looks = 0; looks < settling_looks_max;) {
      auto step = settle_some(from, upto);
      looks += step.looked;
      changed = changed || step.moved > 0;
      if (from.empty()) break;
      co_await reactor::maybe_yield();
    }
    moved = moved || changed;
    if (from.empty()) {
      done = upto;
      if (std::exchange(moved, false)) co_await settle_leases();
    }
    // The same revision in other memory. What is being applied is published with its own batch.
    if (!changed || next_applied_) continue;
    next_applied_ = std::make_shared<applied_batch>();
    publish();
  }
}

// The next objects from the key `from` on, which becomes the one to go on with; empty behind the last.
engine::settling_step engine::settle_some(std::string& from, revision upto) {
  settling_step out;
  std::vector<object_ref> old;
  std::string next;
  objects_.scan(from, [&](const object_ref& o) {
    if (out.looked == settling_step_looks || old.size() == settling_step_objects) {
      next = o->key();
      return false;
    }
    ++out.looked;
    if (o->mod() <= upto && settling_.would_help(*o)) old.push_back(o);
    return true;
  });
  for (auto& o : old) objects_.put(settling_.copy(*o));
  out.moved = old.size();
  from = std::move(next);
  return out;
}

// It is the key's newest version, in whatever memory.
bool engine::stands(const object& o) const {
  auto* now = objects_.find(o.key());
  return now && now->mod() == o.mod();
}

// Leases hold their objects, and know by them whether they still stand.
task<void> engine::settle_leases() {
  for (std::size_t i = 0; i < leases_.size(); ++i) {
    auto& l = leases_[i];
    if (stands(*l.object)) l.object = object_access::ref(*objects_.find(l.object->key()));
    if (i % settling_step_looks == settling_step_looks - 1) co_await reactor::maybe_yield();
  }
}

}  // namespace kedge::store
