// cluster.cc: kinds that configure the cluster.
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "api/printers/prints.h"
#include "base/strings.h"

namespace kedge::api::print {
namespace {

std::string condition_list(const json::value& o) {
  std::string out;
  for (auto type : {"Approved", "Denied", "Failed"})
    for (std::size_t i = 0; i < o["status"]["conditions"].size(); ++i)
      if (o["status"]["conditions"][i]["type"].as_string() == type) {
        out += (out.empty() ? "" : ",") + std::string(type);
        break;
      }
  if (out.empty()) return "Pending";
  if (!o["status"]["certificate"].as_string().empty()) out += ",Issued";
  return out;
}

// The last condition of these types that holds.
std::string condition_among(const json::value& o, std::initializer_list<std::string_view> types, std::string none) {
  auto out = std::move(none);
  auto& all = o["status"]["conditions"];
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto type = all[i]["type"].as_string();
    if (all[i]["status"].as_string() == "True" && std::ranges::find(types, type) != types.end()) out = type;
  }
  return out;
}

std::string subjects(const json::value& o, std::string_view kind) {
  std::string out;
  for (std::size_t i = 0; i < o["subjects"].size(); ++i) {
    auto& s = o["subjects"][i];
    if (s["kind"].as_string() != kind) continue;
    if (!out.empty()) out += ", ";
    if (kind == "ServiceAccount") out += fmt::format("{}/", s["namespace"].as_string());
    out += s["name"].as_string();
  }
  return out;
}

std::string claim_state(const json::value& o) {
  std::string out;
  auto add = [&](std::string_view text) { out += (out.empty() ? "" : ",") + std::string(text); };
  if (o["metadata"]["deletionTimestamp"].is_string()) add("deleted");
  if (!o["status"]["allocation"].is_object()) {
    if (!o["metadata"]["deletionTimestamp"].is_string()) add("pending");
  } else {
    add("allocated");
    if (!o["status"]["reservedFor"].empty()) add("reserved");
  }
  return out;
}

json::value or_none(const json::value& v) {
  return v.is_integer() ? json::value(std::to_string(v.as_integer())) : json::value("<none>");
}

}  // namespace

table_row api_service(const json::value& o, wall_time now) {
  auto& s = o["spec"]["service"];
  std::string service =
      s.is_object() ? fmt::format("{}/{}", s["namespace"].as_string(), s["name"].as_string()) : "Local";
  std::string available = s.is_object() ? "Unknown" : "True";
  for (std::size_t i = 0; i < o["status"]["conditions"].size(); ++i) {
    auto& c = o["status"]["conditions"][i];
    if (c["type"].as_string() != "Available") continue;
    available = c["status"].as_string();
    if (available != "True") available += fmt::format(" ({})", c["reason"].as_string());
  }
  return {{name_cell(o), service, available, age_of(o, now)}, {}};
}

table_row signing_request(const json::value& o, wall_time now) {
  std::string wanted = "<none>";
  if (auto& s = o["spec"]["expirationSeconds"]; s.is_integer())
    wanted = human_duration(std::chrono::seconds(s.as_integer()));
  return {{name_cell(o), age_of(o, now), or_text(o["spec"]["signerName"], "<none>"), o["spec"]["username"], wanted,
           condition_list(o)},
          {}};
}

table_row trust_bundle(const json::value& o, wall_time) {
  return {{name_cell(o), or_text(o["spec"]["signerName"], "<none>")}, {}};
}

table_row pod_certificate_request(const json::value& o, wall_time) {
  auto& spec = o["spec"];
  return {
      {name_cell(o), spec["podName"], spec["serviceAccountName"], spec["nodeName"], spec["signerName"],
       condition_among(o, {"Issued", "Denied", "Failed"}, "Pending"), format_labels(spec["unverifiedUserAnnotations"])},
      {}};
}

table_row storage_version_migration(const json::value& o, wall_time) {
  auto& of = o["spec"]["resource"];
  auto group = of["group"].as_string();
  return {{name_cell(o), fmt::format("{}{}{}", of["resource"].as_string(), group.empty() ? "" : ".", group),
           condition_among(o, {"Running", "Failed", "Succeeded"}, "Unknown")},
          {}};
}

table_row custom_definition(const json::value& o, wall_time) {
  auto& spec = o["spec"];
  std::vector<std::string> versions;
  for (std::size_t i = 0; i < spec["versions"].size(); ++i) {
    auto& v = spec["versions"][i];
    if (v["served"].as_bool())
      versions.push_back(std::string(v["name"].as_string()) + (v["storage"].as_bool() ? "(storage)" : ""));
  }
  std::ranges::sort(versions);
  auto& short_names = spec["names"]["shortNames"];
  return {{name_cell(o), spec["scope"], join(versions, ","), o["metadata"]["creationTimestamp"], spec["group"],
           spec["names"]["kind"], short_names.empty() ? std::string() : joined(short_names),
           condition_among(o, {"Established"}, "").size() > 0},
          {}};
}

table_row device_taint(const json::value& o, wall_time now) {
  auto& t = o["spec"]["taint"];
  return {{name_cell(o), t["key"].as_string(), t["value"].as_string(), t["effect"].as_string(),
           t["timeAdded"].is_string() ? age(t["timeAdded"], now) : std::string(), age_of(o, now)},
          {}};
}

table_row binding(const json::value& o, wall_time now) {
  auto& ref = o["roleRef"];
  return {{name_cell(o), fmt::format("{}/{}", ref["kind"].as_string(), ref["name"].as_string()), age_of(o, now),
           subjects(o, "User"), subjects(o, "Group"), subjects(o, "ServiceAccount")},
          {}};
}

table_row csi_driver(const json::value& o, wall_time now) {
  auto& spec = o["spec"];
  std::string tokens = "<unset>";
  if (!spec["tokenRequests"].empty()) {
    tokens.clear();
    for (std::size_t i = 0; i < spec["tokenRequests"].size(); ++i)
      tokens += (i ? "," : "") + std::string(spec["tokenRequests"][i]["audience"].as_string());
  }
  return {{name_cell(o), spec["attachRequired"].as_bool(true), spec["podInfoOnMount"].as_bool(),
           spec["storageCapacity"].as_bool(), tokens, spec["requiresRepublish"].as_bool(),
           spec["volumeLifecycleModes"].empty() ? std::string("<none>") : joined(spec["volumeLifecycleModes"]),
           age_of(o, now)},
          {}};
}

table_row csi_node(const json::value& o, wall_time now) {
  return {{name_cell(o), static_cast<std::int64_t>(o["spec"]["drivers"].size()), age_of(o, now)}, {}};
}

table_row storage_class(const json::value& o, wall_time now) {
  auto name = std::string(o["metadata"]["name"].as_string());
  auto& notes = o["metadata"]["annotations"];
  if (notes["storageclass.kubernetes.io/is-default-class"].as_string() == "true" ||
      notes["storageclass.beta.kubernetes.io/is-default-class"].as_string() == "true")
    name += " (default)";
  return {{name, o["provisioner"], or_text(o["reclaimPolicy"], "Delete"), or_text(o["volumeBindingMode"], "Immediate"),
           o["allowVolumeExpansion"].as_bool(), age_of(o, now)},
          {}};
}

table_row attachment(const json::value& o, wall_time now) {
  return {{name_cell(o), o["spec"]["attacher"], o["spec"]["source"]["persistentVolumeName"].as_string(),
           o["spec"]["nodeName"], o["status"]["attached"].as_bool(), age_of(o, now)},
          {}};
}

table_row attributes_class(const json::value& o, wall_time now) {
  return {{name_cell(o), o["driverName"], age_of(o, now)}, {}};
}
table_row webhooks(const json::value& o, wall_time now) {
  return {{name_cell(o), static_cast<std::int64_t>(o["webhooks"].size()), age_of(o, now)}, {}};
}

table_row admission_policy(const json::value& o, wall_time now) {
  auto& p = o["spec"]["paramKind"];
  auto& does = o["kind"].as_string() == "MutatingAdmissionPolicy" ? o["spec"]["mutations"] : o["spec"]["validations"];
  return {{name_cell(o), static_cast<std::int64_t>(does.size()),
           p.is_object() ? fmt::format("{}/{}", p["apiVersion"].as_string(), p["kind"].as_string())
                         : std::string("<unset>"),
           age_of(o, now)},
          {}};
}

table_row admission_policy_binding(const json::value& o, wall_time now) {
  auto& p = o["spec"]["paramRef"];
  std::string text = "<unset>";
  if (p.is_object())
    text = p["name"].is_string() ? fmt::format("{}/{}", or_text(p["namespace"], "*"), p["name"].as_string())
                                 : format_selector(p["selector"]);
  return {{name_cell(o), o["spec"]["policyName"], text, age_of(o, now)}, {}};
}

table_row priority_class(const json::value& o, wall_time now) {
  return {{name_cell(o), o["value"].as_integer(), o["globalDefault"].as_bool(), age_of(o, now),
           o["preemptionPolicy"].as_string()},
          {}};
}
table_row lease(const json::value& o, wall_time now) {
  return {{name_cell(o), o["spec"]["holderIdentity"].as_string(), age_of(o, now)}, {}};
}
table_row runtime_class(const json::value& o, wall_time now) {
  return {{name_cell(o), o["handler"], age_of(o, now)}, {}};
}
table_row resource_claim(const json::value& o, wall_time now) {
  return {{name_cell(o), claim_state(o), age_of(o, now)}, {}};
}
table_row resource_slice(const json::value& o, wall_time now) {
  return {
      {name_cell(o), o["spec"]["nodeName"].as_string(), o["spec"]["driver"], o["spec"]["pool"]["name"], age_of(o, now)},
      {}};
}

table_row flow_schema(const json::value& o, wall_time now) {
  std::string missing = "?";
  for (std::size_t i = 0; i < o["status"]["conditions"].size(); ++i)
    if (o["status"]["conditions"][i]["type"].as_string() == "Dangling")
      missing = o["status"]["conditions"][i]["status"].as_string();
  return {{name_cell(o), o["spec"]["priorityLevelConfiguration"]["name"], o["spec"]["matchingPrecedence"].as_integer(),
           or_text(o["spec"]["distinguisherMethod"]["type"], "<none>"), age_of(o, now), missing},
          {}};
}

table_row priority_level(const json::value& o, wall_time now) {
  auto& limited = o["spec"]["limited"];
  auto& queuing = limited["limitResponse"]["queuing"];
  return {
      {name_cell(o), o["spec"]["type"],
       or_none(limited["nominalConcurrencyShares"].is_null() ? o["spec"]["exempt"]["nominalConcurrencyShares"]
                                                             : limited["nominalConcurrencyShares"]),
       or_none(queuing["queues"]), or_none(queuing["handSize"]), or_none(queuing["queueLengthLimit"]), age_of(o, now)},
      {}};
}

}  // namespace kedge::api::print
