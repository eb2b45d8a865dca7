// cluster_lock.h: held by the one server that changes what all servers share: the encryption keys, the token.
//
//   row {"address","identity","work","since"}, with a lease of 30 s that is renewed every 10 s while the work lasts
//     ─▶ whoever finds it: held, by whom and for what; but its own from an earlier life, or a dead server's, is taken
//     over
//
// It keeps two administrators from working at once. It is no fence: what its holder writes is guarded by the revisions
// that it read, and a holder that lost it (stopped, cut off) sees that before its next step.
#pragma once

#include <functional>
#include <string>

#include "reactor/scope.h"
#include "store/store.h"

namespace kedge::supervisor {

class cluster_lock {
 public:
  struct parts {
    store::store& objects;
    std::string row;
    std::function<std::string()> address;                  // of this server, as others know it
    std::string identity;                                  // of this process
    std::function<bool(std::string_view identity)> lives;  // whether another server's process does
  };
  explicit cluster_lock(parts p) : parts_(std::move(p)) {}

  // For `work` ("changes the encryption keys"). errc::already_exists: who holds it, and what for.
  task<result<void>> take(std::string work);
  task<void> give_back();
  // errc::conflict: it was lost meanwhile; what was begun must not go on.
  result<void> held() const;
  void stop() noexcept { renewing_.cancel(); }

 private:
  std::string value() const;
  store::object_ref mine(const store::snapshot& now) const;
  task<result<void>> try_to_take();
  task<void> renew();

  parts parts_;
  std::string work_, since_;
  bool held_ = false;  // from the take to the giving back
  bool lost_ = false;
  reactor::scope renewing_;
};

}  // namespace kedge::supervisor
