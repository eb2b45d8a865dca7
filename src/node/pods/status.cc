#include "node/pods/status.h"

#include <fmt/format.h>

#include <algorithm>

#include "node/pods/resize.h"
#include "node/pods/steps.h"
#include "node/pods/volumes.h"
#include "pod/amounts.h"

namespace kedge::node {

namespace {

// The condition of a pod that has to go for something outside of it, and its reason when that is this node.
constexpr std::string_view disruption = "DisruptionTarget", disruption_by_node = "TerminationByKubelet";

constexpr std::string_view all_restarting = "RestartingAllContainers",
                           all_restarting_condition = "AllContainersRestarting";

using json::array;
using json::object;
using json::value;

constexpr std::size_t messages_max = 12 * 1024;  // of all containers' terminations together, as the kubelet cuts them

std::string time_text(std::int64_t nanoseconds) {
  return format_rfc3339(wall_time(std::chrono::nanoseconds(nanoseconds)));
}

const array& list_of(const value& v, const char* name) {
  static const array none;
  auto* all = v[name].array();
  return all ? *all : none;
}

const value& named(const array& all, std::string_view name, const char* by = "name") {
  static const value none;
  for (auto& one : all)
    if (one[by].as_string() == name) return one;
  return none;
}

value default_waiting(bool has_init) {
  return object{{"waiting", object{{"reason", has_init ? "PodInitializing" : "ContainerCreating"}}}};
}

value terminated(const container_seen& c, const std::string& id) {
  object out{{"exitCode", c.exit_code}};
  if (!c.reason.empty()) out.set("reason", c.reason);
  if (!c.told.empty()) out.set("message", c.told);
  out.set("startedAt", time_text(c.started_at));  // of one that couldn't be started: the epoch, as the kubelet has it
  out.set("finishedAt", time_text(c.finished_at));
  out.set("containerID", id);
  return object{{"terminated", std::move(out)}};
}

value lost(std::string_view message, std::string_view reason = "ContainerStatusUnknown") {
  return object{{"terminated", object{{"exitCode", 137},
                                      {"reason", reason},
                                      {"message", message},
                                      {"startedAt", nullptr},
                                      {"finishedAt", nullptr}}}};
}

value volume_mounts(const value& container, bool recursive_read_only) {
  array out;
  for (auto& m : list_of(container, "volumeMounts")) {
    object one{{"name", m["name"]}, {"mountPath", m["mountPath"]}};
    if (m["readOnly"].as_bool()) {
      one.set("readOnly", true);
      one.set("recursiveReadOnly",
              is_recursively_read_only(m, recursive_read_only).value_or(false) ? "Enabled" : "Disabled");
    }
    out.push_back(std::move(one));
  }
  return out;
}

// All of its containers end and begin anew: one has ended that says so, or that was told and isn't done yet.
bool are_all_restarting(const status_input& in) {
  return condition_status_of(in.before, all_restarting_condition) == "True" || restarts_all(in.pod, in.seen);
}

// One of the three lists of container statuses.
class container_statuses {
 public:
  container_statuses(const status_input& in, const char* list, const char* statuses)
      : in_(in),
        specs_(list_of(in.pod["spec"], list)),
        before_(list_of(in.before, statuses)),
        init_(std::string_view(list) == "initContainers"),
        ephemeral_(std::string_view(list) == "ephemeralContainers"),
        has_init_(!list_of(in.pod["spec"], "initContainers").empty()),
        all_restart_(are_all_restarting(in)) {}

  array make() {
    array out;
    for (auto& spec : specs_) out.push_back(of(spec));
    if (!init_)
      std::sort(out.begin(), out.end(), [](auto& a, auto& b) { return a["name"].as_string() < b["name"].as_string(); });
    return out;
  }

 private:
  value of(const value& spec) {
    auto name = spec["name"].as_string();
    auto& old = named(before_, name);
    const container_seen *newest = nullptr, *last = nullptr;
    for (auto& c : in_.seen.containers) {
      if (c.name != name) continue;
      if (newest) {
        last = &c;
        break;
      }
      newest = &c;
    }
    auto out = newest ? told(spec, *newest, old) : unseen(spec, old);
    if (last) out.set("lastState", state_of(*last, old));
    wait_if_it_does(spec, newest, out);
    add_probes(spec, newest, out, old);
    return out;
  }

  value state_of(const container_seen& c, const value& old) const {
    auto id = full_id(c);
    switch (c.state) {
      case container_state::running: return object{{"running", object{{"startedAt", time_text(c.started_at)}}}};
      case container_state::exited: return terminated(c, id);
      case container_state::created: return object{{"waiting", object{}}};
      case container_state::unknown: break;
    }
    if (!old["state"]["running"].is_null())
      return lost("The container could not be located when the pod was terminated");
    return object{{"waiting", object{}}};
  }
  std::string full_id(const container_seen& c) const { return fmt::format("{}://{}", in_.runtime, c.id); }

  value told(const value& spec, const container_seen& c, const value& old) const {
    value out(object{{"name", c.name}});
    out.set("state", state_of(c, old));
    auto& old_last = old["lastState"];
    out.set("lastState", old_last.is_object() ? old_last : value(object{}));
    if (old["containerID"].as_string() != full_id(c) && old["state"]["terminated"].is_object())
      out.set("lastState", old["state"]);
    out.set("ready", false);
    out.set("restartCount",
            static_cast<std::int64_t>(std::max<std::int64_t>(c.restarts, old["restartCount"].as_integer())));
    out.set("image", c.image);
    out.set("imageID", c.image_ref);
    out.set("containerID", full_id(c));
    add_resources(spec, c, out);
    return out;
  }

  // What was allocated to it, and what it has, which is something else while it is resized.
  void add_resources(const value& spec, const container_seen& c, value& out) const {
    if (auto& requests = spec["resources"]["requests"]; !requests.empty()) out.set("allocatedResources", requests);
    if (!ephemeral_) {
      value has = spec["resources"].is_object() ? spec["resources"] : value(object{});
      if (c.state == container_state::running && c.given) {
        auto given = *c.given;
        for (auto* part : {"limits", "requests"})  // where it says nothing itself, nothing is told
          if (has[part].empty()) given.erase(part);
        for (auto* name : {"cpu", "memory"}) has = with_amount_of(std::move(has), given, name);
      }
      out.set("resources", std::move(has));
    }
    if (auto mounts = volume_mounts(spec, in_.recursive_read_only); !mounts.empty())
      out.set("volumeMounts", std::move(mounts));
  }

  // Of a container that the runtime doesn't know (any more).
  value unseen(const value& spec, const value& old) const {
    const bool was_reset = all_restart_ && !ephemeral_ && old.is_object() && !old["state"]["waiting"].is_object();
    if (old["state"]["terminated"].is_object() && !was_reset) return old;
    value out(object{{"name", spec["name"]}});
    out.set("state", default_waiting(has_init_));
    out.set("lastState", old["lastState"].is_object() ? old["lastState"] : value(object{}));
    auto restarts = old["restartCount"].as_integer();
    if (was_reset) {
      constexpr std::string_view why = "The container is removed because RestartAllContainers in place";
      out.set("state", object{{"waiting", object{{"reason", all_restarting}, {"message", why}}}});
      out.set("lastState", lost(why, all_restarting));
      ++restarts;
    } else if (old["state"]["running"].is_object() && !out["lastState"]["terminated"].is_object()) {
      out.set("lastState",
              lost("The container could not be located when the pod was deleted.  The container used to be Running"));
      if (!is_being_deleted(in_.pod)) ++restarts;
    }
    out.set("ready", false);
    out.set("restartCount", restarts);
    out.set("image", spec["image"]);
    out.set("imageID", "");
    if (auto mounts = volume_mounts(spec, in_.recursive_read_only); !mounts.empty())
      out.set("volumeMounts", std::move(mounts));
    return out;
  }

  bool any_regular_was_made() const {
    for (auto& c : list_of(in_.pod["spec"], "containers"))
      if (auto* s = in_.seen.newest(c["name"].as_string()); s && s->state != container_state::unknown) return true;
    return false;
  }

  // What shall be started and isn't, waits; why it does was found when that was tried.
  void wait_if_it_does(const value& spec, const container_seen* newest, value& out) const {
    if (init_) {
      if (newest && newest->state == container_state::exited && newest->exit_code == 0) return;
      if (!newest && !is_sidecar(spec) && out["state"]["waiting"].is_object() && any_regular_was_made()) {
        out.set("state", object{{"terminated", object{{"exitCode", 0},
                                                      {"reason", "Completed"},
                                                      {"message",
                                                       "Unable to get init container status from container runtime and "
                                                       "pod has been initialized, treat it as exited normally"},
                                                      {"startedAt", nullptr},
                                                      {"finishedAt", nullptr}}}});
        return;
      }
    }
    if (in_.terminal || !shall_start(spec, in_.pod, in_.seen)) return;
    auto why = in_.waiting.find(spec["name"].as_string());
    if (why == in_.waiting.end()) return;
    if (out["state"]["terminated"].is_object()) out.set("lastState", out["state"]);
    object waiting{{"reason", why->second.reason}};
    if (!why->second.message.empty()) waiting.set("message", why->second.message);
    out.set("state", object{{"waiting", std::move(waiting)}});
  }

  // started and ready: what probes found, for those that have some.
  void add_probes(const value& spec, const container_seen* newest, value& out, const value& old) const {
    if (ephemeral_) return;
    const bool runs = out["state"]["running"].is_object();
    const auto found = newest ? in_.probes.find(newest->id) : in_.probes.end();
    const auto* f = found == in_.probes.end() ? nullptr : &found->second;
    const bool same = newest && old["containerID"].as_string() == full_id(*newest);
    bool started = false;
    if (runs) {
      if (f && f->startup)
        started = *f->startup == probe_result::success;
      else
        started = !spec["startupProbe"].is_object() || (same && old["started"].as_bool());
    }
    out.set("started", started);
    if (init_ && !is_sidecar(spec)) {
      out.set("ready",
              out["state"]["terminated"].is_object() && out["state"]["terminated"]["exitCode"].as_integer(-1) == 0);
      return;
    }
    bool ready = false;
    if (started && runs) {
      if (!spec["readinessProbe"].is_object())
        ready = true;
      else if (f && f->readiness)
        ready = *f->readiness == probe_result::success;
      else
        ready = same && old["ready"].as_bool();  // ours was a restart of the agent alone
    }
    out.set("ready", ready);
  }

  const status_input& in_;
  const array& specs_;
  const array& before_;
  bool init_, ephemeral_, has_init_, all_restart_;
};

// --- the phase

struct counts {
  int pending_init = 0, pending_sidecars = 0, failed_init = 0;
  int unknown = 0, running = 0, waiting = 0, stopped = 0, stopped_for_good = 0, succeeded = 0;
};

void count_init(const value& pod, const value& spec, const value& s, counts& n) {
  auto& state = s["state"];
  auto ended = [&](const value& t) {
    auto code = static_cast<int>(t["exitCode"].as_integer());
    if (code != 0 && !restarts_after(spec, pod, code) && t["reason"].as_string() != all_restarting) ++n.failed_init;
  };
  if (state["terminated"].is_object())
    ended(state["terminated"]);
  else if (state["waiting"].is_object() && s["lastState"]["terminated"].is_object())
    ended(s["lastState"]["terminated"]);
  else
    ++n.pending_init;
}

void count_sidecar(const value& s, counts& n) {
  auto& state = s["state"];
  if (state["running"].is_object()) {
    if (!s["started"].as_bool()) ++n.pending_sidecars;
    ++n.running;
  } else if (state["waiting"].is_object() && !s["lastState"]["terminated"].is_object()) {
    ++n.pending_sidecars;
    ++n.waiting;
  } else if (!state["terminated"].is_object() && !state["waiting"].is_object()) {
    ++n.pending_sidecars;
    ++n.unknown;
  }
}

void count_regular(const value& pod, const value& spec, const value& s, counts& n) {
  auto& state = s["state"];
  auto ended = [&](const value& t, bool counts_as_success) {
    ++n.stopped;
    auto code = static_cast<int>(t["exitCode"].as_integer());
    if (!restarts_after(spec, pod, code) && t["reason"].as_string() != all_restarting) ++n.stopped_for_good;
    if (counts_as_success && code == 0) ++n.succeeded;
  };
  if (state["running"].is_object())
    ++n.running;
  else if (state["terminated"].is_object())
    ended(state["terminated"], true);
  else if (!state["waiting"].is_object())
    ++n.unknown;
  else if (s["lastState"]["terminated"].is_object())
    ended(s["lastState"]["terminated"], false);
  else
    ++n.waiting;
}

std::string_view phase_of(const status_input& in, const value& status) {
  auto& pod = in.pod;
  counts n;
  auto& init = list_of(status, "initContainerStatuses");
  for (auto& spec : list_of(pod["spec"], "initContainers")) {
    auto& s = named(init, spec["name"].as_string());
    if (is_sidecar(spec))
      count_sidecar(s, n);
    else
      count_init(pod, spec, s, n);
  }
  auto& regular = list_of(status, "containerStatuses");
  bool initialized = false;
  for (auto& spec : list_of(pod["spec"], "containers")) {
    count_regular(pod, spec, named(regular, spec["name"].as_string()), n);
    initialized |= in.seen.newest_active(spec["name"].as_string()) != nullptr;
  }
  if (n.failed_init > 0) return "Failed";
  if (n.pending_init > 0 || (n.pending_sidecars > 0 && !initialized) || n.waiting > 0) return "Pending";
  if (n.running > 0 && n.unknown == 0) return "Running";
  if (n.running == 0 && n.stopped > 0 && n.unknown == 0) {
    if (in.terminal) return n.stopped == n.succeeded ? "Succeeded" : "Failed";
    if (n.stopped != n.stopped_for_good) return "Running";
    return n.stopped == n.succeeded ? "Succeeded" : "Failed";
  }
  return "Pending";
}

// --- conditions

value condition(const status_input& in, std::string_view type, bool holds, std::string_view reason = {},
                std::string_view message = {}) {
  object out{{"type", type}};
  if (auto generation = in.pod["metadata"]["generation"].as_integer(); generation != 0)
    out.set("observedGeneration", generation);
  std::string_view word = holds ? "True" : "False";
  out.set("status", word);
  out.set("lastProbeTime", nullptr);
  auto& old = named(list_of(in.before, "conditions"), type, "type");
  auto since = old["status"].as_string() == word ? old["lastTransitionTime"].as_string() : std::string_view();
  out.set("lastTransitionTime", since.empty() ? format_rfc3339(in.now) : std::string(since));
  if (!reason.empty()) out.set("reason", reason);
  if (!message.empty()) out.set("message", message);
  return out;
}

// Its transition is that of its reason.
value resize_condition_of(const status_input& in, const resize_condition& r) {
  auto out = condition(in, r.type, true, r.reason, r.message);
  out.set("observedGeneration", r.generation);
  auto& old = named(list_of(in.before, "conditions"), r.type, "type");
  if (old["reason"].as_string() != r.reason) out.set("lastTransitionTime", format_rfc3339(in.now));
  return out;
}

std::string bracketed(const std::vector<std::string>& names) { return fmt::format("[{}]", fmt::join(names, " ")); }

// Names in `unknown` have no status, those in `bad` one that doesn't do.
std::string what_is_missing(const std::vector<std::string>& unknown, const std::vector<std::string>& bad,
                            std::string_view how) {
  std::string out;
  if (!unknown.empty()) out = "containers with unknown status: " + bracketed(unknown);
  if (!bad.empty()) out += fmt::format("{}containers with {} status: {}", out.empty() ? "" : ", ", how, bracketed(bad));
  return out;
}

struct readiness {
  bool holds = false;
  std::string reason, message;
};

readiness containers_ready(const status_input& in, const value& status, std::string_view phase) {
  std::vector<std::string> unknown, unready;
  auto look = [&](const value& spec, const char* list) {
    auto& s = named(list_of(status, list), spec["name"].as_string());
    if (s.is_null())
      unknown.emplace_back(spec["name"].as_string());
    else if (!s["ready"].as_bool())
      unready.emplace_back(spec["name"].as_string());
  };
  for (auto& spec : list_of(in.pod["spec"], "initContainers"))
    if (is_sidecar(spec)) look(spec, "initContainerStatuses");
  for (auto& spec : list_of(in.pod["spec"], "containers")) look(spec, "containerStatuses");
  if (phase == "Succeeded" && unknown.empty()) return {false, "PodCompleted", {}};
  if (phase == "Failed") return {false, "PodFailed", {}};
  auto text = what_is_missing(unknown, unready, "unready");
  if (!text.empty()) return {false, "ContainersNotReady", std::move(text)};
  return {true, {}, {}};
}

readiness pod_ready(const status_input& in, const readiness& containers, const array& conditions) {
  if (!containers.holds) return containers;
  std::string text;
  for (auto& gate : list_of(in.pod["spec"], "readinessGates")) {
    auto type = gate["conditionType"].as_string();
    auto& c = named(conditions, type, "type");
    if (c["status"].as_string() == "True") continue;
    if (!text.empty()) text += ", ";
    text += c.is_null() ? fmt::format("corresponding condition of pod readiness gate \"{}\" does not exist.", type)
                        : fmt::format("the status of pod readiness gate \"{}\" is not \"True\", but {}", type,
                                      c["status"].as_string());
  }
  if (!text.empty()) return {false, "ReadinessGatesNotReady", std::move(text)};
  return {true, {}, {}};
}

readiness initialized(const status_input& in, const value& status, std::string_view phase) {
  std::vector<std::string> unknown, incomplete;
  for (auto& spec : list_of(in.pod["spec"], "initContainers")) {
    auto& s = named(list_of(status, "initContainerStatuses"), spec["name"].as_string());
    if (s.is_null())
      unknown.emplace_back(spec["name"].as_string());
    else if (!(is_sidecar(spec) ? s["started"] : s["ready"]).as_bool())
      incomplete.emplace_back(spec["name"].as_string());
  }
  if (phase == "Succeeded" && unknown.empty()) return {true, "PodCompleted", {}};
  for (auto& s : list_of(status, "containerStatuses"))
    if (s["state"]["running"].is_object() || s["state"]["terminated"].is_object()) return {true, {}, {}};
  auto text = what_is_missing(unknown, incomplete, "incomplete");
  if (text.empty()) return {true, {}, {}};
  return {false, "ContainersNotInitialized", std::move(text)};
}

// From what made them begin anew until the last of them is removed.
readiness restarting(const status_input& in, std::string_view phase) {
  if (phase == "Succeeded") return {false, "PodCompleted", {}};
  if (phase == "Failed") return {false, "PodFailed", {}};
  auto is_there = [&](const value& spec) { return in.seen.newest(spec["name"].as_string()) != nullptr; };
  const bool any_left = std::ranges::any_of(list_of(in.pod["spec"], "containers"), is_there) ||
                        std::ranges::any_of(list_of(in.pod["spec"], "initContainers"), is_there);
  if (!any_left || !are_all_restarting(in)) return {false, {}, {}};
  return {true, "RestartAllContainersStarted", "container exited with restart policy rule"};
}

array conditions_of(const status_input& in, const value& status, std::string_view phase) {
  array out;
  for (auto& c : list_of(in.pod["status"], "conditions"))
    if (!is_own_condition(c["type"].as_string()) && !(in.evicted && c["type"].as_string() == disruption))
      out.push_back(c);
  auto why = why_no_sandbox(in.pod, in.seen);
  out.push_back(condition(in, "PodReadyToStartContainers", why.empty(), why.empty() ? "" : "PodSandboxNotReady", why));
  auto add = [&](std::string_view type, const readiness& r) {
    out.push_back(condition(in, type, r.holds, r.reason, r.message));
  };
  add("Initialized", initialized(in, status, phase));
  auto containers = containers_ready(in, status, phase);
  add("Ready", pod_ready(in, containers, out));
  add("ContainersReady", containers);
  out.push_back(condition(in, "PodScheduled", true));
  if (may_restart_all(in.pod)) add(all_restarting_condition, restarting(in, phase));
  for (auto& r : in.resizes) out.push_back(resize_condition_of(in, r));
  if (in.evicted && in.failure) out.push_back(condition(in, disruption, true, disruption_by_node, in.failure->message));
  return out;
}

void add_addresses(const status_input& in, value& status) {
  if (in.host_ips.empty()) return;
  status.set("hostIP", in.host_ips.front());
  array hosts, ips;
  for (auto& ip : in.host_ips) hosts.push_back(object{{"ip", ip}});
  auto& own = is_host_network(in.pod) ? in.host_ips : in.seen.ips;
  for (auto& ip : own) ips.push_back(object{{"ip", ip}});
  status.set("hostIPs", std::move(hosts));
  // What it had while it lived is told after its end.
  if (ips.empty() && in.before["podIPs"].is_array() && !why_no_sandbox(in.pod, in.seen).empty())
    ips = *in.before["podIPs"].array();
  if (ips.empty()) return;
  status.set("podIP", ips.front()["ip"]);
  status.set("podIPs", std::move(ips));
}

// What the pod as a whole may use and was given (KEP-5419): its containers together.
void add_resources(const value& pod, const pod_seen& seen, value& status) {
  auto list = [](const pod::amounts& all) {
    object out;
    for (auto& [name, amount] : all)
      if (!amount.is_zero() && (name == "cpu" || name == "memory")) out.set(name, amount.text());
    return value(std::move(out));
  };
  if (auto allocated = list(pod::amounts_of_pod(pod, "requests")); !allocated.empty())
    status.set("allocatedResources", std::move(allocated));
  std::optional<value> given;
  if (resize_in_progress(pod, seen)) given = as_given(pod, seen);
  auto& has = given ? *given : pod;
  auto requests = list(pod::amounts_of_pod(has, "requests")), limits = list(pod::amounts_of_pod(has, "limits"));
  value resources(object{});
  if (!limits.empty()) resources.set("limits", std::move(limits));
  if (!requests.empty()) resources.set("requests", std::move(requests));
  status.set("resources", std::move(resources));
}

void cut_messages(value& status) {
  std::size_t containers = 0;
  constexpr const char* lists[] = {"containerStatuses", "initContainerStatuses"};
  for (auto* list : lists) containers += list_of(status, list).size();
  if (containers == 0) return;
  const auto most = messages_max / containers;
  for (auto* list : lists) {
    auto* all = status.find(list) ? status.find(list)->array() : nullptr;
    if (!all) continue;
    for (auto& s : *all)
      for (auto* part : {"state", "lastState"})
        if (auto text = s[part]["terminated"]["message"].as_string(); text.size() > most)
          s.member(part).member("terminated").set("message", std::string(text.substr(0, most)));
  }
}

}  // namespace

bool is_own_condition(std::string_view type) {
  static constexpr std::string_view own[] = {
      "PodScheduled", "Ready",          "Initialized",           "ContainersReady", "PodReadyToStartContainers",
      resize_pending, resize_under_way, all_restarting_condition};
  return std::ranges::find(own, type) != std::end(own);
}

std::string_view condition_status_of(const value& status, std::string_view type) {
  return named(list_of(status, "conditions"), type, "type")["status"].as_string();
}

value pod_status(const status_input& in) {
  value out(object{});
  auto& api = in.pod["status"];
  if (auto generation = in.pod["metadata"]["generation"].as_integer(); generation != 0)
    out.set("observedGeneration", generation);
  out.set("containerStatuses", container_statuses(in, "containers", "containerStatuses").make());
  auto optional_list = [&](const char* specs, const char* name) {
    if (auto all = container_statuses(in, specs, name).make(); !all.empty()) out.set(name, std::move(all));
  };
  optional_list("initContainers", "initContainerStatuses");
  optional_list("ephemeralContainers", "ephemeralContainerStatuses");

  std::string phase(phase_of(in, out));
  for (auto* earlier : {&in.before, &api})
    if (!is_terminal_phase(phase) && is_terminal_phase((*earlier)["phase"].as_string()))
      phase = (*earlier)["phase"].as_string();
  value reason, message;
  if (phase == in.before["phase"].as_string()) {
    reason = in.before["reason"].is_string() ? in.before["reason"] : api["reason"];
    message = in.before["message"].is_string() ? in.before["message"] : api["message"];
  }
  if (in.failure) {
    phase = "Failed";
    reason = in.failure->reason;
    message = in.failure->message;
  }
  // Final is final, whatever the API was told first. One that may still run containers isn't told to be.
  if (is_terminal_phase(api["phase"].as_string())) phase = api["phase"].as_string();
  if (is_terminal_phase(phase) && !is_terminal_phase(api["phase"].as_string()) && in.seen.runs_anything()) {
    phase = api["phase"].as_string("Pending");
    reason = api["reason"];
    message = api["message"];
  }
  out.set("conditions", conditions_of(in, out, phase));
  out.set("phase", phase);
  if (!reason.as_string().empty()) out.set("reason", reason);
  if (!message.as_string().empty()) out.set("message", message);
  add_addresses(in, out);
  auto started = in.before["startTime"].is_string() ? in.before["startTime"] : api["startTime"];
  out.set("startTime", started.is_string() ? started : value(format_rfc3339(in.now)));
  if (api["qosClass"].is_string()) out.set("qosClass", api["qosClass"]);
  add_resources(in.pod, in.seen, out);
  cut_messages(out);
  return out;
}

value ended_status(const value& pod, value status) {
  auto end_all = [&](const char* list, bool all) {
    auto* statuses = status.find(list) ? status.find(list)->array() : nullptr;
    if (!statuses) return;
    for (auto& s : *statuses) {
      bool began = s["lastState"]["terminated"].is_object() || s["state"]["running"].is_object();
      if (s["state"]["terminated"].is_object() || (!all && !began)) continue;
      s.set("state", lost("The container could not be located when the pod was terminated"));
    }
  };
  const bool was_initialized =
      list_of(pod["spec"], "initContainers").empty() || condition_status_of(status, "Initialized") == "True";
  if (was_initialized) end_all("containerStatuses", true);
  end_all("initContainerStatuses", false);
  if (!is_terminal_phase(status["phase"].as_string())) status.set("phase", "Failed");
  return status;
}

value rejected_status(const value& status) {
  object out;
  for (auto* part : {"observedGeneration", "phase", "reason", "message", "startTime", "qosClass"})
    if (!status[part].is_null()) out.set(part, status[part]);
  return out;
}

value status_patch(const value& pod, const value& wanted) {
  static constexpr const char* whole[] = {"observedGeneration",
                                          "phase",
                                          "reason",
                                          "message",
                                          "hostIP",
                                          "podIP",
                                          "startTime",
                                          "containerStatuses",
                                          "initContainerStatuses",
                                          "ephemeralContainerStatuses",
                                          "resources",
                                          "allocatedResources"};
  auto& api = pod["status"];
  value status;
  for (auto* part : whole) {
    auto& now = api[part];
    auto& next = wanted[part];
    if (now == next) continue;
    status.set(part, next);  // null removes
  }
  // Merged by their keys as the API's types say: what is gone must be said.
  for (auto* part : {"hostIPs", "podIPs"}) {
    if (api[part] == wanted[part] || (api[part].empty() && wanted[part].empty())) continue;
    array list;
    if (auto* all = wanted[part].array()) list = *all;
    list.push_back(object{{"$patch", "replace"}});
    status.set(part, std::move(list));
  }
  array conditions;
  for (auto& c : list_of(wanted, "conditions")) {
    auto type = c["type"].as_string();
    const bool own = is_own_condition(type) || (type == disruption && c["reason"].as_string() == disruption_by_node);
    if (own && named(list_of(api, "conditions"), type, "type") != c) conditions.push_back(c);
  }
  // A strategic merge adds and changes members and removes none: an end of a reason or message must be said.
  for (auto& c : conditions)
    for (auto* part : {"reason", "message"})
      if (!c[part].is_string() && named(list_of(api, "conditions"), c["type"].as_string(), "type")[part].is_string())
        c.set(part, nullptr);
  for (auto type : {resize_pending, resize_under_way})
    if (named(list_of(wanted, "conditions"), type, "type").is_null() &&
        !named(list_of(api, "conditions"), type, "type").is_null())
      conditions.push_back(object{{"$patch", "delete"}, {"type", type}});
  if (!conditions.empty()) status.set("conditions", std::move(conditions));
  if (status.is_null()) return {};
  return object{{"metadata", object{{"uid", pod["metadata"]["uid"]}}}, {"status", std::move(status)}};
}

}  // namespace kedge::node
