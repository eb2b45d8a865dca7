#include "node/pods/memory_manager.h"

#include <fmt/format.h>

#include "base/log.h"
#include "node/pods/exclusive.h"
#include "node/resources/eviction.h"

namespace kedge::node {

namespace {

using json::value;

std::string_view uid_of(const value& pod) { return pod["metadata"]["uid"].as_string(); }

// What the node keeps of each kind: for the system, for itself, and what has to be left
// (GetNodeAllocatableReservation).
pod::amounts kept_by(const kubelet_settings& k, std::uint64_t memory_bytes) {
  pod::amounts out;
  for (auto* kept : {&k.system_reserved, &k.kube_reserved})
    if (auto memory = kept->find("memory"); memory != kept->end()) pod::add(out, {{"memory", memory->second}});
  for (auto& t : k.thresholds)
    if (t.of == eviction_signal::memory_available && !t.soft)
      pod::add(out, {{"memory", schema::quantity::of(static_cast<std::int64_t>(amount_of(t.below, memory_bytes)))}});
  return out;
}

}  // namespace

task<void> memory_manager::begin(result<numa_nodes> nodes, std::uint64_t memory_bytes) {
  if (!parts_.settings.memory.is_static) co_return;
  auto ledger = nodes ? memory_ledger::make(*nodes, parts_.settings.memory, kept_by(parts_.settings, memory_bytes))
                      : result<memory_ledger>(std::unexpected(nodes.error()));
  auto text = co_await file_.read();
  if (!text) {
    problem_ = text.error().message;
  } else if (!ledger) {
    problem_ = ledger.error().message;
  } else if (auto restored = *text ? ledger->restore(**text) : result<void>(); !restored) {
    problem_ = fmt::format("{}: {}; drain the node and remove that file", file_.path(), restored.error().message);
  } else {
    ledger_.emplace(*std::move(ledger));
    co_await save();
    co_return;
  }
  log::warning("no container gets memory of certain NUMA nodes: {}", problem_);
}

void memory_manager::free_unused() {
  if (!ledger_ || !parts_.pods.knows_all()) return;
  std::set<std::string, std::less<>> uids;
  for (auto& p : parts_.pods.active()) uids.emplace(uid_of(*p));
  (void)ledger_->keep_only(uids);
}

hints_by_resource memory_manager::hints(const value& pod, const value& container) const {
  if (!ledger_) return {};
  for (auto& need : memory_needs_of(pod))
    if (need.container == container["name"].as_string()) return ledger_->hints(uid_of(pod), need);
  return {};
}

hints_by_resource memory_manager::pod_hints(const value& pod) const {
  return ledger_ ? ledger_->pod_hints(uid_of(pod), memory_needs_of(pod)) : hints_by_resource();
}

task<result<void>> memory_manager::give(value pod, value container, numa_hint near) {
  if (!parts_.settings.memory.is_static) co_return result<void>();
  auto needs = memory_needs_of(pod);
  if (!ledger_) co_return needs.empty() ? result<void>() : fail(errc::unavailable, problem_);
  co_return ledger_->give(uid_of(pod), needs, container["name"].as_string(), near);
}

task<void> memory_manager::given_all(std::string uid) {
  if (!ledger_) co_return;
  ledger_->given_all(uid);
  co_await save();
}

task<std::string> memory_manager::begins(value pod, std::string container) {
  if (!ledger_) co_return std::string();
  auto uid = uid_of(pod);
  if (ledger_->begins(uid, memory_needs_of(pod), container)) co_await save();
  std::set<int> nodes;
  if (auto* has = ledger_->find(uid, container))
    for (auto& b : *has) nodes.insert(b.nodes.begin(), b.nodes.end());
  co_return fmt::format("{}", fmt::join(nodes, ","));
}

std::vector<memory_block> memory_manager::own(std::string_view uid, std::string_view container) const {
  auto* has = ledger_ ? ledger_->find(uid, container) : nullptr;
  return has ? *has : std::vector<memory_block>();
}

std::vector<memory_block> memory_manager::allocatable() const {
  return ledger_ ? ledger_->allocatable() : std::vector<memory_block>();
}

task<void> memory_manager::save() {
  if (auto done = co_await file_.write(*ledger_); !done)
    log::warning("which memory containers have can't be kept: {}", done.error().message);
}

}  // namespace kedge::node
