// stateful_set.cc: StatefulSet.
#include <unordered_set>

#include "api/kinds/core/claim_spec.h"
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/pod_warnings.h"
#include "api/kinds/core/workload.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

// Claim templates say what they are.
void convert(json::value& o) {
  if (!o["spec"]["volumeClaimTemplates"].array()) return;
  for (auto& claim : *o.member("spec").member("volumeClaimTemplates").array()) {
    claim.set("kind", "PersistentVolumeClaim");
    claim.set("apiVersion", "v1");
  }
}

// The template as its pods will be: with a volume for each claim, and names that the controller gives.
json::value template_of_pods(const json::value& spec) {
  json::value out = spec["template"];
  if (!out["spec"].is_object()) return out;
  auto& pod = out.member("spec");
  pod.erase("subdomain");
  pod.erase("hostname");
  auto& claims = spec["volumeClaimTemplates"];
  if (claims.empty()) return out;
  json::array volumes;
  std::unordered_set<std::string_view> claimed;
  for (std::size_t i = 0; i < claims.size(); ++i) {
    auto& name = claims[i]["metadata"]["name"];
    if (claimed.insert(name.as_string()).second)
      volumes.push_back(json::object{{"name", name}, {"persistentVolumeClaim", json::object{{"claimName", name}}}});
  }
  auto& own = spec["template"]["spec"]["volumes"];
  for (std::size_t i = 0; i < own.size(); ++i)
    if (!claimed.contains(own[i]["name"].as_string())) volumes.push_back(own[i]);
  pod.set("volumes", std::move(volumes));
  return out;
}

void check_template(causes& out, const json::value& spec, const place& at, const pod_options& options) {
  auto &t = spec["template"], &pod = t["spec"];
  const bool as_is = pod["subdomain"].is_null() && pod["hostname"].is_null() && spec["volumeClaimTemplates"].empty();
  if (as_is)
    check_pod_template(out, t, at, options);
  else
    check_pod_template(out, template_of_pods(spec), at, options);
}

void check_update_strategy(causes& out, const json::value& strategy, const place& at) {
  auto type = strategy["type"].as_string();
  auto& rolling = strategy["rollingUpdate"];
  const place here(at, "rollingUpdate"), unavailable(here, "maxUnavailable");
  if (type.empty()) return out.push_back(required(at));
  if (type == "OnDelete") {
    if (rolling.is_object())
      out.push_back(invalid_value(here, internal_form("apps/v1.RollingUpdateStatefulSetStrategy", rolling),
                                  "only allowed for updateStrategy 'RollingUpdate'"));
    return;
  }
  if (type != "RollingUpdate")
    return out.push_back(invalid_value(at, internal_form("apps/v1.StatefulSetUpdateStrategy", strategy),
                                       "must be 'RollingUpdate' or 'OnDelete'"));
  not_negative(out, rolling, here, "partition");
  auto& most = rolling["maxUnavailable"];
  if (most.is_null()) return;
  check_int_or_percent(out, most, unavailable);
  if (number_in(most) == 0) out.push_back(invalid_value(unavailable, most, "cannot be 0"));
  check_at_most_100_percent(out, most, unavailable);
}

struct set_options {
  bool any_service_name = false, any_claims = false, any_template = false;  // what an older object has
};

void check(causes& out, const json::value& spec, const pod_options& options, const set_options& may) {
  const place at("spec"), of_selector(at, "selector"), of_template(at, "template"), of_pod(of_template, "spec");
  if (auto policy = spec["podManagementPolicy"].as_string(); policy.empty())
    out.push_back(required(place(at, "podManagementPolicy")));
  else if (policy != "OrderedReady" && policy != "Parallel")
    out.push_back(invalid_value(place(at, "podManagementPolicy"), policy, "must be 'OrderedReady' or 'Parallel'"));
  check_update_strategy(out, spec["updateStrategy"], place(at, "updateStrategy"));
  if (auto& retention = spec["persistentVolumeClaimRetentionPolicy"]; retention.is_object()) {
    const place here(at, "persistentVolumeClaimRetentionPolicy");
    for (auto member : {"whenDeleted", "whenScaled"})
      if (auto policy = retention[member].as_string(); policy != "Retain" && policy != "Delete")
        out.push_back(not_supported(place(here, member), policy, {"Retain", "Delete"}));
  }
  for (std::size_t i = 0; i < spec["volumeClaimTemplates"].size() && !may.any_claims; ++i) {
    const place here(at, "volumeClaimTemplates", i), of_claim(here, "spec");
    check_claim_spec(out, spec["volumeClaimTemplates"][i]["spec"], of_claim, {});
  }
  not_negative(out, spec, at, "replicas");
  not_negative(out, spec, at, "minReadySeconds");
  const place of_ordinals(at, "ordinals");
  not_negative(out, spec["ordinals"], of_ordinals, "start");
  if (auto& name = spec["serviceName"]; !may.any_service_name && !name.as_string().empty())
    add_problems(out, place(at, "serviceName"), name, check_dns1123_label(name.as_string()));
  if (check_workload_selector(out, spec["selector"], of_selector, "statefulset")) {
    check_template_selected(out, spec["selector"], spec["template"], of_template);
    if (!may.any_template) check_template(out, spec, of_template, options);
    check_labels(out, spec["template"]["metadata"]["labels"], place(of_template, "labels"));
    check_annotations(out, spec["template"]["metadata"]["annotations"], place(of_template, "annotations"));
  } else {
    out.push_back(invalid_value(of_selector, spec["selector"], ""));
  }
  check_restarts_always(out, spec["template"]["spec"], of_pod, "StatefulSet");
}

void validate(causes& out, const json::value& o) { check(out, o["spec"], {}, {}); }

json::value claims_form(const json::value& claims) {
  if (claims.empty()) return nullptr;
  json::array out;
  for (std::size_t i = 0; i < claims.size(); ++i)
    out.push_back(internal_form("core/v1.PersistentVolumeClaim", claims[i]));
  return out;
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto &now = o["spec"], &before = old["spec"];
  const auto options = template_options(before["template"]);
  set_options may{.any_service_name = true, .any_claims = true};
  causes found;
  check(found, now, options, may);
  if (!found.empty()) {
    // What was wrong before is no hindrance of the template.
    causes earlier;
    check(earlier, before, options, may);
    if (!earlier.empty()) {
      may.any_template = true;
      found.clear();
      check(found, now, options, may);
    }
  }
  out.insert(out.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
  const place at("spec");
  immutable(out, now["selector"], before["selector"], place(at, "selector"));
  if (!(now["volumeClaimTemplates"] == before["volumeClaimTemplates"]))
    out.push_back(invalid_value(place(at, "volumeClaimTemplates"), claims_form(now["volumeClaimTemplates"]),
                                "field is immutable"));
  immutable(out, now["serviceName"], before["serviceName"], place(at, "serviceName"));
  immutable(out, now["podManagementPolicy"], before["podManagementPolicy"], place(at, "podManagementPolicy"));
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  const place at("status");
  auto& status = o["status"];
  check_counts(out, status, at,
               {"replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas",
                "observedGeneration", "collisionCount"});
  for (auto member : {"readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"})
    check_not_above(out, status, at, member, "replicas", "cannot be greater than status.replicas");
  check_not_above(out, status, at, "availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas");
  check_collisions(out, o, old);
}

void warn(warnings& out, const json::value& o, const json::value* old) {
  if (is_new_generation(o, old)) warn_pod_template(out, o["spec"]["template"], "spec.template");
  auto& claims = o["spec"]["volumeClaimTemplates"];
  for (std::size_t i = 0; i < claims.size(); ++i) {
    const place at("spec.volumeClaimTemplates"), here(at, i);
    warn_claim_spec(out, claims[i]["spec"], old ? place(here, "Spec") : here);
  }
  if (o["spec"]["revisionHistoryLimit"].as_integer() < 0)
    out.push_back(
        "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended");
}

}  // namespace

const kind_rules kinds::stateful_sets{.group = "apps",
                                      .resource = "statefulsets",
                                      .name = check_dns1123_label,
                                      .name_stands = true,
                                      .generation = true,
                                      .convert = convert,
                                      .validate = validate,
                                      .validate_update = validate_update,
                                      .validate_part = validate_part,
                                      .warn = warn};

}  // namespace kedge::api
