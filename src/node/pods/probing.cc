#include "node/pods/probing.h"

#include <fmt/format.h>

#include <algorithm>

namespace kedge::node {

namespace {

using json::value;

constexpr int tries_after_error = 3;

std::int64_t number(const value& probe, const char* name, std::int64_t otherwise) {
  return std::max<std::int64_t>(probe[name].as_integer(otherwise), 1);
}

struct known_probe {
  probe_kind kind;
  const char* member;
};
constexpr known_probe known_probes[] = {{probe_kind::startup, "startupProbe"},
                                        {probe_kind::liveness, "livenessProbe"},
                                        {probe_kind::readiness, "readinessProbe"}};

const value& status_named(const value& status, std::string_view name) {
  static const value none;
  for (auto* list : {"containerStatuses", "initContainerStatuses"})
    if (auto* all = status[list].array())
      for (auto& s : *all)
        if (s["name"].as_string() == name) return s;
  return none;
}

}  // namespace

std::optional<probe_result>& pod_probing::place(const run& r) {
  auto& f = found_[r.id];
  return r.kind == probe_kind::startup ? f.startup : r.kind == probe_kind::liveness ? f.liveness : f.readiness;
}

void pod_probing::found_out(const run& r, probe_result result) {
  auto& p = place(r);
  if (p == result) return;
  p = result;
  if (r.kind == probe_kind::startup && result == probe_result::success) started_.pulse();
  parts_.changed();
}

void pod_probing::follow(const value& pod, const pod_seen& seen, const value& before, std::int64_t agent_started_at) {
  pod_ip_ = seen.ips.empty() ? std::string(before["podIP"].as_string()) : seen.ips.front();
  auto runs = [&](const std::string& id) {
    return std::any_of(seen.containers.begin(), seen.containers.end(),
                       [&](auto& c) { return c.id == id && c.state == container_state::running; });
  };
  std::erase_if(runs_, [&](auto& one) { return !runs(one.second->id); });
  std::erase_if(found_, [&](auto& one) { return !runs(one.first); });
  for (auto& c : seen.containers) {
    if (c.state != container_state::running || seen.newest(c.name) != &c) continue;
    auto& spec = container_named(pod, c.name);
    const bool adopted = c.started_at > 0 && c.started_at < agent_started_at;
    if (!found_.contains(c.id) && adopted && status_named(before, c.name)["started"].as_bool() &&
        spec["startupProbe"].is_object())
      found_[c.id].startup = probe_result::success;
    for (auto& p : known_probes) {
      if (!spec[p.member].is_object() || runs_.contains({c.id, p.kind}) || (ending_ && p.kind != probe_kind::readiness))
        continue;
      if (p.kind == probe_kind::startup && found_[c.id].startup == probe_result::success) continue;
      if (p.kind == probe_kind::liveness && found_[c.id].liveness == probe_result::failure) continue;
      if (!adopted) {
        auto& f = found_[c.id];
        if (p.kind == probe_kind::startup && !f.startup) f.startup = probe_result::unknown;
        if (p.kind == probe_kind::liveness && !f.liveness) f.liveness = probe_result::success;
        if (p.kind == probe_kind::readiness && !f.readiness) f.readiness = probe_result::failure;
      }
      start(spec, c, p.kind, p.member);
    }
  }
}

void pod_probing::start(const value& container, const container_seen& c, probe_kind kind, const char* member) {
  auto r = std::make_unique<run>();
  r->probe = container[member];
  r->container = container;
  r->kind = kind;
  r->id = c.id;
  r->started_at = c.started_at;
  auto& here = *r;
  runs_.insert_or_assign({c.id, kind}, std::move(r));
  here.task.spawn(keep_probing(here));
}

void pod_probing::pod_ends() {
  ending_ = true;
  std::erase_if(runs_, [](auto& one) { return one.second->kind != probe_kind::readiness; });
  for (auto& [id, f] : found_) f.liveness.reset();
}

void pod_probing::stop() { runs_.clear(); }

// False: nothing was learnt.
task<bool> pod_probing::try_once(run& r, probe_outcome& out) {
  for (int i = 0; i < tries_after_error; ++i) {
    out = co_await probe_once(r.probe, r.container,
                              {.container_id = r.id, .pod_ip = pod_ip_, .network = parts_.network}, parts_.runtime);
    if (!out.errored) co_return true;
  }
  co_return false;
}

task<void> pod_probing::keep_probing(run& r) {
  auto& loop = reactor::loop::current();
  auto name = std::string(r.container["name"].as_string());
  // Others wait until it has started.
  if (r.kind != probe_kind::startup && r.container["startupProbe"].is_object())
    while (found_[r.id].startup != probe_result::success) co_await started_.wait();
  auto delay = std::chrono::seconds(r.probe["initialDelaySeconds"].as_integer(0));
  auto since_start = loop.wall_now() - wall_time(std::chrono::nanoseconds(r.started_at));
  if (since_start < delay) co_await reactor::sleep_for(delay - since_start);
  const auto period = std::chrono::seconds(number(r.probe, "periodSeconds", 10));
  const auto failures = number(r.probe, "failureThreshold", 3), successes = number(r.probe, "successThreshold", 1);
  std::int64_t in_a_row = 0;
  auto last = probe_result::unknown;
  for (auto next = loop.now();; next = std::max(next + period, loop.now())) {
    co_await reactor::sleep_until(next);
    probe_outcome out;
    const auto began = loop.now();
    if (!co_await try_once(r, out)) {
      parts_.tell(name, "Unhealthy",
                  fmt::format("{} probe errored and resulted in unknown state: {}", name_of(r.kind), out.output));
      continue;
    }
    auto& counted = totals_[{name, r.kind}];
    if (out.result == probe_result::failure) {
      ++counted.failed;
    } else {
      ++counted.successful;
      counted.took.observe(loop.now() - began);
    }
    if (out.warned) parts_.tell(name, "ProbeWarning", fmt::format("{} probe warning: {}", name_of(r.kind), out.output));
    if (out.result == probe_result::failure)
      parts_.tell(name, "Unhealthy", fmt::format("{} probe failed: {}", name_of(r.kind), out.output));
    in_a_row = out.result == last ? in_a_row + 1 : 1;
    last = out.result;
    if (in_a_row < (out.result == probe_result::success ? successes : failures)) continue;
    found_out(r, out.result);
    // Until there is a new container nothing more is to be learnt.
    if (r.kind == probe_kind::startup || (r.kind == probe_kind::liveness && out.result == probe_result::failure))
      co_return;
  }
}

}  // namespace kedge::node
