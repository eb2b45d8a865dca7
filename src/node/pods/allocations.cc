#include "node/pods/allocations.h"

#include <utility>

#include "base/log.h"
#include "crypto/files.h"
#include "node/limits.h"
#include "node/pods/resize.h"
#include "reactor/offload.h"
#include "reactor/turn.h"

namespace kedge::node {

using json::value;

pod_allocations::pod_allocations(std::string folder)
    : allocated_{.file = folder + "/allocated_pods_state", .ledger = {}},
      actuated_{.file = folder + "/actuated_pods_state", .ledger = {}} {}

// One that can't be read is begun anew, as pods run on whatever it says: what they were made with is what they have.
task<void> pod_allocations::read(kept& k) {
  auto text =
      co_await reactor::offload([file = k.file] { return crypto::read_file(file, allocation_state_bytes_max); });
  auto done = !text                                   ? result<void>(std::unexpected(text.error()))
              : text->has_value()                     ? k.ledger.restore(**text)
              : text->error().code == errc::not_found ? result<void>()
                                                      : result<void>(std::unexpected(text->error()));
  if (!done) log::warning("{}: {}; what pods were given is read from their containers", k.file, done.error().message);
  k.saved = text && *text ? **text : k.ledger.checkpoint();
}

task<void> pod_allocations::begin() {
  co_await read(allocated_);
  co_await read(actuated_);
}

task<void> pod_allocations::write(kept& k) {
  auto text = k.ledger.checkpoint();
  if (text == k.saved) co_return;
  auto written = co_await reactor::offload([file = k.file, text]() -> result<void> {
    KEDGE_CHECK(crypto::make_folder(file.substr(0, file.find_last_of('/')), 0755));
    return crypto::write_file(file, text, {.mode = 0600});
  });
  if (written && *written)
    k.saved = std::move(text);
  else
    log::warning("what pods were given can't be kept: {}",
                 written ? written->error().message : written.error().message);
}

// One after the other: what was older would be written last.
task<void> pod_allocations::save() {
  co_await one_save_.acquire();
  reactor::turn mine(one_save_);
  co_await write(allocated_);
  co_await write(actuated_);
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
