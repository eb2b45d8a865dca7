#include "supervisor/usage_collector.h"

#include <algorithm>
#include <set>

#include "base/log.h"

namespace kedge::supervisor {

namespace {

using reactor::loop;

class place {
 public:
  explicit place(reactor::semaphore& all) : all_(all) {}
  place(const place&) = delete;
  ~place() { all_.release(); }

 private:
  reactor::semaphore& all_;
};

std::int64_t milliseconds_now() {
  return std::chrono::floor<std::chrono::milliseconds>(loop::current().wall_now()).time_since_epoch().count();
}

}  // namespace

task<std::shared_ptr<const api::usage_by_node>> usage_collector::now() {
  asked_at_ = loop::current().now();
  if (!collecting_ && !stopped_) {
    collecting_ = true;
    settled_.reset();
    running_.spawn(collect());
  }
  (void)co_await settled_.wait_until(loop::current().now() + api::usage_first_wait);
  if (!shown_) shown_ = std::make_shared<const api::usage_by_node>(told_);
  co_return shown_;
}

void usage_collector::stop() {
  stopped_ = true;
  running_.cancel();
  settled_.set();
}

task<void> usage_collector::collect() {
  for (;;) {
    const auto began = loop::current().now();
    co_await read_round();
    settled_.set();
    co_await reactor::sleep_until(
        std::max(began + api::usage_interval, loop::current().now() + api::usage_second_reading));
    if (loop::current().now() - asked_at_ > api::usage_kept) break;
  }
  nodes_.clear();
  told_.clear();
  shown_ = nullptr;
  collecting_ = false;
}

task<void> usage_collector::read_round() {
  std::set<std::string, std::less<>> there;
  const auto prefix = objects_.prefix({"", "v1", "nodes"});
  objects_.objects_store().current().scan(prefix, {}, [&](const store::object_ref& o) {
    there.emplace(o->key().substr(prefix.size()));
    return true;
  });
  std::erase_if(nodes_, [&](auto& n) { return !there.contains(n.first); });
  if (std::erase_if(told_, [&](auto& n) { return !there.contains(n.first); }) > 0) shown_ = nullptr;
  reactor::scope round;
  for (auto& name : there)
    if (nodes_[name].next <= loop::current().now()) round.spawn(read_node(name));
  co_await round.join();
}

task<result<api::node_sample>> usage_collector::sample(const std::string& name, reactor::semaphore& places) {
  co_await places.acquire();
  place mine(places);
  api::sample_reader text(milliseconds_now());
  KEDGE_CO_CHECK(
      co_await reactor::with_deadline(read_(name, [&text](std::string_view piece) { return text.feed(piece); }),
                                      loop::current().now() + api::usage_node_deadline));
  co_return text.finish();
}

// `nodes_` loses no node while a round runs.
task<void> usage_collector::read_node(std::string name) {
  auto& n = nodes_[name];
  auto& places = n.failed ? places_of_failed_ : places_;
  for (;;) {
    const bool first = n.record.is_empty();
    auto told = co_await sample(name, places);
    if (!told) co_return told_nothing(name, n, told.error());
    n.record.take(*std::move(told));
    // One that tells of nothing is asked again with all others.
    if (!first || n.record.is_empty()) break;
    co_await reactor::sleep_for(api::usage_second_reading);
  }
  if (std::exchange(n.failed, false)) log::info("node {} tells again what its pods use", name);
  n.pause = {};
  told_[name] = std::make_shared<const api::told_usage>(n.record.told());
  shown_ = nullptr;
}

void usage_collector::told_nothing(const std::string& name, node& n, const error& why) {
  if (!std::exchange(n.failed, true)) log::warning("node {} doesn't tell what its pods use: {}", name, why.message);
  n.record = {};
  n.next = loop::current().now() + n.pause;
  n.pause = std::min<duration>(std::max<duration>(2 * n.pause, api::usage_interval), api::usage_retry_most);
  if (told_.erase(name) > 0) shown_ = nullptr;
}

}  // namespace kedge::supervisor
