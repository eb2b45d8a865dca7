// link.h: what every connection to a shared database is: requests on their way, answered in the order they were sent,
// until it is lost. Below it are libpq, libmariadb and hiredis (connection.h of postgres/, mysql/ and redis/).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "reactor/sync.h"

namespace kedge::datastore {

template <typename Answer>
struct link_request {
  std::optional<result<Answer>> value;  // set before `done`; errc::closed: the link was lost, so nobody knows
  std::string state;                    // the server's code of its error: a SQLSTATE, or the first word of a reply
  reactor::event done;
  time_point sent{};
};

// Request is a link_request. On one core.
template <typename Request>
class link {
 public:
  using request_ref = std::shared_ptr<Request>;

  link(const link&) = delete;
  link& operator=(const link&) = delete;

  bool usable() const noexcept { return !broken_; }
  const error& why() const noexcept { return *broken_; }
  // Set when the link is lost.
  reactor::event& lost() noexcept { return lost_; }
  // Makes it lost: for a server that must not be asked any more, or does not answer.
  void abandon(error why) {
    if (broken_) return;
    end(std::move(why));
    ended();
    lost_.set();
  }
  // How long something has waited here for its answer while not a byte came. A slow answer is none of this.
  duration silent() const {
    if (broken_ || waiting_.empty()) return duration::zero();
    return reactor::loop::current().now() - std::max(heard_, waiting_.front()->sent);
  }
  // How long ago the last byte came, whether something waits or not.
  duration unheard() const { return reactor::loop::current().now() - heard_; }

 protected:
  link() : heard_(reactor::loop::current().now()) {}
  ~link() = default;
  virtual void ended() {}

  // What waits is told that nobody knows. The last that a destructor does with requests.
  void end(error why) {
    if (!broken_) broken_ = std::move(why);
    for (auto& r : std::exchange(waiting_, {})) {
      r->value.emplace(fail(errc::closed, broken_->message));
      r->done.set();
    }
  }
  // A request that is answered already, because there is no link.
  request_ref refused() const {
    auto r = std::make_shared<Request>();
    r->value.emplace(fail(errc::closed, broken_->message));
    r->done.set();
    return r;
  }
  request_ref add(request_ref r = std::make_shared<Request>()) {
    r->sent = reactor::loop::current().now();
    waiting_.push_back(r);
    return r;
  }
  void heard() { heard_ = reactor::loop::current().now(); }

  std::deque<request_ref> waiting_;
  std::optional<error> broken_;

 private:
  reactor::event lost_;
  time_point heard_;  // at first: when it was made, by an answer of the server's
};

}  // namespace kedge::datastore
