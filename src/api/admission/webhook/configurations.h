// configurations.h: the webhooks that there are, as this core knows them.
//
//   store's events of configurations ─▶ each that changed is read ─▶ a new list ─▶ swapped in: requests that run keep
//   the one they began with
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/admission/webhook/hook.h"
#include "reactor/scope.h"
#include "store/store.h"

namespace kedge::api::webhook {

// In the order in which they are called: by configuration's name, and as they stand in it.
using hook_list = std::vector<std::shared_ptr<const hook>>;

// Those of one kind of configuration, on one core.
class configurations {
 public:
  // Reads what is there. `s` outlives this.
  configurations(store::store& s, bool mutating);
  // Follows changes from now on, until this is dropped.
  void follow() { following_.spawn(keep()); }
  // Looks at the store's state as this core sees it.
  void refresh();

  const std::shared_ptr<const hook_list>& current() const noexcept { return now_; }

 private:
  task<void> keep();
  struct known {
    store::object_ref source;
    hook_list hooks;
  };
  store::store& store_;
  const bool mutating_;
  std::string prefix_;
  std::map<std::string, known> known_;  // by key
  std::shared_ptr<const hook_list> now_ = std::make_shared<const hook_list>();
  reactor::scope following_;  // last: it ends first
};

}  // namespace kedge::api::webhook
