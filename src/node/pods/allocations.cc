#include "node/pods/allocations.h"

#include <utility>

#include "base/log.h"
#include "node/limits.h"
#include "node/pods/resize.h"

namespace kedge::node {

using json::value;

pod_allocations::pod_allocations(std::string folder)
    : allocated_{.file = {folder + "/allocated_pods_state", allocation_state_bytes_max}},
      actuated_{.file = {folder + "/actuated_pods_state", allocation_state_bytes_max}} {}

// One that can't be read is begun anew, as pods run on whatever it says: what they were made with is what they have.
task<void> pod_allocations::read(kept& k) {
  auto text = co_await k.file.read();
  auto done = !text ? result<void>(std::unexpected(text.error())) : *text ? k.ledger.restore(**text) : result<void>();
  if (!done)
    log::warning("{}: {}; what pods were given is read from their containers", k.file.path(), done.error().message);
  if (!text || !*text) k.file.assume(k.ledger.checkpoint());
}

task<void> pod_allocations::begin() {
  co_await read(allocated_);
  co_await read(actuated_);
}

task<void> pod_allocations::save() {
  for (auto* k : {&allocated_, &actuated_}) {
    if (auto done = co_await k->file.write(k->ledger); !done)
      log::warning("what pods were given can't be kept: {}", done.error().message);
  }
}

task<void> pod_allocations::run() {
  for (;;) {
    co_await changed_.wait();
    changed_.reset();
    co_await save();
  }
}

void pod_allocations::allocate(const value& pod) {
  allocated_.ledger.set(pod["metadata"]["uid"].as_string(), resources_of_pod(pod));
  changed_.set();
}

void pod_allocations::actuate(std::string_view uid, std::string_view container, value resources) {
  actuated_.ledger.set(uid, container, std::move(resources));
  changed_.set();
}

void pod_allocations::actuate_whole(std::string_view uid, value resources) {
  actuated_.ledger.set_whole(uid, std::move(resources));
  changed_.set();
}

bool pod_allocations::forget_container(std::string_view uid, std::string_view container) {
  return actuated_.ledger.erase(uid, container);
}

void pod_allocations::forget(std::string_view uid) {
  const bool was = allocated_.ledger.erase(uid);
  if (actuated_.ledger.erase(uid) || was) changed_.set();
}

void pod_allocations::keep_only(const std::set<std::string, std::less<>>& uids) {
  const bool any = allocated_.ledger.keep_only(uids);
  if (actuated_.ledger.keep_only(uids) || any) changed_.set();
}

}  // namespace kedge::node
