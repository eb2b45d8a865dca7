// pod.cc: the pod's status line, as kubectl has always told it.
#include <fmt/format.h>

#include "api/printers/prints.h"
#include "base/strings.h"

namespace kedge::api::print {
namespace {

const json::value& condition(const json::value& o, std::string_view type) {
  static const json::value none;
  auto& list = o["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return list[i];
  return none;
}

struct pod_line {
  std::string reason;
  std::int64_t restarts = 0, ready = 0, total = 0;
  std::string last_restart;  // RFC 3339, empty without
  void restarted_at(const json::value& status) {
    auto at = status["lastState"]["terminated"]["finishedAt"].as_string();
    if (at > last_restart) last_restart = at;
  }
};

std::string ended(const json::value& terminated) {
  if (auto s = terminated["signal"].as_integer(); s != 0) return fmt::format("Signal:{}", s);
  return fmt::format("ExitCode:{}", terminated["exitCode"].as_integer());
}

bool restartable(const json::value& spec, std::string_view name) {
  for (std::size_t i = 0; i < spec["initContainers"].size(); ++i)
    if (spec["initContainers"][i]["name"].as_string() == name)
      return spec["initContainers"][i]["restartPolicy"].as_string() == "Always";
  return false;
}

// Whether an init container still runs or failed; it then names the reason. `restarts` counts sidecars' restarts.
bool initializing(const json::value& o, pod_line& line, std::int64_t& sidecar_restarts) {
  auto& list = o["status"]["initContainerStatuses"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& c = list[i];
    line.restarts += c["restartCount"].as_integer();
    line.restarted_at(c);
    const bool sidecar = restartable(o["spec"], c["name"].as_string());
    if (sidecar) sidecar_restarts += c["restartCount"].as_integer();
    auto& terminated = c["state"]["terminated"];
    auto waiting = c["state"]["waiting"]["reason"].as_string();
    if (terminated.is_object() && terminated["exitCode"].as_integer() == 0) continue;
    if (sidecar && c["started"].as_bool()) {
      if (c["ready"].as_bool()) ++line.ready;
      continue;
    }
    if (terminated.is_object())
      line.reason = "Init:" + or_text(terminated["reason"], ended(terminated));
    else if (!waiting.empty() && waiting != "PodInitializing")
      line.reason = fmt::format("Init:{}", waiting);
    else
      line.reason = fmt::format("Init:{}/{}", i, o["spec"]["initContainers"].size());
    return true;
  }
  return false;
}

void look_at_containers(const json::value& o, pod_line& line) {
  bool running = false;
  auto& list = o["status"]["containerStatuses"];
  for (auto i = list.size(); i-- > 0;) {
    auto& c = list[i];
    line.restarts += c["restartCount"].as_integer();
    line.restarted_at(c);
    auto waiting = c["state"]["waiting"]["reason"].as_string();
    auto& terminated = c["state"]["terminated"];
    if (!waiting.empty()) {
      line.reason = waiting;
    } else if (terminated.is_object()) {
      line.reason = or_text(terminated["reason"], ended(terminated));
    } else if (c["ready"].as_bool() && c["state"]["running"].is_object()) {
      running = true;
      ++line.ready;
    }
  }
  if (line.reason == "Completed" && running)
    line.reason = condition(o, "Ready")["status"].as_string() == "True" ? "Running" : "NotReady";
}

pod_line line_of(const json::value& o) {
  pod_line line;
  auto phase = o["status"]["phase"].as_string();
  line.reason = or_text(o["status"]["reason"], phase);
  line.total = static_cast<std::int64_t>(o["spec"]["containers"].size());
  for (std::size_t i = 0; i < o["spec"]["initContainers"].size(); ++i)
    line.total += o["spec"]["initContainers"][i]["restartPolicy"].as_string() == "Always";
  if (condition(o, "PodScheduled")["reason"].as_string() == "SchedulingGated") line.reason = "SchedulingGated";
  std::int64_t sidecar_restarts = 0;
  if (!initializing(o, line, sidecar_restarts) || condition(o, "Initialized")["status"].as_string() == "True") {
    line.restarts = sidecar_restarts;
    look_at_containers(o, line);
  }
  if (o["metadata"]["deletionTimestamp"].is_string()) {
    if (o["status"]["reason"].as_string() == "NodeLost")
      line.reason = "Unknown";
    else if (phase != "Succeeded" && phase != "Failed")
      line.reason = "Terminating";
  }
  return line;
}

std::string readiness_gates(const json::value& o) {
  auto& gates = o["spec"]["readinessGates"];
  if (gates.empty()) return "<none>";
  std::size_t good = 0;
  for (std::size_t i = 0; i < gates.size(); ++i)
    good += condition(o, gates[i]["conditionType"].as_string())["status"].as_string() == "True";
  return fmt::format("{}/{}", good, gates.size());
}

}  // namespace

table_row pod(const json::value& o, wall_time now) {
  auto line = line_of(o);
  auto restarts = std::to_string(line.restarts);
  if (line.restarts != 0 && !line.last_restart.empty())
    restarts += fmt::format(" ({} ago)", age(line.last_restart, now));
  auto ip = o["status"]["podIPs"].size() ? o["status"]["podIPs"][0]["ip"] : o["status"]["podIP"];
  table_row row;
  row.cells = {name_cell(o),
               fmt::format("{}/{}", line.ready, line.total),
               line.reason,
               restarts,
               age_of(o, now),
               or_text(ip, "<none>"),
               or_text(o["spec"]["nodeName"], "<none>"),
               or_text(o["status"]["nominatedNodeName"], "<none>"),
               readiness_gates(o)};
  auto phase = o["status"]["phase"].as_string();
  if (phase == "Succeeded" || phase == "Failed")
    row.conditions.emplace_back(
        json::object{{"type", "Completed"},
                     {"status", "True"},
                     {"reason", phase},
                     {"message", phase == "Succeeded" ? "The pod has completed successfully." : "The pod failed."}});
  return row;
}

table_row pod_template(const json::value& o, wall_time) {
  auto& spec = o["template"]["spec"];
  return {
      {name_cell(o), container_names(spec), container_images(spec), format_labels(o["template"]["metadata"]["labels"])},
      {}};
}

}  // namespace kedge::api::print
