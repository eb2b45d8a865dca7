// home_caller.h: webhooks as the loop of the controllers asks them: on the server's home loop, which has the tunnels.
//
//   controller ─▶ home_caller (its loop) ─▶ call_desk (home loop) ─▶ the caller of that loop's front
#pragma once

#include <memory>

#include "api/callout/caller.h"
#include "reactor/scope.h"

namespace kedge::server {

struct shared;

// The home loop's end. Used on that loop alone.
class call_desk {
 public:
  // `calls` lives until close().
  explicit call_desk(api::callout::caller& calls) : calls_(&calls) {}
  task<result<api::callout::answer>> post(api::callout::call c);
  // Drops what runs; nothing begins any more.
  void close();

 private:
  api::callout::caller* calls_;
  reactor::scope running_;
};

class home_caller final : public api::callout::caller {
 public:
  // It outlives this.
  explicit home_caller(shared& s) : shared_(s) {}
  task<result<api::callout::answer>> post(api::callout::call c) override;

 private:
  shared& shared_;
};

}  // namespace kedge::server
