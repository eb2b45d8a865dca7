// client.h: caller.h over HTTPS, for one core: connections that are kept, and rooms.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "api/callout/caller.h"
#include "api/callout/egress.h"
#include "net/http/client.h"
#include "reactor/sync.h"
#include "store/store.h"

namespace kedge::api::callout {

class client final : public caller {
 public:
  // What a server's certificate was refused for.
  enum class flaw : unsigned char { nameless, weakly_signed };
  // Both outlive it. `flawed` is told of each call that came to nothing so.
  client(store::store& objects, egress& ways, std::function<void(flaw)> flawed = {});
  ~client() override;

  task<result<answer>> post(call c) override;

 private:
  struct network;
  class place;
  task<result<answer>> exchange(const call& c);
  task<result<std::unique_ptr<net::http::client_exchange>>> ask(const call& c);
  result<net::http::target> destination(const target& to) const;
  void count(const error& e);

  store::store& objects_;
  const std::function<void(flaw)> flawed_;
  std::unique_ptr<network> network_;
  net::http::client http_;
  std::map<std::string, std::shared_ptr<reactor::semaphore>, std::less<>> rooms_;  // of configurations that call now
};

}  // namespace kedge::api::callout
