#include "hollow/script.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace kedge::hollow {

using json::value;

result<script> parse_script(std::string_view text, script s) {
  for (auto part : split(text, ',')) {
    part = trim(part);
    if (part.empty()) continue;
    auto equals = part.find('=');
    auto name = part.substr(0, equals), given = equals == part.npos ? std::string_view() : part.substr(equals + 1);
    auto time = [&]() -> result<duration> {
      auto d = parse_duration(given);
      if (!d || *d < duration::zero())
        return fail(errc::invalid, fmt::format("{}: {} is no duration, as 100ms or 5s", name, quote(given)));
      return d;
    };
    if (name == "ready") {
      KEDGE_TRY(s.ready, time());
    } else if (name == "exit") {
      KEDGE_TRY(s.exit, time());
    } else if (name == "stop") {
      KEDGE_TRY(s.stop, time());
    } else if (name == "code") {
      auto n = parse_uint(given);
      if (!n || *n > 255) return fail(errc::invalid, fmt::format("code: {} is not between 0 and 255", quote(given)));
      s.code = static_cast<int>(*n);
    } else if (name == "reason" && !given.empty()) {
      s.reason = given;
    } else {
      return fail(
          errc::invalid,
          fmt::format("{} is nothing that a script says: it has ready, exit, code, reason and stop", quote(part)));
    }
  }
  return s;
}

bool is_restarted(const value& pod, int code) noexcept {
  auto policy = pod["spec"]["restartPolicy"].as_string("Always");
  return policy == "Always" || (policy == "OnFailure" && code != 0);
}

duration restart_pause(unsigned number) noexcept {
  if (number <= 1) return duration::zero();
  constexpr duration first = std::chrono::seconds(10), most = std::chrono::minutes(5);
  return std::min(first * (1 << std::min(number - 2, 5u)), most);
}

namespace {

value terminated(const script& s, wall_time began, wall_time ended, std::string_view id) {
  auto reason = !s.reason.empty() ? s.reason : s.code == 0 ? "Completed" : "Error";
  return json::object{{"exitCode", s.code},
                      {"reason", reason},
                      {"startedAt", format_rfc3339(began)},
                      {"finishedAt", format_rfc3339(ended)},
                      {"containerID", id}};
}

std::string id_of(const value& pod, std::string_view container, unsigned run) {
  return fmt::format("hollow://{}-{}-{}", pod["metadata"]["uid"].as_string(), container, run);
}

value container_status(const value& pod, const value& container, const script& s, const moment_of_pod& m) {
  auto name = container["name"].as_string(), image = container["image"].as_string();
  auto id = id_of(pod, name, m.restarts);
  const bool running = m.is == moment_of_pod::state::running;
  json::object state, last;
  switch (m.is) {
    case moment_of_pod::state::running:
      state.set("running", json::object{{"startedAt", format_rfc3339(m.run_began)}});
      break;
    case moment_of_pod::state::ended: state.set("terminated", terminated(s, m.run_began, *m.run_ended, id)); break;
    case moment_of_pod::state::waiting:
      state.set("waiting",
                json::object{{"reason", "CrashLoopBackOff"},
                             {"message",
                              fmt::format("back-off {} restarting failed container={} pod={}_{}({})",
                                          format_duration(restart_pause(m.restarts + 1)), name,
                                          pod["metadata"]["name"].as_string(), pod["metadata"]["namespace"].as_string(),
                                          pod["metadata"]["uid"].as_string())}});
      break;
  }
  if (m.is == moment_of_pod::state::waiting)
    last.set("terminated", terminated(s, m.run_began, *m.run_ended, id));
  else if (m.restarts > 0 && m.run_ended)
    last.set("terminated", terminated(s, m.run_began, *m.run_ended, id_of(pod, name, m.restarts - 1)));
  return json::object{{"name", name},
                      {"image", image},
                      {"imageID", image},
                      {"containerID", id},
                      {"ready", running},
                      {"started", running},
                      {"restartCount", std::int64_t(m.restarts)},
                      {"state", std::move(state)},
                      {"lastState", std::move(last)}};
}

value init_status(const value& pod, const value& container, const moment_of_pod& m) {
  auto image = container["image"].as_string();
  auto at = format_rfc3339(m.started);
  auto id = id_of(pod, container["name"].as_string(), 0);
  json::object done{
      {"exitCode", 0}, {"reason", "Completed"}, {"startedAt", at}, {"finishedAt", at}, {"containerID", id}};
  return json::object{{"name", container["name"]},
                      {"image", image},
                      {"imageID", image},
                      {"containerID", id},
                      {"ready", true},
                      {"started", false},
                      {"restartCount", 0},
                      {"state", json::object{{"terminated", std::move(done)}}},
                      {"lastState", json::object{}}};
}

}  // namespace

value status_of(const value& pod, const script& s, const moment_of_pod& m, std::string_view node_address,
                std::string_view pod_address) {
  const bool ended = m.is == moment_of_pod::state::ended, running = m.is == moment_of_pod::state::running;
  json::array conditions, containers, inits;
  auto since = format_rfc3339(running ? m.run_began : m.run_ended.value_or(m.started));
  auto add = [&](std::string_view type, bool holds, std::string_view at) {
    json::object c{
        {"type", type}, {"status", holds ? "True" : "False"}, {"lastProbeTime", nullptr}, {"lastTransitionTime", at}};
    if (!holds) c.set("reason", ended && s.code == 0 ? "PodCompleted" : "ContainersNotReady");
    conditions.push_back(std::move(c));
  };
  add("PodReadyToStartContainers", !ended, format_rfc3339(m.started));
  add("Initialized", true, format_rfc3339(m.started));
  add("Ready", running, since);
  add("ContainersReady", running, since);
  auto& spec = pod["spec"];
  for (std::size_t i = 0; i < spec["containers"].size(); ++i)
    containers.push_back(container_status(pod, spec["containers"][i], s, m));
  for (std::size_t i = 0; i < spec["initContainers"].size(); ++i) {
    auto& c = spec["initContainers"][i];
    inits.push_back(c["restartPolicy"].as_string() == "Always" ? container_status(pod, c, s, m)
                                                               : init_status(pod, c, m));
  }
  json::object out{{"phase", ended ? (s.code == 0 ? "Succeeded" : "Failed") : "Running"},
                   {"conditions", std::move(conditions)},
                   {"containerStatuses", std::move(containers)},
                   {"hostIP", node_address},
                   {"hostIPs", json::array{json::object{{"ip", node_address}}}},
                   {"startTime", format_rfc3339(m.started)}};
  if (!inits.empty()) out.set("initContainerStatuses", std::move(inits));
  auto address = spec["hostNetwork"].as_bool() ? node_address : pod_address;
  out.set("podIP", address);
  out.set("podIPs", json::array{json::object{{"ip", address}}});
  if (auto& generation = pod["metadata"]["generation"]; generation.is_integer())
    out.set("observedGeneration", generation);
  return out;
}

}  // namespace kedge::hollow
