#include "datastore/shared_log.h"

#include "datastore/history.h"

namespace kedge::datastore {

task<result<page>> shared_log::tail(revision after, time_point deadline) {
  auto& loop = reactor::loop::current();
  for (;;) {
    if (forked_) co_return fail(*forked_);
    bool can = can_read().has_value();
    if (can && (hint_ > after || loop.now() >= read_at_ + poll())) {
      bool told = hint_ > after, quiet = appending_ == 0;
      read_at_ = loop.now();
      auto p = co_await read_from(after);
      if (p && p->at > after) {
        if (quiet && appending_ == 0) found_news(told);
        co_return p;
      }
      if (p) hint_ = std::min(hint_, after);
      if (!p && p.error().code != errc::closed && p.error().code != errc::unavailable &&
          p.error().code != errc::timeout)
        co_return p;
      if (!p) co_await reactor::sleep_for(link_retry_min);
      if (!p || hint_ > after) continue;
    }
    if (loop.now() >= deadline) break;
    co_await news_.wait_until(std::min(deadline, can ? read_at_ + poll() : loop.now() + silence_interval));
  }
  page none;
  none.at = after;
  co_return none;
}

result<void> shared_log::healthy() const {
  if (forked_) return fail(*forked_);
  KEDGE_CHECK(can_read());
  return can_write();
}

task<result<shared_log::turn>> shared_log::turn_to_send() {
  auto until = reactor::loop::current().now() + reconnect_patience;
  co_await sending_.acquire();
  turn mine(sending_);
  KEDGE_CO_CHECK(co_await wait_for([this] { return can_write(); }, until));
  co_return mine;
}

task<result<void>> shared_log::wait_for(std::function<result<void>()> ready, time_point until) {
  auto& loop = reactor::loop::current();
  for (;;) {
    auto r = ready();
    if (r || r.error().code == errc::corrupt || loop.now() >= until) co_return r;
    co_await up_.wait_until(std::min(until, loop.now() + silence_interval));
  }
}

error shared_log::fork(std::string_view why) {
  if (!forked_) {
    forked_ = lost_history(why, cause_of_loss());
    news_.pulse();
    up_.pulse();
  }
  return *forked_;
}

void shared_log::complain(std::string text) {
  if (text == complaint_) return;
  kedge::log::warning("{}: {}", description_, text);
  complaint_ = std::move(text);
}

void shared_log::note_away(std::string_view what, const std::string& why) {
  if (away_ == why || forked_) return;
  away_ = why;
  kedge::log::warning("{}: {}: {}", description_, what, away_);
}

}  // namespace kedge::datastore
