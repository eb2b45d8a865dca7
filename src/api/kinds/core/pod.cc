// pod.cc: Pod and PodTemplate.
#include <fmt/format.h>

#include "api/kind_rules.h"
#include "api/kinds/core/pod_spec.h"

namespace kedge::api {
namespace {

// The first of the addresses has a field of its own too, which older kubelets write alone.
void pair_addresses(json::value& o) {
  auto &one = o["status"]["podIP"], &all = o["status"]["podIPs"];
  if (!one.as_string().empty() && one.as_string() != all[0]["ip"].as_string())
    o.member("status").set("podIPs", json::array{json::object{{"ip", one}}});
  else if (one.as_string().empty() && !all.empty())
    o.member("status").set("podIP", all[0]["ip"]);
}

void prepare_create(json::value& o, const kind_context&) {
  o.set("status", json::object{{"phase", "Pending"}, {"qosClass", quality_of_service(o["spec"])}});
  if (!o["spec"]["schedulingGates"].empty())
    o.member("status").set("conditions", json::array{json::object{{"type", "PodScheduled"},
                                                                  {"status", "False"},
                                                                  {"reason", "SchedulingGated"},
                                                                  {"message", "Scheduling is blocked due to non-empty scheduling gates"}}});
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource != "status") return;
  auto& status = o.member("status");
  if (o["status"]["qosClass"].as_string().empty()) status.set("qosClass", old["status"]["qosClass"]);
  o.member("metadata").set("ownerReferences", old["metadata"]["ownerReferences"]);
}

void validate(causes& out, const json::value& o) {
  check_pod_spec(out, o["spec"], "spec");
  if (o["spec"]["restartPolicy"].is_null()) return;
  // A mirror pod is the node's own: it names its node.
  if (!o["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() && o["spec"]["nodeName"].as_string().empty())
    out.push_back(required("spec.nodeName", "must set spec.nodeName if mirror pod annotation is set"));
}

// The old spec with what an update may change taken from the new one.
json::value with_allowed_changes(const json::value& now, const json::value& before, causes& out) {
  json::value allowed = before;
  for (auto list : {"containers", "initContainers"}) {
    auto mine = allowed.find(list);
    if (!mine || !mine->array()) continue;
    if (now[list].size() != mine->size()) {
      out.push_back(forbidden_value(under("spec", list), "pod updates may not add or remove containers"));
      continue;
    }
    for (std::size_t i = 0; i < mine->size(); ++i) (*mine->array())[i].set("image", now[list][i]["image"]);
  }
  auto take = [&](const char* name) {
    if (now.find(name))
      allowed.set(name, now[name]);
    else
      allowed.erase(name);
  };
  // activeDeadlineSeconds may be set or lowered.
  auto &d = now["activeDeadlineSeconds"], &was = before["activeDeadlineSeconds"];
  if (d.is_integer() && (!was.is_integer() || d.as_integer() <= was.as_integer())) take("activeDeadlineSeconds");
  // Tolerations may only be added.
  bool kept = now["tolerations"].size() >= before["tolerations"].size();
  for (std::size_t i = 0; kept && i < before["tolerations"].size(); ++i) {
    bool found = false;
    for (std::size_t j = 0; j < now["tolerations"].size(); ++j) found = found || now["tolerations"][j] == before["tolerations"][i];
    kept = found;
  }
  if (kept) take("tolerations");
  if (before["terminationGracePeriodSeconds"].as_integer() < 0 && now["terminationGracePeriodSeconds"].as_integer() == 1) take("terminationGracePeriodSeconds");
  if (!before["schedulingGates"].empty()) {
    bool removed = true;
    for (std::size_t i = 0; i < now["schedulingGates"].size(); ++i) {
      bool known = false;
      for (std::size_t j = 0; j < before["schedulingGates"].size(); ++j) known = known || before["schedulingGates"][j] == now["schedulingGates"][i];
      removed = removed && known;
    }
    if (removed) take("schedulingGates");
    take("nodeSelector");
    take("affinity");
  }
  return allowed;
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  const auto before = out.size();
  auto allowed = with_allowed_changes(o["spec"], old["spec"], out);
  if (out.size() != before || allowed == o["spec"]) return;
  std::string changed;
  for (auto& m : *o["spec"].object())
    if (!(m.value == allowed[m.name])) changed += (changed.empty() ? "" : ", ") + m.name;
  out.push_back(forbidden_value("spec", fmt::format("pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
                                                    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
                                                    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\nchanged: {}",
                                                    changed)));
}

void validate_part(causes& out, const json::value& o, const json::value& old) {
  if (!(o["spec"]["ephemeralContainers"] == old["spec"]["ephemeralContainers"])) {
    auto &now = o["spec"]["ephemeralContainers"], &was = old["spec"]["ephemeralContainers"];
    for (std::size_t i = 0; i < was.size(); ++i) {
      bool kept = false;
      for (std::size_t j = 0; j < now.size(); ++j) kept = kept || now[j] == was[i];
      if (!kept)
        out.push_back(forbidden_value("spec.ephemeralContainers", fmt::format("existing ephemeral containers {} may not be removed or changed", was[i]["name"].as_string())));
    }
    for (std::size_t j = 0; j < now.size(); ++j) {
      auto path = at("spec.ephemeralContainers", j);
      add_problems(out, path + ".name", now[j]["name"], check_dns1123_label(now[j]["name"].as_string()));
      need(out, now[j], path, "image");
      for (auto name : {"ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"})
        if (!now[j][name].is_null()) out.push_back(forbidden_value(under(path, name), "cannot be set for an Ephemeral Container"));
    }
  }
  if (!(o["spec"]["containers"] == old["spec"]["containers"])) {
    check_pod_spec(out, o["spec"], "spec");
    if (quality_of_service(o["spec"]) != quality_of_service(old["spec"]))
      out.push_back(invalid_value("spec", quality_of_service(o["spec"]), "Pod QOS Class may not change as a result of resizing"));
  }
}

void warn(std::vector<std::string>& out, const json::value& o) { warn_pod_spec(out, o["spec"], "spec"); }

void validate_template(causes& out, const json::value& o) { check_pod_template(out, o["template"], "template", nullptr); }

}  // namespace

const kind_rules kinds::pods{.group = "",
                             .resource = "pods",
                             .generation = true,
                             .answers_deleted_object = true,
                             .keeps_status_on_create = true,
                             .convert = pair_addresses,
                             .prepare_create = prepare_create,
                             .prepare_update = prepare_update,
                             .validate = validate,
                             .validate_update = validate_update,
                             .validate_status = validate_part,
                             .warn = warn};
const kind_rules kinds::pod_templates{
    .group = "", .resource = "podtemplates", .generation = true, .answers_deleted_object = true, .validate = validate_template};

}  // namespace kedge::api
