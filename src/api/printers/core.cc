// core.cc: the core group's small kinds, nodes and volumes.
#include <fmt/format.h>

#include <algorithm>

#include "api/printers/prints.h"
#include "base/strings.h"

namespace kedge::api::print {
namespace {

json::value count(std::size_t n) { return static_cast<std::int64_t>(n); }

std::string source_of(const json::value& o) {
  auto component = or_text(o["source"]["component"], o["reportingComponent"].as_string());
  auto host = or_text(o["source"]["host"], o["reportingInstance"].as_string());
  return host.empty() ? component : component + ", " + host;
}

std::string modes(const json::value& list) {
  std::string out;
  for (auto [mode, text] : {std::pair{"ReadWriteOnce", "RWO"}, std::pair{"ReadOnlyMany", "ROX"},
                            std::pair{"ReadWriteMany", "RWX"}, std::pair{"ReadWriteOncePod", "RWOP"}})
    for (std::size_t i = 0; i < list.size(); ++i)
      if (list[i].as_string() == mode) {
        out += (out.empty() ? "" : ",") + std::string(text);
        break;
      }
  return out;
}

std::string node_status(const json::value& o) {
  std::string out = "Unknown";
  for (std::size_t i = 0; i < o["status"]["conditions"].size(); ++i) {
    auto& c = o["status"]["conditions"][i];
    if (c["type"].as_string() == "Ready") out = c["status"].as_string() == "True" ? "Ready" : "NotReady";
  }
  if (o["spec"]["unschedulable"].as_bool()) out += ",SchedulingDisabled";
  return out;
}

std::string node_roles(const json::value& o) {
  constexpr std::string_view prefix = "node-role.kubernetes.io/";
  std::vector<std::string> roles;
  if (auto labels = o["metadata"]["labels"].object())
    for (auto& m : *labels) {
      if (m.name.starts_with(prefix) && m.name.size() > prefix.size()) roles.push_back(m.name.substr(prefix.size()));
      if (m.name == "kubernetes.io/role" && !m.value.as_string().empty()) roles.emplace_back(m.value.as_string());
    }
  std::sort(roles.begin(), roles.end());
  roles.erase(std::unique(roles.begin(), roles.end()), roles.end());
  return roles.empty() ? "<none>" : join(roles, ",");
}

std::string node_address(const json::value& o, std::string_view type) {
  auto& list = o["status"]["addresses"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return std::string(list[i]["address"].as_string());
  return "<none>";
}

std::string class_of(const json::value& o) {
  return or_text(o["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"],
                 o["spec"]["storageClassName"].as_string());
}

}  // namespace

table_row component_status(const json::value& o, wall_time) {
  std::string status = "Unknown", message, problem;
  for (std::size_t i = 0; i < o["conditions"].size(); ++i) {
    auto& c = o["conditions"][i];
    if (c["type"].as_string() != "Healthy") continue;
    status = c["status"].as_string() == "True" ? "Healthy" : "Unhealthy";
    message = c["message"].as_string();
    problem = c["error"].as_string();
  }
  return {{name_cell(o), status, message, problem}, {}};
}

table_row config_map(const json::value& o, wall_time now) {
  return {{name_cell(o), count(o["data"].size() + o["binaryData"].size()), age_of(o, now)}, {}};
}
table_row secret(const json::value& o, wall_time now) {
  return {{name_cell(o), o["type"], count(o["data"].size()), age_of(o, now)}, {}};
}
table_row name_space(const json::value& o, wall_time now) {
  return {{name_cell(o), o["status"]["phase"], age_of(o, now)}, {}};
}
table_row named(const json::value& o, wall_time now) { return {{name_cell(o), age_of(o, now)}, {}}; }

table_row event(const json::value& o, wall_time now) {
  auto first = o["firstTimestamp"].is_string() ? age(o["firstTimestamp"], now) : age(o["eventTime"], now);
  auto last = o["lastTimestamp"].is_string() ? age(o["lastTimestamp"], now) : first;
  auto n = o["count"].as_integer();
  if (o["series"].is_object()) {
    last = age(o["series"]["lastObservedTime"], now);
    n = o["series"]["count"].as_integer();
  } else if (n == 0) {
    n = 1;
  }
  auto& about = o["involvedObject"];
  auto target = lower(about["kind"].as_string());
  if (auto name = about["name"].as_string(); !name.empty()) target += fmt::format("/{}", name);
  return {{last, o["type"], o["reason"], target, about["fieldPath"].as_string(), source_of(o),
           trim(o["message"].as_string()), first, n, name_cell(o)},
          {}};
}

table_row node(const json::value& o, wall_time now) {
  auto& info = o["status"]["nodeInfo"];
  return {{name_cell(o), node_status(o), node_roles(o), age_of(o, now), info["kubeletVersion"],
           node_address(o, "InternalIP"), node_address(o, "ExternalIP"), or_text(info["osImage"], "<unknown>"),
           or_text(info["kernelVersion"], "<unknown>"), or_text(info["containerRuntimeVersion"], "<unknown>")},
          {}};
}

table_row claim(const json::value& o, wall_time now) {
  const bool bound = !o["spec"]["volumeName"].as_string().empty();
  auto phase = o["metadata"]["deletionTimestamp"].is_string() ? std::string("Terminating")
                                                              : std::string(o["status"]["phase"].as_string());
  return {{name_cell(o), phase, o["spec"]["volumeName"].as_string(),
           bound ? o["status"]["capacity"]["storage"].as_string() : "", bound ? modes(o["status"]["accessModes"]) : "",
           class_of(o), or_text(o["spec"]["volumeAttributesClassName"], "<unset>"), age_of(o, now),
           or_text(o["spec"]["volumeMode"], "<unset>")},
          {}};
}

table_row volume(const json::value& o, wall_time now) {
  auto& ref = o["spec"]["claimRef"];
  auto claimed =
      ref.is_object() ? fmt::format("{}/{}", ref["namespace"].as_string(), ref["name"].as_string()) : std::string();
  auto phase = o["metadata"]["deletionTimestamp"].is_string() ? std::string("Terminating")
                                                              : std::string(o["status"]["phase"].as_string());
  return {{name_cell(o), o["spec"]["capacity"]["storage"].as_string(), modes(o["spec"]["accessModes"]),
           o["spec"]["persistentVolumeReclaimPolicy"].as_string(), phase, claimed, class_of(o),
           or_text(o["spec"]["volumeAttributesClassName"], "<unset>"), o["status"]["reason"].as_string(),
           age_of(o, now), or_text(o["spec"]["volumeMode"], "<unset>")},
          {}};
}

table_row quota(const json::value& o, wall_time now) {
  std::string requests, limits;
  if (auto hard = o["status"]["hard"].object()) {
    std::vector<std::string> names;
    for (auto& m : *hard) names.push_back(m.name);
    std::sort(names.begin(), names.end());
    for (auto& n : names) {
      auto& into = n.starts_with("limits.") ? limits : requests;
      if (!into.empty()) into += ", ";
      into += fmt::format("{}: {}/{}", n, o["status"]["used"][n].as_string("0"), o["status"]["hard"][n].as_string());
    }
  }
  return {{name_cell(o), requests, limits, age_of(o, now)}, {}};
}

}  // namespace kedge::api::print
