#include "api/kinds/core/pod_status.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "api/kinds/core/containers.h"
#include "api/kinds/core/resources.h"
#include "api/kinds/core/warnings.h"
#include "base/ip.h"
#include "base/strings.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

using by_name = std::unordered_map<std::string_view, const json::value*>;

by_name named(const json::value& list) {
  by_name out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace(list[i]["name"].as_string(), &list[i]);
  return out;
}

// A condition of a type that says nothing of the generation it saw keeps the one of the old condition: the first of its
// type the first's.
void keep_observed_generations(json::value& status, const json::value& before) {
  if (status["observedGeneration"].as_integer() == 0 && before["observedGeneration"].as_integer() != 0)
    status.set("observedGeneration", before["observedGeneration"]);
  std::unordered_map<std::string_view, std::deque<std::int64_t>> seen;
  for (std::size_t i = 0; i < before["conditions"].size(); ++i)
    seen[before["conditions"][i]["type"].as_string()].push_back(
        before["conditions"][i]["observedGeneration"].as_integer());
  auto list = status.find("conditions");
  if (!list || !list->array()) return;
  for (auto& c : *list->array()) {
    auto known = seen.find(c["type"].as_string());
    if (known == seen.end() || known->second.empty()) continue;
    const auto generation = known->second.front();
    known->second.pop_front();
    if (c["observedGeneration"].as_integer() == 0 && generation != 0) c.set("observedGeneration", generation);
  }
}

void check_conditions(causes& out, const json::value& list, const place& at) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto& generation = list[i]["observedGeneration"];
    if (generation.as_integer() < 0)
      out.push_back(invalid_value(place(here, "observedGeneration"), generation, "must be a non-negative integer"));
    auto type = list[i]["type"].as_string();
    if (type != "PodScheduled" && type != "Ready" && type != "Initialized")
      add_problems(out, place(here, "Type"), type, check_qualified_name(type));
  }
}

// restartPolicyRules say of an exit code what is done; what no rule names goes by the container's policy, else the
// pod's.
bool may_restart(const json::value& container, std::string_view pod_policy, std::int64_t code) {
  for (std::size_t i = 0; i < container["restartPolicyRules"].size(); ++i) {
    auto& rule = container["restartPolicyRules"][i];
    auto& values = rule["exitCodes"]["values"];
    bool has = false;
    for (std::size_t j = 0; j < values.size(); ++j) has = has || values[j].as_integer() == code;
    const bool in = rule["exitCodes"]["operator"].as_string() == "In";
    if (rule["exitCodes"].is_object() && has == in) return true;
  }
  auto policy = container["restartPolicy"].is_string() ? container["restartPolicy"].as_string() : pod_policy;
  return policy == "Always" || (policy == "OnFailure" && code != 0);
}

bool any_restarts_all(const json::value& spec) {
  bool any = false;
  for_each_container(spec, "", [&](const json::value& c, const place&) {
    for (std::size_t i = 0; i < c["restartPolicyRules"].size(); ++i)
      any = any || c["restartPolicyRules"][i]["action"].as_string() == "RestartAllContainers";
  });
  return any;
}

// A container that has ended stays so, unless it may be started again. `containers`: null, of ephemeral ones, which
// never are.
void check_transitions(causes& out, const json::value& now, const json::value& before, const place& at,
                       const json::value* containers, const json::value& spec) {
  auto after = named(now);
  auto specs = containers ? named(*containers) : by_name();
  std::map<std::pair<std::string_view, std::int64_t>, bool> restarts;  // what a container's rules say of an exit code
  for (std::size_t i = 0; i < before.size(); ++i) {
    auto& ended = before[i]["state"]["terminated"];
    if (!ended.is_object()) continue;
    auto status = after.find(before[i]["name"].as_string());
    if (status == after.end() || (*status->second)["state"]["terminated"].is_object()) continue;
    auto container = specs.find(status->first);
    if (container != specs.end()) {
      const auto code = ended["exitCode"].as_integer();
      auto [may, fresh] = restarts.try_emplace({container->first, code});
      if (fresh) may->second = may_restart(*container->second, spec["restartPolicy"].as_string(), code);
      if (may->second) continue;
    }
    const place here(at, i);
    out.push_back(forbidden_value(place(here, "state"), "may not be transitioned to non-terminated state"));
  }
}

void check_claim_statuses(causes& out, const json::value& o, const place& at) {
  auto claims = named(o["spec"]["resourceClaims"]);
  name_set seen;
  auto& list = o["status"]["resourceClaimStatuses"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    auto name = list[i]["name"].as_string();
    if (!claims.contains(name))
      out.push_back(
          invalid_value(place(here, "name"), name, "must match the name of an entry in `spec.resourceClaims`"));
    if (!seen.insert(name).second) out.push_back(duplicate_value(place(here, "name"), name));
    if (auto& claim = list[i]["resourceClaimName"]; !claim.is_null())
      add_problems(out, place(here, "resourceClaimName"), claim, check_dns1123_subdomain(claim.as_string()));
  }
}

void check_extended_claim(causes& out, const json::value& o, const place& at) {
  auto& status = o["status"]["extendedResourceClaimStatus"];
  if (!status.is_object()) return;
  auto containers = named(o["spec"]["initContainers"]);
  for (auto& [name, c] : named(o["spec"]["containers"])) containers.insert_or_assign(name, c);
  auto& list = status["requestMappings"];
  if (list.empty()) out.push_back(required(place(at, "requestMappings"), "at least one request mapping is required"));
  std::unordered_set<std::string> seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, "requestMappings", i);
    auto container = list[i]["containerName"].as_string(), resource = list[i]["resourceName"].as_string(),
         request = list[i]["requestName"].as_string();
    auto found = containers.find(container);
    if (found == containers.end())
      out.push_back(
          invalid_value(place(here, "containerName"), container,
                        "must match the name of an entry in spec.initContainers.name or spec.containers.name"));
    else if (!(*found->second)["resources"]["requests"].find(resource))
      out.push_back(invalid_value(place(here, "resourceName"), resource,
                                  "must match the extended resource name of an entry in "
                                  "spec.initContainers.resources.requests or spec.containers.resources.requests"));
    add_problems(out, place(at, "requestName"), request, check_dns1123_label(request));
    if (seen.insert(fmt::format("{}\n{}\n{}", container, resource, request)).second) continue;
    out.push_back(duplicate_value(place(here, "containerName"), container));
    out.push_back(duplicate_value(place(here, "resourceName"), resource));
    out.push_back(duplicate_value(place(here, "requestName"), request));
  }
  if (need(out, status, at, "resourceClaimName"))
    add_problems(out, place(at, "resourceClaimName"), status["resourceClaimName"],
                 check_dns1123_subdomain(status["resourceClaimName"].as_string()));
}

// One of each family at most; what stood before may be of an older form.
void check_address_list(causes& out, const json::value& now, const json::value& before, const place& at) {
  name_set held;
  for (std::size_t i = 0; i < before.size(); ++i) held.insert(before[i]["ip"].as_string());
  std::size_t four = 0, six = 0;
  for (std::size_t i = 0; i < now.size(); ++i) {
    auto ip = now[i]["ip"].as_string();
    if (!held.contains(ip)) add_problems(out, place(at, i), ip, check_ip(ip));
    if (auto address = ip_address::parse_sloppy(ip)) (address->is_v4() ? four : six) += 1;
  }
  if (now.size() > 1 && (four != 1 || six != 1 || now.size() > 2)) {
    json::array shown;
    for (std::size_t i = 0; i < now.size(); ++i) shown.push_back(json::object{{"IP", now[i]["ip"]}});
    out.push_back(invalid_value(at, shown, "may specify no more than one IP for each IP family"));
  }
}

void check_addresses(causes& out, const json::value& o, const json::value& old) {
  auto &status = o["status"], &before = old["status"];
  const place pods("status.podIPs"), hosts("status.hostIPs");
  check_address_list(out, status["podIPs"], before["podIPs"], pods);
  const bool one = !status["podIP"].as_string().empty(), all = !status["podIPs"].empty();
  if (one != all) {
    json::array shown;
    for (std::size_t i = 0; i < status["podIPs"].size(); ++i)
      shown.push_back(json::object{{"IP", status["podIPs"][i]["ip"]}});
    out.push_back(invalid_value(pods, shown.empty() ? json::value() : json::value(shown),
                                "podIP and podIPs must either both be set or both be unset"));
  } else if (all && !(status["podIP"] == status["podIPs"][0]["ip"])) {
    out.push_back(invalid_value("status.podIPs[0].ip", status["podIPs"][0]["ip"], "must be equal to `podIP`"));
  }
  if (status["hostIPs"].empty()) return;
  if (status["hostIP"].as_string() != status["hostIPs"][0]["ip"].as_string())
    out.push_back(invalid_value("status.hostIPs[0].ip", status["hostIPs"][0]["ip"], "must be equal to `hostIP`"));
  check_address_list(out, status["hostIPs"], before["hostIPs"], hosts);
}

void check_users(causes& out, const json::value& list, const place& at, std::string_view os) {
  constexpr std::int64_t uid_max = UINT32_MAX;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& user = list[i]["user"]["linux"];
    if (!user.is_object()) continue;
    const place here(at, i), of_user(here, "user.linux");
    if (os == "windows") {
      out.push_back(forbidden_value(of_user, "cannot be set for a windows pod"));
      continue;
    }
    if (auto uid = user["uid"].as_integer(); uid < 0 || uid > uid_max)
      out.push_back(
          invalid_value(place(of_user, "uid"), uid, fmt::format("must be between 0 and {}, inclusive", uid_max)));
    check_id(out, user["gid"].as_integer(), place(of_user, "gid"));
    for (std::size_t j = 0; j < user["supplementalGroups"].size(); ++j)
      check_id(out, user["supplementalGroups"][j], place(of_user, "supplementalGroups", j));
  }
}

std::string claim_resource(std::string_view claim, std::string_view request) {
  return request.empty() ? fmt::format("claim:{}", claim) : fmt::format("claim:{}/{}", claim, request);
}

// What a device's health may be told of: a claim that the container has, or a resource that it asks for.
class health_subjects {
 public:
  health_subjects(const json::value& container, const json::value& extended)
      : requests_(container["resources"]["requests"]) {
    for (std::size_t i = 0; i < container["resources"]["claims"].size(); ++i) {
      auto& c = container["resources"]["claims"][i];
      claims_.insert(claim_resource(c["name"].as_string(), c["request"].as_string()));
    }
    for (std::size_t i = 0; i < extended["requestMappings"].size(); ++i) {
      auto& m = extended["requestMappings"][i];
      if (!(m["containerName"] == container["name"])) continue;
      auto q = schema::quantity::parse(requests_[m["resourceName"].as_string()].as_string());
      if (q && !q->is_zero())
        claims_.insert(claim_resource(extended["resourceClaimName"].as_string(), m["requestName"].as_string()));
    }
  }
  bool contain(std::string_view name) const {
    return name.starts_with("claim:") ? claims_.contains(std::string(name)) : requests_.find(name) != nullptr;
  }

 private:
  const json::value& requests_;
  std::unordered_set<std::string> claims_;
};

void check_health(causes& out, const json::value& list, const place& at) {
  constexpr std::size_t message_max = 256;
  name_set seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& r = list[i];
    const place here(at, i);
    if (auto health = r["health"].as_string(); health != "Healthy" && health != "Unhealthy" && health != "Unknown")
      out.push_back(not_supported(place(here, "health"), health, {"Healthy", "Unhealthy", "Unknown"}));
    if (auto& message = r["message"]; message.is_string()) {
      if (message.as_string().empty())
        out.push_back(required(place(here, "message"), "must be non-empty if specified"));
      if (message.as_string().size() > message_max) out.push_back(too_long(place(here, "message"), message_max));
    }
    if (auto id = r["resourceID"].as_string(); !seen.insert(id).second)
      out.push_back(duplicate_value(place(here, "resourceID"), id));
  }
}

void check_allocated(causes& out, const json::value& statuses, const place& at, const json::value& containers,
                     const json::value& extended) {
  auto known = named(containers);
  std::map<std::string_view, health_subjects> subjects;
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    auto& list = statuses[i]["allocatedResourcesStatus"];
    auto container = list.empty() ? known.end() : known.find(statuses[i]["name"].as_string());
    const auto of = container == known.end()
                        ? subjects.end()
                        : subjects.try_emplace(container->first, *container->second, extended).first;
    const place here(at, i);
    for (std::size_t j = 0; j < list.size(); ++j) {
      const place of_resource(here, "allocatedResourcesStatus", j);
      auto name = list[j]["name"].as_string();
      if (of != subjects.end() && !of->second.contain(name))
        out.push_back(invalid_value(
            place(of_resource, "name"), name,
            name.starts_with("claim:")
                ? "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when "
                  "container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty"
                : "must match one of the container's resource requests"));
      check_health(out, list[j]["resources"], place(of_resource, "resources"));
    }
  }
}

}  // namespace

void prepare_pod_status(json::value& o, const json::value& old) {
  auto& status = o.member("status");
  auto& before = old["status"];
  if (status["qosClass"].as_string().empty() && before["qosClass"].is_string())
    status.set("qosClass", before["qosClass"]);
  for (auto name : {"resourceClaimStatuses", "extendedResourceClaimStatus"})
    if (status[name].is_null() && !before[name].is_null()) status.set(name, before[name]);
  keep_observed_generations(status, before);
  if (old["metadata"]["ownerReferences"].is_null())
    o.member("metadata").erase("ownerReferences");
  else
    o.member("metadata").set("ownerReferences", old["metadata"]["ownerReferences"]);
}

void check_pod_status(causes& out, const json::value& o, const json::value& old) {
  auto &status = o["status"], &before = old["status"], &spec = old["spec"];
  const place at("status");
  check_conditions(out, status["conditions"], place(at, "conditions"));
  if (auto node = status["nominatedNodeName"].as_string();
      !node.empty() && node != before["nominatedNodeName"].as_string()) {
    const place here(at, "nominatedNodeName");
    add_problems(out, here, node, check_dns1123_subdomain(node));
    if (!spec["nodeName"].as_string().empty())
      out.push_back(forbidden_value(here, "may not be set on pods that are already bound to a node"));
  }
  if (auto& generation = status["observedGeneration"]; generation.as_integer() < 0)
    out.push_back(invalid_value(place(at, "observedGeneration"), generation, "must be a non-negative integer"));
  if (status["qosClass"].as_string() != before["qosClass"].as_string())
    out.push_back(invalid_value(place(at, "qosClass"), status["qosClass"].as_string(), "field is immutable"));
  if (!any_restarts_all(spec)) {
    check_transitions(out, status["containerStatuses"], before["containerStatuses"], place(at, "containerStatuses"),
                      &spec["containers"], spec);
    check_transitions(out, status["initContainerStatuses"], before["initContainerStatuses"],
                      place(at, "initContainerStatuses"), &spec["initContainers"], spec);
  }
  check_transitions(out, status["ephemeralContainerStatuses"], before["ephemeralContainerStatuses"],
                    place(at, "ephemeralContainerStatuses"), nullptr, spec);
  check_claim_statuses(out, o, place(at, "resourceClaimStatuses"));
  check_extended_claim(out, o, place(at, "extendedResourceClaimStatus"));
  check_addresses(out, o, old);
  constexpr const char* lists[] = {"containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"};
  for (auto list : lists) check_users(out, status[list], place(at, list), o["spec"]["os"]["name"].as_string());
  auto& extended = status["extendedResourceClaimStatus"];
  check_allocated(out, status["containerStatuses"], place(at, "containerStatuses"), o["spec"]["containers"], extended);
  check_allocated(out, status["initContainerStatuses"], place(at, "initContainerStatuses"), o["spec"]["initContainers"],
                  extended);
  for (std::size_t i = 0; i < status["ephemeralContainerStatuses"].size(); ++i) {
    const place here(at, "ephemeralContainerStatuses", i);
    if (!status["ephemeralContainerStatuses"][i]["allocatedResourcesStatus"].empty())
      out.push_back(
          forbidden_value(place(here, "allocatedResourcesStatus"), "must not be specified in container status"));
  }
}

void warn_pod_status(std::vector<std::string>& out, const json::value& o) {
  for (auto list : {"podIPs", "hostIPs"})
    for (std::size_t i = 0; i < o["status"][list].size(); ++i) {
      const place at("status"), here(at, list, i);
      warn_ip(out, o["status"][list][i]["ip"].as_string(), place(here, "ip"));
    }
}

}  // namespace kedge::api
