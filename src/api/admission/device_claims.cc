// device_claims.cc: who may say which devices a claim has, who uses it, and how its devices are: a part of
// kube-apiserver's own storage of ResourceClaims (KEP-5920), not a plugin of its.
//
//   allocation, reservedFor ─▶ the request's verb on resourceclaims/binding, everywhere: schedulers, the claims'
//   controller devices of a driver ─▶ associated-node:<verb> on resourceclaims/driver for its pods on the node of the
//   allocation, arbitrary-node:<verb> for any other
#include <fmt/format.h>

#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "api/admission/plugin.h"
#include "api/authorization/authorization.h"
#include "api/registry/stored.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

std::optional<status> denied(const admission_request& r, plugin_context& c, std::string verb, std::string subresource,
                             std::string ns, std::string name) {
  attributes a = r.who;
  a.verb = std::move(verb);
  a.subresource = std::move(subresource);
  a.ns = std::move(ns);
  a.name = std::move(name);
  auto answer = c.authz.authorize(a, c.cluster);
  if (answer.what == decision::kind::allow) return std::nullopt;
  return forbidden_status(a, answer.reason);
}

// The one node that the devices are reached from; empty: there are several.
std::string_view node_of(const json::value& allocation) {
  auto& terms = allocation["nodeSelector"]["nodeSelectorTerms"];
  auto& fields = terms[0]["matchFields"];
  if (terms.size() != 1 || !terms[0]["matchExpressions"].empty() || fields.size() != 1) return {};
  auto& f = fields[0];
  const bool is_name = f["key"].as_string() == "metadata.name" && f["operator"].as_string() == "In";
  return is_name && f["values"].size() == 1 ? f["values"][0].as_string() : std::string_view();
}

// Whether the request comes from a pod of that node.
bool is_on(const user_info& user, std::string_view node) {
  if (node.empty() || !user.name.starts_with("system:serviceaccount:")) return false;
  auto told = user.extra.find("authentication.kubernetes.io/node-name");
  return told != user.extra.end() && told->second.size() == 1 && told->second.front() == node;
}

// The drivers of whose devices something is said now that wasn't before, or no more.
std::set<std::string> changed_drivers(const json::value& now, const json::value& before) {
  using id = std::tuple<std::string_view, std::string_view, std::string_view, std::string_view>;
  auto by_id = [](const json::value& list) {
    std::map<id, const json::value*> out;
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto& d = list[i];
      out[{d["driver"].as_string(), d["pool"].as_string(), d["device"].as_string(), d["shareID"].as_string()}] = &d;
    }
    return out;
  };
  std::set<std::string> out;
  auto old = by_id(before);
  for (auto& [key, d] : by_id(now)) {
    auto was = old.find(key);
    if (was == old.end() || !(*was->second == *d)) out.emplace(std::get<0>(key));
    if (was != old.end()) old.erase(was);
  }
  for (auto& [key, d] : old) out.emplace(std::get<0>(key));
  return out;
}

// The place of the first device that is in use by others too.
std::string for_administrators(const json::value& allocation) {
  auto& results = allocation["devices"]["results"];
  for (std::size_t i = 0; i < results.size(); ++i)
    if (results[i]["adminAccess"].as_bool()) return fmt::format("status.allocation.devices.results[{}].adminAccess", i);
  return {};
}

void check_administrators(std::vector<cause>& out, const admission_request& r, plugin_context& c) {
  constexpr std::string_view label = "resource.kubernetes.io/admin-access";
  auto at = for_administrators((*r.object)["status"]["allocation"]);
  if (at.empty() || !for_administrators((*r.old)["status"]["allocation"]).empty()) return;
  auto found = c.cluster.find("/registry/namespaces/" + r.who.ns);
  auto home = found ? value_of(*found) : api_result<json::value>(fail(not_found("", "namespaces", r.who.ns)));
  if (!home || (*home)["metadata"]["labels"][label].as_string() != "true")
    out.push_back(forbidden_value(
        at, fmt::format("admin access to devices requires the `{}: true` label on the containing namespace", label)));
}

void check_binding(std::vector<cause>& out, const admission_request& r, plugin_context& c) {
  auto &now = (*r.object)["status"], &before = (*r.old)["status"];
  if (now["allocation"] == before["allocation"] && now["reservedFor"] == before["reservedFor"]) return;
  if (auto why = denied(r, c, r.who.verb, "binding", {}, {}))
    out.push_back(forbidden_value("status.allocation",
                                  fmt::format("changing status.allocation or status.reservedFor requires "
                                              "resource=\"resourceclaims/binding\", verb=\"{}\" permission: {}",
                                              r.who.verb, why->message)));
}

void check_drivers(std::vector<cause>& out, const admission_request& r, plugin_context& c) {
  auto& now = (*r.object)["status"];
  if (!now["allocation"].is_object()) return;  // nothing is said of devices any more
  std::vector<std::string> verbs{"arbitrary-node:" + r.who.verb};
  if (is_on(*r.who.user, node_of(now["allocation"]))) verbs.insert(verbs.begin(), "associated-node:" + r.who.verb);
  for (auto& driver : changed_drivers(now["devices"], (*r.old)["status"]["devices"])) {
    std::optional<status> first;
    bool may = false;
    for (auto& verb : verbs) {
      auto why = denied(r, c, verb, "driver", r.who.ns, driver);
      may |= !why;
      if (!first) first = std::move(why);
      if (may) break;
    }
    if (!may)
      out.push_back(forbidden_value(
          "status.devices",
          fmt::format(
              "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {}",
              join(verbs, " "), first->message)));
  }
}

api_result<void> check(admission_request& r, plugin_context& c) {
  if (!concerns(r, "resource.k8s.io", "resourceclaims", "status") || !r.object || !r.old) return {};
  std::vector<cause> wrong;
  check_administrators(wrong, r, c);
  check_binding(wrong, r, c);
  check_drivers(wrong, r, c);
  if (wrong.empty()) return {};
  return fail(invalid("resource.k8s.io", r.kind, object_name(r), std::move(wrong)));
}

}  // namespace

const plugin plugins::device_claim_status{.name = "DeviceClaimStatus", .operations = on_update, .validate = check};

}  // namespace kedge::api
