#include "node/pods/cpu_manager.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "node/pods/exclusive.h"
#include "pod/amounts.h"
#include "reactor/offload.h"

namespace kedge::node {

namespace {

using json::value;

int reserved_cpus(const kubelet_settings& k) {
  schema::quantity all;
  for (auto* kept : {&k.system_reserved, &k.kube_reserved})
    if (auto one = kept->find("cpu"); one != kept->end()) all += one->second;
  return static_cast<int>((all.milli_value() + 999) / 1000);
}

}  // namespace

task<void> cpu_manager::begin() {
  auto ledger = co_await reactor::offload([k = parts_.settings]() -> result<cpu_ledger> {
    KEDGE_TRY(auto topology, read_topology({}));
    return cpu_ledger::make(std::move(topology), k.cpus, reserved_cpus(k));
  });
  auto text = co_await file_.read();
  if (!ledger) {
    problem_ = ledger.error().message;
  } else if (!*ledger) {
    problem_ = ledger->error().message;
  } else if (!text) {
    problem_ = text.error().message;
  } else if (auto restored = *text ? (*ledger)->restore(**text) : result<void>(); !restored) {
    problem_ = fmt::format("{}: {}; drain the node and remove that file", file_.path(), restored.error().message);
  } else {
    ledger_.emplace(**std::move(ledger));
  }
  if (!ledger_) log::warning("no container gets CPUs for itself: {}", problem_);
  begun_.set();
}

bool cpu_manager::has_own(std::string_view uid, std::string_view container) const {
  return ledger_ && (container.empty() ? ledger_->has_own(uid) : ledger_->own(uid, container) != nullptr);
}

cpu_set cpu_manager::own(std::string_view uid, std::string_view container) const {
  auto* cpus = ledger_ ? ledger_->own(uid, container) : nullptr;
  return cpus ? *cpus : cpu_set();
}

task<void> cpu_manager::ready() {
  if (parts_.settings.cpus.is_static) co_await begun_.wait();
}

void cpu_manager::free_unused() {
  if (!ledger_ || !parts_.pods.knows_all()) return;
  std::set<std::string, std::less<>> uids;
  for (auto& p : parts_.pods.active()) uids.emplace((*p)["metadata"]["uid"].as_string());
  (void)ledger_->keep_only(uids);
}

hints_by_resource cpu_manager::hints(const value& pod, const value& container) const {
  if (!ledger_) return {};
  return ledger_->hints(pod["metadata"]["uid"].as_string(), cpu_needs_of(pod), container["name"].as_string());
}

hints_by_resource cpu_manager::pod_hints(const value& pod) const {
  return ledger_ ? ledger_->pod_hints(pod["metadata"]["uid"].as_string(), cpu_needs_of(pod)) : hints_by_resource();
}

task<result<void>> cpu_manager::give(value pod, value container, numa_hint near) {
  if (!parts_.settings.cpus.is_static) co_return result<void>();
  auto needs = cpu_needs_of(pod);
  auto name = container["name"].as_string();
  if (std::ranges::find(needs, name, &cpu_need::container) == needs.end()) co_return result<void>();
  if (!ledger_) co_return fail(errc::unavailable, problem_);
  co_return ledger_->give(pod["metadata"]["uid"].as_string(), needs, name, near.nodes);
}

task<void> cpu_manager::given_all() {
  if (!ledger_) co_return;
  co_await save();
  given_.set();
}

task<std::string> cpu_manager::cpus_of(std::string uid, std::string container) {
  if (!parts_.settings.cpus.is_static) co_return std::string();
  co_await begun_.wait();
  if (!ledger_) co_return std::string();
  auto* own = ledger_->own(uid, container);
  co_return text_of(own ? *own : ledger_->shared());
}

task<void> cpu_manager::save() {
  if (auto done = co_await file_.write(*ledger_); !done)
    log::warning("which CPUs containers have can't be kept: {}", done.error().message);
}

task<void> cpu_manager::move_containers() {
  struct running {
    std::string id, cpus;
  };
  std::vector<running> all;
  std::map<std::string, std::string> still;
  for (auto* w : parts_.pods.all()) {
    auto uid = std::string((*w->pod())["metadata"]["uid"].as_string());
    for (auto& c : w->seen().containers) {
      if (c.state != container_state::running) continue;
      auto* own = ledger_->own(uid, c.name);
      all.push_back({c.id, text_of(own ? *own : ledger_->shared())});
      if (auto known = applied_.find(c.id); known != applied_.end()) still.insert(*known);
    }
  }
  applied_ = std::move(still);
  for (auto& c : all) {
    if (c.cpus.empty() || applied_[c.id] == c.cpus) continue;
    auto moved = co_await parts_.runtime.update_resources(c.id, {.cpus = c.cpus});
    if (moved)
      applied_[c.id] = c.cpus;
    else
      log::debug("container {} can't be moved to CPUs {}: {}", c.id, c.cpus, moved.error().message);
  }
}

task<void> cpu_manager::run() {
  if (!parts_.settings.cpus.is_static) co_return;
  co_await begin();
  if (!ledger_) co_return;
  co_await save();
  auto& here = reactor::loop::current();
  for (;;) {
    free_unused();
    co_await save();
    co_await move_containers();
    (void)co_await given_.wait_until(here.now() + parts_.settings.cpus.look_interval);
    given_.reset();
  }
}

}  // namespace kedge::node
