#include "control/leader_election.h"

#include "base/log.h"
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

const api::resource_id leases{"coordination.k8s.io", "v1", "leases"};
constexpr auto shortest_pause = std::chrono::milliseconds(50);
constexpr double jitter = 1.2;  // client-go's JitterFactor: who waits doesn't ask in step with the others

json::value new_lease(const election_options& o, const std::string& now) {
  return json::object{
      {"kind", "Lease"},
      {"apiVersion", "coordination.k8s.io/v1"},
      {"metadata", json::object{{"name", o.name}, {"namespace", o.ns}}},
      {"spec", json::object{{"holderIdentity", o.identity},
                            {"leaseDurationSeconds", std::chrono::ceil<std::chrono::seconds>(o.lease_duration).count()},
                            {"acquireTime", now},
                            {"renewTime", now},
                            {"leaseTransitions", 0}}}};
}

}  // namespace

election::election(api::objects& objects, election_options options) : objects_(objects), options_(std::move(options)) {}

void election::look(const json::value& lease) {
  auto version = lease["metadata"]["resourceVersion"].as_string();
  if (version == seen_version_) return;
  seen_version_ = version;
  holder_ = lease["spec"]["holderIdentity"].as_string();
  seen_duration_ = std::chrono::seconds(lease["spec"]["leaseDurationSeconds"].as_integer(0));
  seen_at_ = reactor::loop::current().now();
  if (!holder_.empty()) free_since_.reset();
}

task<election::attempt> election::try_hold() {
  auto& loop = reactor::loop::current();
  auto now = format_rfc3339_micro(loop.wall_now());
  auto lease = objects_.get(leases, options_.ns, options_.name);
  if (!lease) {
    if (lease.error().code != 404) co_return attempt::failed;
    auto made = co_await objects_.create(leases, options_.ns, new_lease(options_, now));
    if (!made) co_return made.error().code == 409 ? attempt::others : attempt::failed;
    look(*made);
    co_return attempt::mine;
  }
  look(*lease);
  bool mine = holder_ == options_.identity;
  if (!mine && !holder_.empty() && loop.now() < seen_at_ + seen_duration_) co_return attempt::others;
  if (!mine && options_.leave_it && options_.leave_it()) {
    if (!free_since_) free_since_ = loop.now();
    if (loop.now() < *free_since_ + options_.leave_time) co_return attempt::others;
  }
  auto& spec = lease->member("spec");
  spec.set("leaseDurationSeconds", std::chrono::ceil<std::chrono::seconds>(options_.lease_duration).count());
  spec.set("renewTime", now);
  if (!mine) {
    spec.set("holderIdentity", options_.identity);
    spec.set("acquireTime", now);
    spec.set("leaseTransitions", (*lease)["spec"]["leaseTransitions"].as_integer(0) + 1);
  }
  auto written = co_await objects_.update(leases, options_.ns, std::move(*lease));
  if (!written) {
    if (written.error().code == 409 || written.error().code == 404) co_return attempt::others;
    log::debug("election {}: {}", options_.name, written.error().message);
    co_return attempt::failed;
  }
  look(*written);
  co_return attempt::mine;
}

// While leading: renews until that has failed for too long, or another holds the Lease (false), or it is left to a K3s
// server (true).
task<bool> election::keep() {
  auto& loop = reactor::loop::current();
  for (;;) {
    co_await changed_.wait_until(loop.now() + options_.retry_period);
    if (closing_) co_return false;
    if (!options_.leave_it || !options_.leave_it())
      left_ = false;
    else if (!std::exchange(left_, true))
      co_return true;
    auto end = renewed_at_ + options_.renew_deadline;
    auto asked = loop.now();
    auto held = co_await reactor::with_deadline(
        [](election& self) -> task<result<attempt>> { co_return co_await self.try_hold(); }(*this), end);
    if (held && *held == attempt::mine) {
      renewed_at_ = asked;
      // A renewal of one's own is news as well; nobody else's is to be waited for.
      continue;
    }
    // A conflict may be somebody's edit of the object: only another holder ends it at once.
    if (!holder_.empty() && holder_ != options_.identity) co_return false;
    if (loop.now() >= end) co_return false;
  }
}

task<void> election::run(std::function<task<void>()> lead) {
  auto& loop = reactor::loop::current();
  auto key = objects_.prefix(leases, options_.ns) + options_.name;
  reactor::scope watching;
  watching.spawn(follow(objects_.objects_store(), key, [this, key](const store::event& e) {
    if (e.object->key() != key) return;
    if (e.type == store::event_type::deleted) {
      holder_.clear();
      seen_version_.clear();
    } else if (auto lease = json::parse(e.object->bytes())) {
      look(*lease);
    }
    // A leader's own renewals wake nobody.
    if (holder_ != options_.identity || !leads()) changed_.pulse();
  }));
  bool told = false;
  while (!closing_) {
    auto asked = loop.now();
    auto held = co_await try_hold();
    if (closing_) {
      if (held == attempt::mine) co_await give_back();
      co_return;
    }
    if (held != attempt::mine) {
      if (!std::exchange(told, true))
        log::info("election {}: {} leads", options_.name, holder_.empty() ? "nobody" : holder_);
      // Until the holder's time is over, or it gives the Lease back; without a holder as often as client-go asks.
      auto others = [this] { return !holder_.empty() && holder_ != options_.identity; };
      auto stretch = 1 + (jitter - 1) * double(loop.random().next() % 1000) / 1000;
      auto again = loop.now() + std::chrono::duration_cast<duration>(options_.retry_period * stretch);
      for (;;) {
        auto until =
            others() && !free_since_ ? std::max(seen_at_ + seen_duration_, loop.now() + shortest_pause) : again;
        bool woken = co_await changed_.wait_until(until);
        if (closing_ || !woken || !others()) break;
      }
      continue;
    }
    told = false;
    renewed_at_ = asked;
    log::info("election {}: this server leads", options_.name);
    leads_.store(true, std::memory_order_relaxed);
    leading_.spawn(lead());
    bool leave = co_await keep();
    leads_.store(false, std::memory_order_relaxed);
    leading_.cancel();
    if (leave && !closing_) {
      log::info("election {}: a K3s server lives, and the lead is left to it", options_.name);
      co_await give_back();
    } else if (!closing_) {
      log::warning("election {}: this server leads no longer", options_.name);
    }
  }
}

task<void> election::release(time_point deadline) {
  closing_ = true;
  bool led = leads_.exchange(false, std::memory_order_relaxed);
  leading_.cancel();
  changed_.pulse();
  if (!led) co_return;
  (void)co_await reactor::with_deadline(
      [](election& self) -> task<result<void>> {
        co_await self.give_back();
        co_return result<void>();
      }(*this),
      deadline);
}

// client-go's ReleaseOnCancel: nobody holds it, and for a second only.
task<void> election::give_back() {
  if (options_.ended) co_await options_.ended();
  for (int i = 0; i < 3; ++i) {
    auto lease = objects_.get(leases, options_.ns, options_.name);
    if (!lease || (*lease)["spec"]["holderIdentity"].as_string() != options_.identity) co_return;
    auto now = format_rfc3339_micro(reactor::loop::current().wall_now());
    auto& spec = lease->member("spec");
    spec.set("holderIdentity", "");
    spec.set("leaseDurationSeconds", 1);
    spec.set("renewTime", now);
    spec.set("acquireTime", now);
    auto written = co_await objects_.update(leases, options_.ns, std::move(*lease));
    if (written || written.error().code != 409) co_return;
  }
}

}  // namespace kedge::control
