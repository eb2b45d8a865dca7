// controller.h: what the server's own housekeeping runs on: following a prefix of the store, and a queue of keys to
// work on. Controllers proper are shell.h's.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "api/objects.h"
#include "control/view.h"
#include "control/work_queue.h"

namespace kedge::api {
class metrics;
}

namespace kedge::control {

// What each part of it is given.
struct context {
  api::objects& objects;
  bool serves_usage = false;         // metrics.k8s.io, in this process
  api::metrics* measures = nullptr;  // outlives it; null: nothing is counted
};

// Reads every object under `prefix` and then follows its changes until dropped: `each` sees the existing ones as added.
// After a gap (compaction, slow reader) it starts over: `each` then sees existing ones again, and `restarted` is called
// first, so that a controller can forget what it derived.
task<void> follow(store::store& s, std::string prefix, std::function<void(const store::event&)> each,
                  std::function<void()> restarted = {});

// Works the queue with that many at a time until dropped. A failed reconcile is logged and retried with backoff; one
// whose object changed meanwhile (409) or is gone (404) is simply looked at again.
task<void> work(std::string controller, work_queue& queue, unsigned at_once,
                std::function<task<api::api_result<void>>(std::string key)> reconcile);

// Each runs until dropped. One file each; what it does stands there.
task<void> run_service_allocations(context& c);
task<void> run_custom_resources(context& c);
task<void> run_flow_schemas(context& c);

}  // namespace kedge::control
