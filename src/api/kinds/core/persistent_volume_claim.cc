// persistent_volume_claim.cc: PersistentVolumeClaim.
#include <fmt/format.h>

#include "api/kinds/core/claim_spec.h"
#include "api/kinds/core/resources.h"
#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"
#include "meta/difference.h"
#include "meta/internal_form.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

constexpr std::string_view class_annotation = "volume.beta.kubernetes.io/storage-class";

schema::quantity size_in(const json::value& list) {
  return schema::quantity::parse(list["storage"].as_string()).value_or(schema::quantity());
}

void validate(causes& out, const json::value& o) { check_claim_spec(out, o["spec"], "spec", {}); }

// A volume's data may come from what a reference names, which older clients call another way: both say the same.
void pair_sources(json::value& spec) {
  auto &source = spec["dataSource"], &reference = spec["dataSourceRef"];
  auto copy = [](const json::value& from) {
    json::object out;
    if (auto group = from.find("apiGroup")) out.set("apiGroup", *group);
    out.set("kind", from["kind"]);
    out.set("name", from["name"]);
    return out;
  };
  if (source.is_object() && reference.is_null())
    spec.set("dataSourceRef", copy(source));
  else if (reference.is_object() && source.is_null() && reference["namespace"].as_string().empty())
    spec.set("dataSource", copy(reference));
}

// What a claim could be filled from before there were references to other kinds.
bool is_old_source(const json::value& source) {
  auto kind = source["kind"].as_string(), group = source["apiGroup"].as_string();
  return (kind == "PersistentVolumeClaim" && group.empty()) ||
         (kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io");
}

void prepare(json::value& o, const json::value* old) {
  if (!o["spec"].is_object()) return;
  auto& spec = o.member("spec");
  const bool had_reference = old && (*old)["spec"]["dataSourceRef"].is_object();
  // Data of another namespace is a feature that is off.
  if (!spec["dataSourceRef"]["namespace"].as_string().empty() && !had_reference) spec.erase("dataSourceRef");
  const bool had_source = had_reference || (old && (*old)["spec"]["dataSource"].is_object());
  if (!had_source && spec["dataSourceRef"].is_null() && !is_old_source(spec["dataSource"])) spec.erase("dataSource");
  pair_sources(spec);
}

void prepare_create(json::value& o, const kind_context&) {
  o.set("status", json::object{{"phase", "Pending"}});
  prepare(o, nullptr);
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource.empty()) prepare(o, &old);
}

// The class may be said by the spec that an annotation said before, or nothing did.
bool class_moves(const json::value& o, const json::value& old) {
  auto now = o["spec"].find("storageClassName");
  auto annotation = old["metadata"]["annotations"].find(class_annotation),
       kept = o["metadata"]["annotations"].find(class_annotation);
  return annotation && !old["spec"].find("storageClassName") && now && *now == *annotation &&
         (!kept || *kept == *annotation);
}

bool class_appears(const json::value& o, const json::value& old) {
  auto now = o["spec"].find("storageClassName");
  auto annotation = old["metadata"]["annotations"].find(class_annotation);
  return now && !old["spec"].find("storageClassName") && (!annotation || *now == *annotation);
}

void check_stays(causes& out, const json::value& o, const json::value& old) {
  auto spec = o["spec"], before = old["spec"];
  pair_sources(before);
  if (before["volumeName"].as_string().empty() && spec.find("volumeName")) before.set("volumeName", spec["volumeName"]);
  if (class_moves(o, old)) {
    spec.erase("storageClassName");
  } else {
    auto now = o["metadata"]["annotations"][class_annotation].as_string(),
         was = old["metadata"]["annotations"][class_annotation].as_string();
    if (now != was)
      out.push_back(
          invalid_value("metadata.annotations.volume.beta.kubernetes.io/storage-class", now, "field is immutable"));
    if (class_appears(o, old)) spec.erase("storageClassName");
  }
  if (old["status"]["phase"].as_string() == "Bound") {
    if (spec["resources"]["requests"].is_object())
      spec.member("resources").member("requests").set("storage", size_in(before["resources"]["requests"]).text());
    if (auto name = before.find("volumeAttributesClassName"))
      spec.set("volumeAttributesClassName", *name);
    else
      spec.erase("volumeAttributesClassName");
  }
  if (spec == before) return;
  constexpr std::string_view type = "core/v1.PersistentVolumeClaimSpec";
  out.push_back(
      forbidden_value("spec", fmt::format("spec is immutable after creation except resources.requests and "
                                          "volumeAttributesClassName for bound claims\n{}",
                                          difference_text(internal_form(type, before), internal_form(type, spec)))));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto &spec = o["spec"], &before = old["spec"];
  claim_options options;
  options.any_label_values = has_bad_values(before["selector"]);
  options.any_api_group = before["dataSource"].find("apiGroup") || before["dataSourceRef"].find("apiGroup");
  check_claim_spec(out, spec, "spec", options);
  check_stays(out, o, old);
  const auto size = size_in(spec["resources"]["requests"]), size_before = size_in(before["resources"]["requests"]),
             size_now = size_in(old["status"]["capacity"]);
  if (size < size_before && !(size_now < size))
    out.push_back(forbidden_value("spec.resources.requests.storage", "field can not be less than status.capacity"));
  immutable(out, spec["volumeMode"], before["volumeMode"], "volumeMode");
  auto &name = spec["volumeAttributesClassName"], &name_before = before["volumeAttributesClassName"];
  if (name == name_before || !old["status"].find("currentVolumeAttributesClassName") || !name.as_string().empty())
    return;
  out.push_back(
      forbidden_value("spec.volumeAttributesClassName",
                      fmt::format("update to {} is forbidden when status.currentVolumeAttributesClassName is not nil",
                                  name.is_null() ? "nil" : "empty string")));
}

// False when it names nothing that a claim has an amount of.
bool check_key(causes& out, std::string_view key, const place& at) {
  auto wrong = check_qualified_name(key);
  add_problems(out, at, key, wrong);
  if (!wrong.empty()) return false;
  if (!is_native_resource(key) || key == "storage") return true;
  out.push_back(not_supported(at, key, {"storage"}));
  return false;
}

// False when it isn't an amount.
bool check_size(causes& out, const json::value& size, const place& at) {
  auto q = schema::quantity::parse(size.as_string()).value_or(schema::quantity());
  if (q.value() >= 0) return true;
  out.push_back(invalid_value(at, q.value(), "must be a valid resource quantity"));
  return false;
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  auto& status = o["status"];
  if (o["spec"]["accessModes"].empty()) out.push_back(required("Spec.accessModes"));
  const place of_capacity("status.capacity"), of_resizes("status.allocatedResourceStatuses"),
      of_allocated("status.allocatedResources");
  if (auto list = status["capacity"].object())
    for (auto& m : *list) check_size(out, m.value, place::of_key(of_capacity, m.name));
  if (auto list = status["allocatedResourceStatuses"].object())
    for (auto& m : *list) {
      check_key(out, m.name, of_resizes);
      const std::vector<std::string> states{"ControllerResizeInProgress", "ControllerResizeInfeasible",
                                            "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"};
      if (std::find(states.begin(), states.end(), m.value.as_string()) == states.end())
        out.push_back(not_supported(of_resizes, m.name, states));
    }
  if (auto list = status["allocatedResources"].object())
    for (auto& m : *list) {
      const auto here = place::of_key(of_allocated, m.name);
      if (check_key(out, m.name, of_allocated) && check_size(out, m.value, here))
        check_amount(out, "storage", m.value, here);
    }
}

void warn(warnings& out, const json::value& o, const json::value*) {
  if (o["metadata"]["annotations"].find(class_annotation))
    out.push_back(
        fmt::format("metadata.annotations[{}]: deprecated since v1.8; use \"storageClassName\" attribute instead",
                    class_annotation));
  warn_claim_spec(out, o["spec"], "spec");
}

}  // namespace

const kind_rules kinds::persistent_volume_claims{.group = "",
                                                 .resource = "persistentvolumeclaims",
                                                 .answers_deleted_object = true,
                                                 .keeps_status_on_create = true,
                                                 .prepare_create = prepare_create,
                                                 .prepare_update = prepare_update,
                                                 .validate = validate,
                                                 .validate_update = validate_update,
                                                 .validate_part = validate_part,
                                                 .warn = warn};

}  // namespace kedge::api
