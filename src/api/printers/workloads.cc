// workloads.cc: what runs pods.
#include <fmt/format.h>

#include "api/printers/prints.h"
#include "base/strings.h"

namespace kedge::api::print {
namespace {

json::value count(const json::value& v) { return v.as_integer(); }

std::string owner(const json::value& o) {
  auto& list = o["metadata"]["ownerReferences"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i]["controller"].as_bool()) continue;
    auto version = list[i]["apiVersion"].as_string();
    auto slash = version.find('/');
    auto kind = lower(list[i]["kind"].as_string());
    if (slash != std::string_view::npos) kind += fmt::format(".{}", version.substr(0, slash));
    return fmt::format("{}/{}", kind, list[i]["name"].as_string());
  }
  return "<none>";
}

bool holds(const json::value& o, std::string_view type) {
  auto& list = o["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return list[i]["status"].as_string() == "True";
  return false;
}

std::string job_status(const json::value& o) {
  if (holds(o, "Complete")) return "Complete";
  if (holds(o, "Failed")) return "Failed";
  if (o["metadata"]["deletionTimestamp"].is_string()) return "Terminating";
  for (auto type : {"Suspended", "FailureTarget", "SuccessCriteriaMet"})
    if (holds(o, type)) return type;
  return "Running";
}

std::string job_duration(const json::value& o, wall_time now) {
  auto start = parse_rfc3339(o["status"]["startTime"].as_string());
  if (!start) return {};
  auto end = parse_rfc3339(o["status"]["completionTime"].as_string());
  return human_duration((end ? *end : now) - *start);
}

// One metric of an autoscaler: "cpu: 12%/80%".
std::string metric_text(const json::value& metric, const json::value& current) {
  auto type = metric["type"].as_string();
  auto part = type == "Resource"            ? "resource"
              : type == "ContainerResource" ? "containerResource"
              : type == "Pods"              ? "pods"
              : type == "Object"            ? "object"
                                            : "external";
  auto& target = metric[part]["target"];
  auto& now = current[part]["current"];
  const bool resource = type == "Resource" || type == "ContainerResource";
  if (resource && target["averageUtilization"].is_integer()) {
    auto is = now["averageUtilization"].is_integer() ? fmt::format("{}%", now["averageUtilization"].as_integer())
                                                     : std::string("<unknown>");
    return fmt::format("{}: {}/{}%", metric[part]["name"].as_string(), is, target["averageUtilization"].as_integer());
  }
  auto average = target["averageValue"].as_string();
  auto member = average.empty() ? "value" : "averageValue";
  auto text = fmt::format("{}/{}{}", or_text(now[member], "<unknown>"), target[member].as_string(),
                          average.empty() || type == "Pods" || resource ? "" : " (avg)");
  return resource ? fmt::format("{}: {}", metric[part]["name"].as_string(), text) : text;
}

std::string targets(const json::value& o) {
  auto& list = o["spec"]["metrics"];
  if (list.empty()) return "<none>";
  std::string out;
  for (std::size_t i = 0; i < list.size() && i < 2; ++i) {
    if (i) out += ", ";
    out += metric_text(list[i], o["status"]["currentMetrics"][i]);
  }
  if (list.size() > 2) out += fmt::format(" + {} more...", list.size() - 2);
  return out;
}

std::string int_or_text(const json::value& v) {
  if (v.is_integer()) return std::to_string(v.as_integer());
  return or_text(v, "N/A");
}

}  // namespace

table_row replicas(const json::value& o, wall_time now) {
  auto& spec = o["spec"]["template"]["spec"];
  auto selector = o["kind"].as_string() == "ReplicationController" ? format_labels(o["spec"]["selector"])
                                                                   : format_selector(o["spec"]["selector"]);
  return {
      {name_cell(o), count(o["spec"]["replicas"]), count(o["status"]["replicas"]), count(o["status"]["readyReplicas"]),
       age_of(o, now), container_names(spec), container_images(spec), selector},
      {}};
}

table_row controller_revision(const json::value& o, wall_time now) {
  return {{name_cell(o), owner(o), count(o["revision"]), age_of(o, now)}, {}};
}

table_row daemon_set(const json::value& o, wall_time now) {
  auto &status = o["status"], &spec = o["spec"]["template"]["spec"];
  return {{name_cell(o), count(status["desiredNumberScheduled"]), count(status["currentNumberScheduled"]),
           count(status["numberReady"]), count(status["updatedNumberScheduled"]), count(status["numberAvailable"]),
           format_labels(spec["nodeSelector"]), age_of(o, now), container_names(spec), container_images(spec),
           format_selector(o["spec"]["selector"])},
          {}};
}

table_row deployment(const json::value& o, wall_time now) {
  auto &status = o["status"], &spec = o["spec"]["template"]["spec"];
  return {{name_cell(o), fmt::format("{}/{}", status["readyReplicas"].as_integer(), o["spec"]["replicas"].as_integer()),
           count(status["updatedReplicas"]), count(status["availableReplicas"]), age_of(o, now), container_names(spec),
           container_images(spec), format_selector(o["spec"]["selector"])},
          {}};
}

table_row stateful_set(const json::value& o, wall_time now) {
  auto& spec = o["spec"]["template"]["spec"];
  return {{name_cell(o),
           fmt::format("{}/{}", o["status"]["readyReplicas"].as_integer(), o["spec"]["replicas"].as_integer()),
           age_of(o, now), container_names(spec), container_images(spec)},
          {}};
}

table_row autoscaler(const json::value& o, wall_time now) {
  auto& ref = o["spec"]["scaleTargetRef"];
  auto least = o["spec"]["minReplicas"].is_integer() ? std::to_string(o["spec"]["minReplicas"].as_integer())
                                                     : std::string("<unset>");
  return {{name_cell(o), fmt::format("{}/{}", ref["kind"].as_string(), ref["name"].as_string()), targets(o), least,
           count(o["spec"]["maxReplicas"]), count(o["status"]["currentReplicas"]), age_of(o, now)},
          {}};
}

table_row cron_job(const json::value& o, wall_time now) {
  auto& spec = o["spec"]["jobTemplate"]["spec"]["template"]["spec"];
  auto last =
      o["status"]["lastScheduleTime"].is_string() ? age(o["status"]["lastScheduleTime"], now) : std::string("<none>");
  auto& selector = o["spec"]["jobTemplate"]["spec"]["selector"];
  return {{name_cell(o), o["spec"]["schedule"], or_text(o["spec"]["timeZone"], "<none>"),
           o["spec"]["suspend"].as_bool() ? "True" : "False", static_cast<std::int64_t>(o["status"]["active"].size()),
           last, age_of(o, now), container_names(spec), container_images(spec),
           selector.is_object() ? format_selector(selector) : std::string("<none>")},
          {}};
}

table_row job(const json::value& o, wall_time now) {
  auto& spec = o["spec"]["template"]["spec"];
  auto done = o["status"]["succeeded"].as_integer();
  std::string completions;
  if (o["spec"]["completions"].is_integer())
    completions = fmt::format("{}/{}", done, o["spec"]["completions"].as_integer());
  else if (auto n = o["spec"]["parallelism"].as_integer(); n > 1)
    completions = fmt::format("{}/1 of {}", done, n);
  else
    completions = fmt::format("{}/1", done);
  return {{name_cell(o), job_status(o), completions, job_duration(o, now), age_of(o, now), container_names(spec),
           container_images(spec), format_selector(o["spec"]["selector"])},
          {}};
}

table_row disruption_budget(const json::value& o, wall_time now) {
  return {{name_cell(o), int_or_text(o["spec"]["minAvailable"]), int_or_text(o["spec"]["maxUnavailable"]),
           count(o["status"]["disruptionsAllowed"]), age_of(o, now)},
          {}};
}

}  // namespace kedge::api::print
