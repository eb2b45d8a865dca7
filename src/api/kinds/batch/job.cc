// job.cc: Job.
#include <fmt/format.h>

#include <map>

#include "api/kinds/batch/job_spec.h"
#include "api/kinds/batch/job_status.h"
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/workload.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"
#include "meta/selector.h"

namespace kedge::api {
namespace {

constexpr const char* uid_label = "batch.kubernetes.io/controller-uid";
constexpr const char* name_label = "batch.kubernetes.io/job-name";
constexpr const char* old_uid_label = "controller-uid";
constexpr const char* old_name_label = "job-name";

// A map as Go prints one.
json::value in_order(const json::value& map) {
  std::map<std::string_view, const json::value*> sorted;
  for (auto& m : *map.object()) sorted.emplace(m.name, &m.value);
  json::object out;
  for (auto& [name, v] : sorted) out.set(name, *v);
  return out;
}

// The selector that a Job gets from its own uid, which the pods' labels carry too.
void prepare_create(json::value& o, const kind_context& c) {
  if (o["spec"]["manualSelector"].as_bool()) return;
  // Labels and selector carry the uid, so it is chosen here instead of later with the rest of the system metadata.
  auto uid = c.random.uuid();
  o.member("metadata").set("uid", uid);
  auto& spec = o.member("spec");
  auto& labels = spec.member("template").member("metadata").member("labels");
  const bool shared = !labels.empty() && o["metadata"]["labels"] == labels;
  for (auto key : {old_name_label, name_label})
    if (!labels.find(key)) labels.set(key, o["metadata"]["name"]);
  for (auto key : {old_uid_label, uid_label})
    if (!labels.find(key)) labels.set(key, uid);
  labels = in_order(labels);
  // Labels that the Job has from its template (by default) are one map with them.
  if (shared) o.member("metadata").set("labels", spec["template"]["metadata"]["labels"]);
  auto& selected = spec.member("selector").member("matchLabels");
  if (!selected.find(uid_label)) selected.set(uid_label, uid);
}

void check_label(causes& out, const json::value& labels, std::string_view key, const json::value& wanted) {
  const place at("spec.template.metadata.labels"), here = place::of_key(at, key);
  auto found = labels.find(key);
  if (!found)
    out.push_back(required(here, fmt::format("must be '{}'", wanted.as_string())));
  else if (!(*found == wanted))
    out.push_back(invalid_value(here, labels, fmt::format("must be '{}'", wanted.as_string())));
}

void check_made_selector(causes& out, const json::value& o) {
  auto &spec = o["spec"], &uid = o["metadata"]["uid"], &name = o["metadata"]["name"],
       &labels = spec["template"]["metadata"]["labels"];
  if (spec["manualSelector"].as_bool() || !spec["selector"].is_object()) return;
  check_label(out, labels, old_uid_label, uid);
  check_label(out, labels, old_name_label, name);
  check_label(out, labels, uid_label, uid);
  check_label(out, labels, name_label, name);
  const json::value expected =
      json::object{{uid_label, uid}, {name_label, name}, {old_uid_label, uid}, {old_name_label, name}};
  if (is_good_selector(spec["selector"]) && !label_selector::from_object(spec["selector"]).matches(expected))
    out.push_back(invalid_value("spec.selector", spec["selector"], "`selector` not auto-generated"));
}

// The last pod's host name is the Job's with the last index.
void check_pod_names(causes& out, const json::value& o) {
  auto count = o["spec"]["completions"].as_integer();
  if (!is_indexed(o["spec"]) || count <= 0) return;
  auto last = fmt::format("{}-{}", o["metadata"]["name"].as_string(), count - 1);
  if (!check_dns1123_label(last).empty())
    out.push_back(invalid_value("metadata.name", o["metadata"]["name"],
                                fmt::format("will not able to create pod with invalid DNS label: {}", last)));
}

void check_spec(causes& out, const json::value& spec, const pod_options& options, bool any_label_values) {
  const place at("spec"), of_selector(at, "selector");
  check_job_spec(out, spec, at, options);
  if (!spec["selector"].is_object())
    out.push_back(required(of_selector));
  else
    check_label_selector(out, spec["selector"], of_selector, any_label_values);
  if (is_good_selector(spec["selector"]))
    check_template_selected(out, spec["selector"], spec["template"], place(at, "template"));
}

void validate(causes& out, const json::value& o) {
  check_made_selector(out, o);
  check_spec(out, o["spec"], {}, false);
  check_pod_names(out, o);
}

void check_completions(causes& out, const json::value& now, const json::value& before, const place& at) {
  if (!is_indexed(now)) return immutable(out, now["completions"], before["completions"], at);
  if (now["completions"] == before["completions"] || now["completions"].is_null() ||
      now["completions"] == now["parallelism"])
    return;
  out.push_back(invalid_value(at, now["completions"], "can only be modified in tandem with spec.parallelism"));
}

void take(json::value& into, const json::value& from, std::string_view member) {
  if (auto v = from.find(member))
    into.set(member, *v);
  else
    into.erase(member);
}

// What a Job that doesn't run may be told of where its pods shall.
void take_directives(json::value& before, const json::value& now) {
  auto& spec = before.member("spec");
  if (auto v = now["spec"]["affinity"].find("nodeAffinity"))
    spec.member("affinity").set("nodeAffinity", *v);
  else if (auto affinity = spec.find("affinity"))
    affinity->erase("nodeAffinity");
  if (spec["affinity"].empty() && !now["spec"]["affinity"].is_object()) spec.erase("affinity");
  if (spec["affinity"].is_null() && now["spec"]["affinity"].is_object()) spec.set("affinity", json::object());
  for (auto member : {"nodeSelector", "tolerations", "schedulingGates"}) take(spec, now["spec"], member);
  for (auto member : {"annotations", "labels"}) take(before.member("metadata"), now["metadata"], member);
}

void take_resources(json::value& before, const json::value& now) {
  for (auto list : {"containers", "initContainers"}) {
    auto mine = before.find(list);
    if (!mine || !mine->array() || mine->size() != now[list].size()) continue;
    for (std::size_t i = 0; i < mine->size(); ++i)
      if ((*mine)[i]["name"] == now[list][i]["name"]) take((*mine->array())[i], now[list][i], "resources");
  }
}

void check_template_update(causes& out, const json::value& o, const json::value& old) {
  auto &now = o["spec"]["template"], &was = old["spec"]["template"];
  if (now == was) return;
  const bool suspended = old["spec"]["suspend"].as_bool();
  const bool rests = suspended && (old["status"]["startTime"].is_null() || has_true_condition(old, "Suspended")) &&
                     old["status"]["active"].as_integer() == 0;
  auto before = was;
  if (rests) {
    take_directives(before, now);
    take_resources(before.member("spec"), now["spec"]);
    if (!(now["spec"] == before["spec"]))
      out.push_back(
          invalid_value("spec.template.spec", internal_form("core/v1.PodSpec", now["spec"]), "field is immutable"));
    return;
  }
  out.push_back(invalid_value("spec.template", internal_form("core/v1.PodTemplateSpec", now), "field is immutable"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto &now = o["spec"], &before = old["spec"];
  const place at("spec");
  auto options = template_options(before["template"]);
  check_spec(out, now, options, options.any_label_values_in_selectors || has_bad_values(before["selector"]));
  check_completions(out, now, before, place(at, "completions"));
  immutable(out, now["selector"], before["selector"], place(at, "selector"));
  check_template_update(out, o, old);
  immutable(out, now["completionMode"], before["completionMode"], place(at, "completionMode"));
  if (!(now["podFailurePolicy"] == before["podFailurePolicy"]))
    out.push_back(invalid_value(place(at, "podFailurePolicy"),
                                internal_form("batch/v1.PodFailurePolicy", now["podFailurePolicy"]),
                                "field is immutable"));
  immutable(out, now["backoffLimitPerIndex"], before["backoffLimitPerIndex"], place(at, "backoffLimitPerIndex"));
  immutable(out, now["managedBy"], before["managedBy"], place(at, "managedBy"));
  if (!(now["successPolicy"] == before["successPolicy"]))
    out.push_back(invalid_value(place(at, "successPolicy"),
                                internal_form("batch/v1.SuccessPolicy", now["successPolicy"]), "field is immutable"));
  check_pod_names(out, o);
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  check_job_status(out, o, old);
}

void warn(warnings& out, const json::value& o, const json::value* old) {
  if (!old) warn_name(out, o, "Pod names and hostnames");
  if (is_new_generation(o, old)) warn_job_spec(out, o["spec"], "spec");
}

}  // namespace

const kind_rules kinds::jobs{.group = "batch",
                             .resource = "jobs",
                             .generation = true,
                             .orphan_by_default = true,
                             .prepare_create = prepare_create,
                             .validate = validate,
                             .validate_update = validate_update,
                             .validate_part = validate_part,
                             .warn = warn};

}  // namespace kedge::api
