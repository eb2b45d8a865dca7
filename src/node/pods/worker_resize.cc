// worker_resize.cc: a pod that runs and is given other resources (resize.h): its control group and its containers, one
// amount after the other, so that a pod's limit is never below its containers'.
#include <fmt/format.h>

#include <limits>
#include <map>
#include <utility>

#include "base/log.h"
#include "node/pods/pod_groups.h"
#include "node/pods/resize.h"
#include "node/pods/worker.h"
#include "pod/amounts.h"

namespace kedge::node {

using json::value;

namespace {

constexpr std::string_view infeasible = "Infeasible", failed = "Error";

// Those of the conditions that are there already: a restart of the agent tells nothing twice.
std::optional<resize_condition> told_condition(const value& pod, std::string_view type) {
  auto* all = pod["status"]["conditions"].array();
  if (!all) return std::nullopt;
  for (auto& c : *all)
    if (c["type"].as_string() == type)
      return resize_condition{.type = std::string(type),
                              .reason = std::string(c["reason"].as_string()),
                              .message = std::string(c["message"].as_string()),
                              .generation = c["observedGeneration"].as_integer()};
  return std::nullopt;
}

std::int64_t memory_limit_of(const value& resources) {
  return resources["limits"]["memory"].is_null() ? 0 : pod::amount_of(resources["limits"]["memory"]).value();
}

// What of a container's resources is memory, or CPU: the rest stays.
container_resources only_memory(const container_resources& all) {
  container_resources out;
  out.memory_limit = all.memory_limit;
  out.memory_swap_limit = all.memory_swap_limit;
  out.unified = all.unified;
  return out;
}
container_resources only_cpu(const container_resources& all) {
  container_resources out;
  out.cpu_period = all.cpu_period;
  out.cpu_quota = all.cpu_quota;
  out.cpu_shares = all.cpu_shares;
  return out;
}

}  // namespace

void pod_worker::take(value pod) {
  asked_ = std::make_shared<const value>(std::move(pod));
  pod_ = as_allocated(asked_, parts_.allocations.allocated((*asked_)["metadata"]["uid"].as_string()));
  if (pod_ == asked_ || (pending_ && pending_->generation != (*asked_)["metadata"]["generation"].as_integer()))
    is_infeasible_ = false;
}

void pod_worker::remember_resize() {
  pending_ = told_condition(*pod_, resize_pending);
  under_way_ = told_condition(*pod_, resize_under_way);
}

// One that was admitted before allocations were kept has what its containers say.
void pod_worker::find_allocation() {
  if (gone_ || is_terminal_phase(wanted_["phase"].as_string()) || parts_.allocations.allocated(uid())) return;
  parts_.allocations.allocate(as_given(*asked_, seen_));
  take(*asked_);
}

bool pod_worker::waits_for_resize() const {
  return asked_ != pod_ && !is_infeasible_ && admitted_ && !shall_end() && !ended_;
}

void pod_worker::resize(std::optional<waiting_reason> why) {
  auto generation = (*asked_)["metadata"]["generation"].as_integer();
  if (!why) {
    parts_.allocations.allocate(*asked_);
    pod_ = asked_;
    pending_.reset();
    under_way_ =
        resize_condition{.type = std::string(resize_under_way), .reason = {}, .message = {}, .generation = generation};
    tell({}, false, "ResizeStarted", resize_message("Pod resize started", *pod_, generation));
    changed_.set();
    return;
  }
  is_infeasible_ = why->reason == infeasible;
  resize_condition now{.type = std::string(resize_pending),
                       .reason = is_infeasible_ ? std::string(infeasible) : "Deferred",
                       .message = why->message,
                       .generation = generation};
  if (pending_ == now) return;
  if (!pending_ || pending_->reason != now.reason || pending_->generation != now.generation)
    tell({}, true, is_infeasible_ ? "ResizeInfeasible" : "ResizeDeferred",
         resize_message("Pod resize " + why->reason, *asked_, generation, why->message));
  pending_ = std::move(now);
  changed_.set();
}

// What of a resize is told now; its end is told once.
void pod_worker::look_at_resize() {
  if (asked_ == pod_) pending_.reset();
  if (resize_in_progress(*pod_, seen_)) {
    if (!under_way_)
      under_way_ = resize_condition{.type = std::string(resize_under_way),
                                    .reason = {},
                                    .message = {},
                                    .generation = (*pod_)["metadata"]["generation"].as_integer()};
  } else if (under_way_) {
    tell({}, false, "ResizeCompleted", resize_message("Pod resize completed", *pod_, under_way_->generation));
    under_way_.reset();
  }
}

std::vector<resize_condition> pod_worker::resize_conditions() const {
  std::vector<resize_condition> out;
  if (pending_) out.push_back(*pending_);
  if (under_way_) out.push_back(*under_way_);
  return out;
}

// What is running gets what was allocated to it, and the pod what it and those that start next come to. Whether that
// could be done.
task<bool> pod_worker::apply_resize(const pod_steps& steps) {
  auto starting = steps.init;
  starting.insert(starting.end(), steps.regular.begin(), steps.regular.end());
  auto seen = seen_;
  for (auto& k : steps.kill)  // these have ended since it was seen
    for (auto& c : seen.containers)
      if (c.id == k.id) c.state = container_state::exited;
  if (!seen_.active_sandbox()) co_return true;
  auto plan = plan_resize(*pod_, seen, starting);
  if (plan.nothing()) co_return true;
  // An agent that ends in between goes on with it.
  co_await parts_.allocations.save();
  auto done = co_await carry_out(std::move(plan));
  if (done) {
    changed_.set();  // to tell of it
    co_return true;
  }
  log::debug("pod {} can't be resized: {}", pod_in_messages(*pod_), done.error().message);
  if (under_way_ && (under_way_->reason != failed || under_way_->message != done.error().message)) {
    under_way_->reason = failed;
    under_way_->message = done.error().message;
    tell({}, true, "ResizeError",
         resize_message("Pod resize error", *pod_, under_way_->generation, done.error().message));
    say_status();
  }
  co_return false;
}

task<result<void>> pod_worker::carry_out(resize_plan plan) {
  auto pod = pod_;
  group_reading now;
  if (parts_.needs) { KEDGE_CO_TRY(now, co_await parts_.needs->group_of(*pod)); }
  auto wanted = limits_of_pod(*pod, parts_.settings);
  auto sandbox = sandbox_before(wanted, now);
  if (plan.of_memory) {
    // A limit that is taken away stays until the pod is made anew, as the kubelet has it.
    const bool has_limit = wanted.memory_bytes && *wanted.memory_bytes > 0;
    const auto most = has_limit ? *wanted.memory_bytes : now.memory_limit;
    group_limits memory{
        .memory_bytes = has_limit ? wanted.memory_bytes : std::nullopt, .hugepages = {}, .unified = wanted.unified};
    KEDGE_CO_CHECK(co_await check_memory(plan, most < now.memory_limit ? most : 0, now.memory_bytes));
    if (most > now.memory_limit) KEDGE_CO_CHECK(co_await limit_group(sandbox, memory));
    KEDGE_CO_CHECK(co_await update_containers(pod, std::move(plan.memory), only_memory));
    if (most <= now.memory_limit) KEDGE_CO_CHECK(co_await limit_group(sandbox, memory));
    if (plan.of_whole) co_await note_whole("memory");
  }
  if (plan.of_cpu) {
    const bool has_quota = wanted.cpu_quota_us && *wanted.cpu_quota_us > 0;
    const bool more = has_quota && *wanted.cpu_quota_us > now.cpu_quota_us;
    group_limits quota{.cpu_quota_us = has_quota ? wanted.cpu_quota_us : std::nullopt,
                       .cpu_period_us = wanted.cpu_period_us,
                       .hugepages = {},
                       .unified = {}};
    const bool asks_more = wanted.cpu_shares.value_or(0) > now.cpu_shares;
    group_limits shares{.cpu_shares = wanted.cpu_shares, .hugepages = {}, .unified = {}};
    if (more) KEDGE_CO_CHECK(co_await limit_group(sandbox, quota));
    if (asks_more) KEDGE_CO_CHECK(co_await limit_group(sandbox, shares));
    KEDGE_CO_CHECK(co_await update_containers(pod, std::move(plan.cpu), only_cpu));
    if (!asks_more) KEDGE_CO_CHECK(co_await limit_group(sandbox, shares));
    if (!more) KEDGE_CO_CHECK(co_await limit_group(sandbox, quota));
    if (plan.of_whole) co_await note_whole("cpu");
  }
  co_return result<void>();
}

pod_worker::told_sandbox pod_worker::sandbox_before(const group_limits& wanted, const group_reading& now) const {
  constexpr auto none = std::numeric_limits<std::int64_t>::max();
  auto* active = seen_.active_sandbox();
  auto config = make_sandbox_config(*pod_, parts_.settings, active ? active->attempt : 0);
  told_sandbox out{.id = active ? active->id : std::string(), .has = {}, .overhead = config.overhead};
  out.has.cpu_shares = now.cpu_shares;
  out.has.cpu_period = now.cpu_period_us;
  out.has.cpu_quota = now.cpu_quota_us == none ? -1 : now.cpu_quota_us;
  out.has.memory_limit = now.memory_limit == none ? -1 : now.memory_limit;
  out.has.unified.assign(wanted.unified.begin(), wanted.unified.end());
  return out;
}

// The runtime hears of it first: where it refuses, nothing is changed.
task<result<void>> pod_worker::limit_group(told_sandbox& sandbox, group_limits limits) {
  auto next = sandbox.has;
  next.cpu_shares = limits.cpu_shares.value_or(next.cpu_shares);
  next.cpu_quota = limits.cpu_quota_us.value_or(next.cpu_quota);
  next.cpu_period = limits.cpu_period_us.value_or(next.cpu_period);
  next.memory_limit = limits.memory_bytes.value_or(next.memory_limit);
  const bool tells = !(next == sandbox.has) && !sandbox.id.empty();
  auto tell = [&](const container_resources& has) {
    return parts_.runtime.update_sandbox(sandbox.id, without_overhead(has, *pod_), sandbox.overhead);
  };
  if (tells)
    if (auto told = co_await tell(next); !told)
      co_return fail(told.error().code,
                     fmt::format("failed to notify runtime for UpdatePodSandboxResources (resource={}); resize "
                                 "rejected: updatePodSandboxResources failed for sanboxID \"{}\": {}",
                                 limits.memory_bytes ? "memory" : "cpu", sandbox.id, rpc_text(told.error())));
  if (parts_.needs)
    if (auto done = co_await parts_.needs->limit_group(*pod_, std::move(limits)); !done) {
      if (tells) (void)co_await tell(sandbox.has);
      co_return done;
    }
  sandbox.has = std::move(next);
  co_return result<void>();
}

// The pod has as much of it as it asks for as a whole.
task<void> pod_worker::note_whole(const char* amount) {
  auto whole = with_amount_of(seen_.given.value_or(value(json::object{})), spec_of(*pod_)["resources"], amount);
  seen_.given = whole;
  parts_.allocations.actuate_whole(uid(), std::move(whole));
  co_await parts_.allocations.save();
}

// Before anything is changed: who uses more than he is to have would be killed, or keeps what he has.
task<result<void>> pod_worker::check_memory(const resize_plan& plan, std::int64_t pod_limit, std::int64_t pod_uses) {
  memory_limits all{.pod_limit = pod_limit, .pod_uses = pod_uses, .containers = {}};
  std::map<std::string, memory_limits::one> less;  // by id
  for (auto& u : plan.memory) {
    auto limit = memory_limit_of(u.resources), now = std::int64_t(0);
    if (auto* c = seen_.newest(u.name); c && c->given) now = memory_limit_of(*c->given);
    if (limit > 0 && (now == 0 || limit < now)) less[u.id] = {.container = u.name, .limit = limit};
  }
  if (!less.empty()) {
    auto used = co_await parts_.runtime.usage();
    if (!used)
      co_return fail(errc::unavailable, "unable to read memory usage for pod \"" + pod_in_messages(*pod_) + "\"");
    for (auto& u : *used)
      if (auto i = less.find(u.id); i != less.end()) {
        i->second.uses = static_cast<std::int64_t>(u.memory_usage);
        all.containers.push_back(i->second);
      }
  }
  if (auto why = why_not_less_memory(all); !why.empty()) co_return fail(errc::conflict, std::move(why));
  co_return result<void>();
}

task<result<void>> pod_worker::update_containers(std::shared_ptr<const value> pod, std::vector<container_update> all,
                                                 resources_part part) {
  auto id = uid();
  for (auto& u : all) {
    auto& container = container_named(*pod, u.name);
    auto done = co_await parts_.runtime.update_resources(u.id, part(resources_of(*pod, container, parts_.settings)));
    if (!done) co_return fail(done.error().code, rpc_text(done.error()));
    parts_.allocations.actuate(id, u.name, u.resources);
    co_await parts_.allocations.save();
    for (auto& c : seen_.containers)
      if (c.id == u.id) c.given = u.resources;
  }
  co_return result<void>();
}

}  // namespace kedge::node
