#include "api/tracing/collector.h"

#include <algorithm>
#include <iterator>

#include "api/tracing/encode.h"
#include "api/tracing/limits.h"
#include "base/log.h"

namespace kedge::api::tracing {

result<std::unique_ptr<collector>> collector::make(settings s, attributes resource, reactor::loop& home,
                                                   reactor::network* network) {
  KEDGE_TRY(auto to, target_of(s.endpoint));
  return std::unique_ptr<collector>(new collector(std::move(s), std::move(resource), std::move(to), home, network));
}

collector::collector(settings s, attributes resource, net::http::target to, reactor::loop& home,
                     reactor::network* network)
    : settings_(std::move(s)),
      resource_(std::move(resource)),
      home_(home),
      to_(std::move(to), answer_max_bytes, network) {}
collector::~collector() = default;

live_span collector::pass_on(context c) {
  return live_span(std::make_unique<live_span::state>(live_span::state{.at = std::move(c)}));
}

live_span collector::begin(const beginning& b) {
  auto& random = reactor::loop::current().random();
  auto s = std::make_unique<live_span::state>(live_span::state{.to = this});
  span_id parent{};
  if (b.named && b.trusted) {
    s->at = *b.named;
    parent = b.named->span;
  } else {
    s->at.trace = new_trace_id(random);
    s->at.sampled = is_chosen(s->at.trace, settings_.per_million);
  }
  s->at.span = new_span_id(random);
  if (s->at.sampled) {
    s->of = std::make_unique<span>();
    *s->of = {.at = s->at, .parent = parent, .name = std::string(b.name), .kind = span_kind::server, .begin = b.at};
    if (!b.trusted) s->of->link = b.named;
  }
  return live_span(std::move(s));
}

void collector::take(span s) noexcept {
  bool full = false;
  {
    std::scoped_lock lock(mutex_);
    if (queue_.size() >= queue_spans_max) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    queue_.push_back(std::move(s));
    full = queue_.size() >= batch_spans_max && !std::exchange(told_, true);
  }
  if (full) home_.post([this] { full_.pulse(); });
}

std::size_t collector::waiting() const {
  std::scoped_lock lock(mutex_);
  return queue_.size();
}

std::vector<span> collector::take_batch() {
  std::scoped_lock lock(mutex_);
  const auto count = static_cast<std::ptrdiff_t>(std::min(queue_.size(), batch_spans_max));
  std::vector<span> out(std::make_move_iterator(queue_.begin()), std::make_move_iterator(queue_.begin() + count));
  queue_.erase(queue_.begin(), queue_.begin() + count);
  told_ = queue_.size() >= batch_spans_max;
  return out;
}

void collector::start() { running_.spawn(run()); }

task<void> collector::run() {
  auto& l = reactor::loop::current();
  for (;;) {
    const auto until = l.now() + batch_wait;
    while (!ending_ && waiting() < batch_spans_max && l.now() < until) co_await full_.wait_until(until);
    if (waiting() > 0)
      co_await send(take_batch());
    else if (ending_)
      co_return;
  }
}

task<void> collector::send(std::vector<span> batch) {
  // Dropped on its way, it is lost as well.
  struct in_doubt {
    collector& of;
    std::size_t spans;
    ~in_doubt() { of.dropped_.fetch_add(spans, std::memory_order_relaxed); }
  } doubt{*this, batch.size()};
  auto answer = co_await reactor::with_deadline(
      to_.unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export", export_request(resource_, batch)),
      reactor::loop::current().now() + export_time);
  if (!answer) {
    if (!std::exchange(away_, true))
      log::warning("tracing: spans can't be sent to {}: {}", settings_.endpoint, answer.error().message);
    co_return;
  }
  const auto refused = read_answer(*answer);
  doubt.spans = std::min(doubt.spans, static_cast<std::size_t>(std::max<std::int64_t>(refused.spans, 0)));
  sent_.fetch_add(batch.size() - doubt.spans, std::memory_order_relaxed);
  if (doubt.spans > 0) log::warning("tracing: {} took not all spans: {}", settings_.endpoint, refused.why);
  if (std::exchange(away_, false)) log::info("tracing: spans are sent to {} again", settings_.endpoint);
}

task<void> collector::end() {
  ending_ = true;
  full_.pulse();
  auto rest = [](reactor::scope& s) -> task<result<bool>> {
    co_await s.join();
    co_return true;
  };
  auto done = co_await reactor::with_deadline(rest(running_), reactor::loop::current().now() + last_batches_time);
  if (done) co_return;
  running_.cancel();
  dropped_.fetch_add(waiting(), std::memory_order_relaxed);
}

}  // namespace kedge::api::tracing
