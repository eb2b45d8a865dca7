#include "node/pods/steps.h"

#include <fmt/format.h>

#include <algorithm>

#include "node/pods/resize.h"

namespace kedge::node {

namespace {

using json::value;

// Of every container the newest two are told of (its state and its last one); what died before them can go.
constexpr std::size_t kept_of_each = 2;

const json::array& list_of(const value& pod, const char* name) {
  static const json::array none;
  auto* all = pod["spec"][name].array();
  return all ? *all : none;
}

bool restarts_on_failure(const value& pod) { return pod["spec"]["restartPolicy"].as_string() != "Never"; }
bool has_changed(const value& container, const container_seen& c) {
  return !c.hash.empty() && c.hash != hash_of_container(container) && c.hash != former_hash_of_container(container);
}

const probe_findings& found(const probes_seen& probes, const std::string& id) {
  static const probe_findings none;
  auto i = probes.find(id);
  return i == probes.end() ? none : i->second;
}

// Of a pod whose sandbox is gone: which containers begin in the new one.
void begin_anew(const value& pod, const pod_seen& seen, pod_steps& out) {
  if (!restarts_on_failure(pod) && out.attempt != 0 && !seen.containers.empty()) {
    out.create_sandbox = false;
    return;
  }
  std::vector<std::string> starting;
  bool was_initialized = false;
  for (auto& c : list_of(pod, "containers")) {
    auto policy = c["restartPolicy"].as_string(pod["spec"]["restartPolicy"].as_string());
    auto* last = seen.newest(c["name"].as_string());
    if (last && last->state != container_state::unknown) was_initialized = true;
    if (policy == "OnFailure" && last && last->state == container_state::exited && last->exit_code == 0) continue;
    starting.emplace_back(c["name"].as_string());
  }
  if (starting.empty() && was_initialized) {
    out.create_sandbox = false;
    return;
  }
  auto& init = list_of(pod, "initContainers");
  if (!init.empty())
    out.init.emplace_back(init.front()["name"].as_string());
  else
    out.regular = std::move(starting);
}

bool init_failed(const container_seen& c) {
  return c.reason == "OOMKilled" || (c.state == container_state::exited && c.exit_code != 0) ||
         c.state == container_state::unknown;
}

// From the last init container to the first, since those that are done may have been removed: what the newest of them
// says counts. Whether the pod is initialized, so that its containers may be looked at.
class initialization {
 public:
  initialization(const value& pod, const pod_seen& seen, const probes_seen& probes, pod_steps& out)
      : pod_(pod), seen_(seen), probes_(probes), out_(out), all_(list_of(pod, "initContainers")) {}

  bool run() {
    if (all_.empty()) return true;
    for (auto& c : list_of(pod_, "containers")) done_ |= seen_.newest_active(c["name"].as_string()) != nullptr;
    before_ = done_;
    for (auto i = all_.size(); i-- > 0;) {
      auto* c = seen_.newest_active(all_[i]["name"].as_string());
      if (!c) {
        if (before_ && is_sidecar(all_[i])) start(i);
        continue;
      }
      if (before_ && !is_sidecar(all_[i])) continue;
      if (!look_at(i, *c)) return false;
      before_ = true;
    }
    if (!before_) start(0);
    std::reverse(out_.init.begin(), out_.init.end());
    return done_;
  }

 private:
  void start(std::size_t i) { out_.init.emplace_back(all_[i]["name"].as_string()); }
  void kill(std::size_t i, const container_seen& c, std::string message, kill_reason why) {
    out_.kill.push_back({c.id, c.name, std::move(message), why});
    start(i);
  }
  void initialized(std::size_t i) {
    if (i + 1 == all_.size())
      done_ = true;
    else if (!before_)
      start(i + 1);
  }

  // False: the pod has failed.
  bool look_at(std::size_t i, const container_seen& c) {
    auto& spec = all_[i];
    switch (c.state) {
      case container_state::created: start(i); return true;
      case container_state::running:
        if (is_sidecar(spec)) look_at_sidecar(i, c);
        return true;
      case container_state::exited:
        if (is_sidecar(spec)) {
          start(i);
          return true;
        }
        if (!init_failed(c)) {
          initialized(i);
          return true;
        }
        if (!shall_start(spec, pod_, seen_)) return failed();
        start(i);
        return true;
      case container_state::unknown: break;
    }
    auto policy = spec["restartPolicy"].as_string(pod_["spec"]["restartPolicy"].as_string());
    if (!is_sidecar(spec) && policy == "Never") return failed();
    kill(i, c, "Init container is in \"unknown\" state, try killing it before restart", kill_reason::none);
    return true;
  }
  bool failed() {
    out_.kill_pod = true;
    out_.init.clear();
    return false;
  }

  void look_at_sidecar(std::size_t i, const container_seen& c) {
    auto& spec = all_[i];
    auto& probes = found(probes_, c.id);
    if (spec["startupProbe"].is_object()) {
      if (!probes.startup) return;
      if (*probes.startup != probe_result::success) {
        if (*probes.startup == probe_result::failure)
          kill(i, c, fmt::format("Init container {} failed startup probe", c.name), kill_reason::startup);
        return;
      }
    }
    initialized(i);
    if (has_changed(spec, c))
      return kill(i, c, fmt::format("Init container {} definition changed", c.name), kill_reason::none);
    if (spec["livenessProbe"].is_object() && probes.liveness == probe_result::failure)
      return kill(i, c, fmt::format("Init container {} failed liveness probe", c.name), kill_reason::liveness);
    if (resize_restarts(pod_, spec, c))
      kill(i, c, fmt::format("Container {} resize requires restart", c.name), kill_reason::none);
  }

  const value& pod_;
  const pod_seen& seen_;
  const probes_seen& probes_;
  pod_steps& out_;
  const json::array& all_;
  bool done_ = false, before_ = false;
};

void look_at_containers(const value& pod, const pod_seen& seen, const probes_seen& probes, pod_steps& out) {
  std::size_t kept = 0;
  for (auto& spec : list_of(pod, "containers")) {
    auto name = spec["name"].as_string();
    auto* c = seen.newest(name);
    if (!c || c->state != container_state::running) {
      if (!shall_start(spec, pod, seen)) continue;
      out.regular.emplace_back(name);
      if (c && c->state == container_state::unknown)
        out.kill.push_back(
            {c->id, c->name, "Container is in \"unknown\" state, try killing it before restart", kill_reason::none});
      continue;
    }
    auto& found_out = found(probes, c->id);
    bool again =
        spec["restartPolicy"].is_string() ? spec["restartPolicy"].as_string() != "Never" : restarts_on_failure(pod);
    container_to_kill k{c->id, c->name, {}, kill_reason::none};
    if (has_changed(spec, *c)) {
      k.message = fmt::format("Container {} definition changed", name);
      again = true;
    } else if (found_out.liveness == probe_result::failure) {
      k.message = fmt::format("Container {} failed liveness probe", name);
      k.reason = kill_reason::liveness;
    } else if (found_out.startup == probe_result::failure) {
      k.message = fmt::format("Container {} failed startup probe", name);
      k.reason = kill_reason::startup;
    } else if (resize_restarts(pod, spec, *c)) {
      k.message = fmt::format("Container {} resize requires restart", name);
      out.regular.emplace_back(name);
      again = false;  // it is said in these words alone
    } else {
      ++kept;
      continue;
    }
    if (again) {
      k.message += ", will be restarted";
      out.regular.emplace_back(name);
    }
    out.kill.push_back(std::move(k));
  }
  if (kept == 0 && out.regular.empty()) {
    out.kill_pod = true;
    out.init.clear();  // sidecars don't keep a pod alive
  }
}

// What made all begin anew goes last: while it is there, whoever looks knows that the rest has to go.
std::vector<container_to_kill> all_to_reset(const value& pod, const pod_seen& seen) {
  std::vector<container_to_kill> out, causes;
  for (auto* list : {"containers", "initContainers"})
    for (auto& spec : list_of(pod, list))
      for (auto& c : seen.containers) {
        if (c.name != spec["name"].as_string()) continue;
        const bool is_cause = c.state == container_state::exited && restarts_all_after(spec, c.exit_code);
        (is_cause ? causes : out).push_back({c.id, c.name, "killing", kill_reason::none});
      }
  out.insert(out.end(), causes.begin(), causes.end());
  return out;
}

void collect(const pod_seen& seen, pod_steps& out) {
  std::map<std::string_view, std::size_t> of;
  for (auto& c : seen.containers)
    if (++of[c.name] > kept_of_each && c.state != container_state::running && c.state != container_state::unknown)
      out.remove.push_back(c.id);
}

}  // namespace

std::string_view why_no_sandbox(const value& pod, const pod_seen& seen) {
  if (seen.sandboxes.empty()) return "no pod sandbox exists";
  if (std::count_if(seen.sandboxes.begin(), seen.sandboxes.end(), [](auto& s) { return s.ready; }) > 1)
    return "multiple pod sandboxes are ready and need to be reconciled";
  if (!seen.sandboxes.front().ready) return "pod sandbox is not ready";
  if (!is_host_network(pod) && seen.ips.empty()) return "pod sandbox has no IP address";
  return {};
}

bool shall_start(const value& container, const value& pod, const pod_seen& seen) {
  if (is_being_deleted(pod)) return false;
  auto* c = seen.newest(container["name"].as_string());
  if (!c) return true;
  switch (c->state) {
    case container_state::running: return false;
    case container_state::created:
    case container_state::unknown: return true;
    case container_state::exited: break;
  }
  return restarts_after(container, pod, c->exit_code);
}

pod_steps next_steps(const value& pod, const pod_seen& seen, const probes_seen& probes) {
  pod_steps out;
  if (restarts_all(pod, seen)) {
    out.reset = all_to_reset(pod, seen);
    return out;
  }
  collect(seen, out);
  if (!why_no_sandbox(pod, seen).empty()) {
    out.kill_pod = out.create_sandbox = true;
    out.attempt = seen.sandboxes.empty() ? 0 : seen.sandboxes.front().attempt + 1;
    begin_anew(pod, seen, out);
    return out;
  }
  out.attempt = seen.sandboxes.front().attempt;
  for (auto& c : list_of(pod, "ephemeralContainers"))
    if (!seen.newest(c["name"].as_string())) out.ephemeral.emplace_back(c["name"].as_string());
  if (initialization(pod, seen, probes, out).run() && !out.kill_pod) look_at_containers(pod, seen, probes, out);
  return out;
}

std::vector<std::string> ends_before(const value& pod, std::string_view name) {
  std::vector<std::string> out;
  bool sidecar = false;
  auto& init = list_of(pod, "initContainers");
  for (auto i = init.size(); i-- > 0;) {
    if (init[i]["name"].as_string() == name) {
      sidecar = is_sidecar(init[i]);
      break;
    }
    if (is_sidecar(init[i])) out.emplace_back(init[i]["name"].as_string());
  }
  if (!sidecar) return {};
  for (auto& c : list_of(pod, "containers")) out.emplace_back(c["name"].as_string());
  return out;
}

}  // namespace kedge::node
