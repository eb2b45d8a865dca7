// leader_election.h: which of several servers runs the controllers, as client-go's leaderelection decides it.
//
//   Lease kube-system/<name>: holderIdentity, renewTime … ── follow ──▶ free, or not renewed for its duration (by this
//   server's own clock since it saw the last renewal) ─▶ take it ─▶ lead() runs ── renewed every retry_period ── until
//   renewing failed for renew_deadline: lead() is dropped, and the election begins anew
//
// A leader that stops gives the Lease back; who waits sees that at once, and takes over without waiting for the end of
// it. Servers of K3s hold the same Leases in the same way. Where one lives the Lease is left to it (`leave_it`),
// because its controllers do more than ours; but not for longer than it needs to take it. No clocks of two machines are
// compared. Two leaders are possible for the time between a stall of the old one and its next timer, so that what
// leaders write must be guarded by what they read.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "api/objects.h"
#include "reactor/sync.h"

namespace kedge::control {

struct election_options {
  std::string name;      // "kube-controller-manager"
  std::string identity;  // "<host>_<uuid>", of this process
  std::string ns = "kube-system";
  duration lease_duration = std::chrono::seconds(15);
  duration renew_deadline = std::chrono::seconds(10);
  duration retry_period = std::chrono::seconds(2);
  // Whether another kind of server lives that should rather lead. Then a leader gives the Lease back, once, and who
  // waits takes a free one only when nobody else has for `leave_time`.
  std::function<bool()> leave_it = {};
  duration leave_time = std::chrono::seconds(30);  // a K3s server that begins needs some 10 s until it asks
  // Awaited before the Lease is given away: what lead() began on other loops has ended then.
  std::function<task<void>()> ended = {};
};

class election {
 public:
  election(api::objects& objects, election_options options);

  // Takes part until dropped, and runs `lead` whenever this server leads. Once.
  task<void> run(std::function<task<void>()> lead);
  // Ends leading and gives the Lease back. After it run() must be dropped. Bounded by `deadline`.
  task<void> release(time_point deadline);

  // From any core: whether this server leads now.
  bool leads() const noexcept { return leads_.load(std::memory_order_relaxed); }
  // While this server leads: until then nobody else does, however late this server's own timers are.
  time_point alone_until() const noexcept { return renewed_at_ + options_.renew_deadline; }

 private:
  enum class attempt : unsigned char { mine, others, failed };
  task<attempt> try_hold();
  task<bool> keep();
  task<void> give_back();
  void look(const json::value& lease);

  api::objects& objects_;
  election_options options_;
  std::string seen_version_, holder_;  // of the Lease as last seen
  time_point seen_at_{};               // when that version came
  duration seen_duration_{};
  time_point renewed_at_{};
  std::optional<time_point> free_since_;  // when the Lease was first seen without a holder that lives
  bool left_ = false;                     // to the server that leave_it tells of
  bool closing_ = false;
  // Written by the election's core. Relaxed: it orders nothing, and what leaders write is guarded by revisions.
  std::atomic<bool> leads_ = false;
  reactor::event changed_;
  reactor::scope leading_;
};

}  // namespace kedge::control
