#include "server/sequence.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "reactor/stream.h"

namespace kedge::server {

namespace {

// What takes longer is told, so that a slow start or end says where its time went.
constexpr duration told_from = std::chrono::seconds(1);

class stopwatch {
 public:
  stopwatch(std::string_view part, std::string_view verb)
      : part_(part), verb_(verb), began_(reactor::loop::current().now()) {}
  stopwatch(const stopwatch&) = delete;
  ~stopwatch() {
    auto took = reactor::loop::current().now() - began_;
    auto text = format_duration(std::chrono::floor<std::chrono::microseconds>(took));
    if (took >= told_from)
      log::info("{} {} after {}", part_, verb_, text);
    else
      log::debug("{} {} after {}", part_, verb_, text);
  }

 private:
  std::string_view part_, verb_;
  time_point began_;
};

}  // namespace

sequence::sequence(std::vector<part*> parts, std::vector<part*> leaving, std::vector<part*> stopping)
    : parts_(std::move(parts)), leaving_(std::move(leaving)), stopping_(std::move(stopping)) {
  auto is_part = [this](part* p) { return std::ranges::find(parts_, p) != parts_.end(); };
  kedge_assert(std::ranges::all_of(leaving_, is_part) && std::ranges::all_of(stopping_, is_part));
  kedge_assert(std::set<part*>(stopping_.begin(), stopping_.end()).size() == parts_.size() &&
               stopping_.size() == parts_.size());
}

task<result<void>> sequence::start(reactor::event& stop) {
  for (auto* p : parts_) {
    if (stop.is_set()) co_return fail(errc::cancelled, "stopped while it started");
    begun_.insert(p);
    stopwatch timing(p->name(), "stands");
    KEDGE_CO_CHECK(co_await reactor::with_stop(p->start(), stop));
    standing_.insert(p);
  }
  co_return result<void>();
}

task<void> sequence::leave() {
  for (auto* p : leaving_) {
    if (!standing_.contains(p)) continue;
    stopwatch timing(p->name(), "has left");
    co_await p->leave();
  }
}

task<void> sequence::stop() {
  for (auto* p : stopping_) {
    if (!begun_.erase(p)) continue;
    standing_.erase(p);
    stopwatch timing(p->name(), "has stopped");
    co_await p->stop();
  }
}

}  // namespace kedge::server
