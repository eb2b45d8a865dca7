#include "api/audit/webhook.h"

#include <algorithm>

#include "api/audit/limits.h"
#include "base/log.h"
#include "reactor/cores.h"
#include "reactor/loop.h"

namespace kedge::api {

std::string audit_event_list(const std::vector<std::string>& events) {
  std::string out = R"({"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[)";
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (i > 0) out += ',';
    out += events[i];
  }
  return out + "]}";
}

audit_webhook::audit_webhook(audit_webhook_settings settings, reactor::loop& home, reactor::network* network)
    : audit_backend(settings.common),
      settings_(std::move(settings)),
      home_(home),
      to_(settings_.server, network),
      turns_(static_cast<double>(settings_.batches_burst)),
      turns_at_(home.now()),
      under_way_(audit_batches_at_once) {}
audit_webhook::~audit_webhook() = default;

bool audit_webhook::post(std::string text) {
  bool full = false;
  {
    std::scoped_lock lock(mutex_);
    if (queue_.size() < common_.buffer_events && queue_bytes_ + text.size() <= audit_queue_max_bytes) {
      queue_bytes_ += text.size();
      queue_.push_back(std::move(text));
      full = queue_.size() >= settings_.batch_events && !std::exchange(told_, true);
    } else {
      lost();
      return false;
    }
  }
  if (full) home_.post([this] { full_.pulse(); });
  return true;
}

task<bool> audit_webhook::write(std::string text) {
  std::vector<std::string> one;
  one.push_back(std::move(text));
  co_return co_await reactor::call_on(home_,
                                      [this, one = std::move(one)]() mutable { return deliver(std::move(one)); });
}

void audit_webhook::start() { running_.spawn(run()); }

std::size_t audit_webhook::waiting() const {
  std::scoped_lock lock(mutex_);
  return queue_.size();
}

std::vector<std::string> audit_webhook::take() {
  std::scoped_lock lock(mutex_);
  std::vector<std::string> out;
  std::size_t bytes = 0;
  while (!queue_.empty() && out.size() < settings_.batch_events) {
    const auto size = queue_.front().size();
    if (!out.empty() && common_.truncate && bytes + size > common_.batch_max_bytes) break;
    bytes += size;
    out.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queue_bytes_ -= bytes;
  told_ = queue_.size() >= settings_.batch_events;
  return out;
}

task<void> audit_webhook::run() {
  auto& l = reactor::loop::current();
  for (;;) {
    const auto until = l.now() + settings_.batch_wait;
    while (!ending_ && waiting() < settings_.batch_events && l.now() < until) co_await full_.wait_until(until);
    if (waiting() == 0) {
      if (ending_) co_return;
      continue;
    }
    co_await wait_for_turn();
    // Those that are on their way have a bound; the queue fills meanwhile, which has one, too.
    co_await under_way_.acquire();
    running_.spawn(send(take()));
  }
}

task<void> audit_webhook::wait_for_turn() {
  if (!settings_.throttle) co_return;
  auto& l = reactor::loop::current();
  for (;;) {
    const auto passed = std::chrono::duration<double>(l.now() - std::exchange(turns_at_, l.now())).count();
    turns_ = std::min(turns_ + passed * settings_.batches_a_second, static_cast<double>(settings_.batches_burst));
    if (turns_ >= 1) break;
    co_await reactor::sleep_for(
        std::chrono::duration_cast<duration>(std::chrono::duration<double>((1 - turns_) / settings_.batches_a_second)));
  }
  turns_ -= 1;
}

task<void> audit_webhook::send(std::vector<std::string> events) {
  co_await deliver(std::move(events));
  under_way_.release();
}

task<bool> audit_webhook::deliver(std::vector<std::string> events) {
  const auto count = events.size();
  // Dropped on its way, it is lost as well.
  struct in_doubt {
    audit_webhook& of;
    std::size_t events;
    ~in_doubt() {
      if (events > 0) of.lost(events);
    }
  } doubt{*this, count};
  auto sent =
      co_await to_.tell(audit_event_list(events), {.first_pause = settings_.first_pause, .whatever_happened = true});
  if (!sent) {
    log::error("audit webhook: {} events can't be sent: {}", count, sent.error().message);
    co_return false;
  }
  doubt.events = 0;
  co_return true;
}

task<void> audit_webhook::end() {
  const auto before = lost_events();
  ending_ = true;
  full_.pulse();
  auto rest = [](reactor::scope& s) -> task<result<bool>> {
    co_await s.join();
    co_return true;
  };
  auto done = co_await reactor::with_deadline(rest(running_), reactor::loop::current().now() + audit_last_batches_time);
  if (done) co_return;
  running_.cancel();
  lost(waiting());
  log::error("audit webhook: {} events could not be sent before the end", lost_events() - before);
}

}  // namespace kedge::api
