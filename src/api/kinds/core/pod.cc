// pod.cc: Pod: how one begins, what of it may change, and what its subresources may change. (Its status:
// pod_status.cc.)
#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>

#include "api/kinds/core/affinity.h"
#include "api/kinds/core/containers.h"
#include "api/kinds/core/pod_resources.h"
#include "api/kinds/core/pod_spec.h"
#include "api/kinds/core/pod_status.h"
#include "api/kinds/core/pod_warnings.h"
#include "api/kinds/core/security.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "json/write.h"
#include "meta/difference.h"
#include "meta/internal_form.h"

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

// What a term asks of labels that the pod has itself becomes part of its selector.
void merge_label_keys(json::value& term, const json::value& labels) {
  if (!term["labelSelector"].is_object()) return;
  for (auto [keys, op] : {std::pair("matchLabelKeys", "In"), std::pair("mismatchLabelKeys", "NotIn")})
    for (std::size_t i = 0; i < term[keys].size(); ++i) {
      auto key = std::string(term[keys][i].as_string());
      if (auto own = labels.find(key))
        term.member("labelSelector")
            .member("matchExpressions")
            .push_back(json::object{{"key", key}, {"operator", op}, {"values", json::array{*own}}});
    }
}

void merge_all_label_keys(json::value& o) {
  const auto labels = o["metadata"]["labels"];
  auto spec = o.find("spec");
  if (!spec || labels.empty()) return;
  if (auto affinity = spec->find("affinity"))
    for (auto kind : {"podAffinity", "podAntiAffinity"}) {
      auto a = affinity->find(kind);
      if (!a) continue;
      if (auto list = a->find("preferredDuringSchedulingIgnoredDuringExecution"); list && list->array())
        for (auto& weighted : *list->array())
          if (auto term = weighted.find("podAffinityTerm")) merge_label_keys(*term, labels);
      if (auto list = a->find("requiredDuringSchedulingIgnoredDuringExecution"); list && list->array())
        for (auto& term : *list->array()) merge_label_keys(term, labels);
    }
  if (auto list = spec->find("topologySpreadConstraints"); list && list->array())
    for (auto& constraint : *list->array()) merge_label_keys(constraint, labels);
}

// An AppArmor annotation of old becomes the field that took its place; who writes it is warned, even of what will be
// refused.
void take_apparmor_annotations(json::value& o, warnings& told) {
  if (o["metadata"]["annotations"].empty() || o["spec"]["os"]["name"].as_string() == "windows") return;
  const auto of_pod = o["spec"]["securityContext"]["appArmorProfile"];
  for (auto list : {"initContainers", "containers"}) {
    auto containers = o.member("spec").find(list);
    if (!containers || !containers->array()) continue;
    for (auto& c : *containers->array()) {
      auto key = fmt::format("{}{}", apparmor_annotation, c["name"].as_string());
      auto note = o["metadata"]["annotations"].find(key);
      if (!note || c["securityContext"]["appArmorProfile"].is_object()) continue;
      auto profile = apparmor_profile_of(note->as_string());
      causes wrong;
      if (profile.is_object()) check_apparmor_profile(wrong, profile, "");
      const bool good = profile.is_object() && wrong.empty();
      if (good && profile == of_pod) continue;
      told.push_back(fmt::format(
          "metadata.annotations[{}]: deprecated since v1.30; use the \"appArmorProfile\" field instead", key));
      if (good) c.member("securityContext").set("appArmorProfile", std::move(profile));
    }
  }
}

void prepare_create(json::value& o, const kind_context& c) {
  o.set("status", json::object{{"phase", "Pending"}});
  if (!o["spec"]["schedulingGates"].empty())
    o.member("status").set("conditions", json::array{json::object{
                                             {"type", "PodScheduled"},
                                             {"status", "False"},
                                             {"lastTransitionTime", format_rfc3339(c.now)},
                                             {"reason", "SchedulingGated"},
                                             {"message", "Scheduling is blocked due to non-empty scheduling gates"}}});
  merge_all_label_keys(o);
  take_apparmor_annotations(o, c.warnings);
  if (auto spec = o.find("spec")) default_pod_resources(*spec);
  o.member("status").set("qosClass", quality_of_service(o["spec"]));
}

void prepare_update(json::value& o, const json::value& old, const kind_context& c) {
  if (c.subresource == "status") return prepare_pod_status(o, old);
  // Who doesn't know that a pod has resources itself leaves them out.
  if (o["spec"].is_object() && o["spec"]["resources"].is_null() && old["spec"]["resources"].is_object())
    o.member("spec").set("resources", old["spec"]["resources"]);
  if (c.subresource == "resize") default_pod_resources(o.member("spec"));
}

// Of pods and not of templates.
void check_pod(causes& out, const json::value& o, const pod_options& options) {
  auto& spec = o["spec"];
  check_pod_annotations(out, o["metadata"]["annotations"], spec, "metadata.annotations", options);
  const place at("spec");
  check_pod_spec(out, spec, o["metadata"], at, options);
  if (spec["serviceAccountName"].as_string().empty())
    for (std::size_t i = 0; i < spec["volumes"].size(); ++i) {
      auto& sources = spec["volumes"][i]["projected"]["sources"];
      const place of_volume(at, "volumes", i);
      for (std::size_t j = 0; j < sources.size(); ++j) {
        const place of_source(of_volume, "projected.sources", j);
        if (sources[j]["serviceAccountToken"].is_object())
          out.push_back(forbidden_value(place(of_source, "serviceAccountToken"),
                                        "must not be specified when serviceAccountName is not set"));
      }
    }
  not_negative(out, spec, at, "terminationGracePeriodSeconds");
  for (auto list : {"containers", "initContainers"})
    for (std::size_t i = 0; i < spec[list].size(); ++i) check_image(out, spec[list][i], place(at, list, i));
}

void validate(causes& out, const json::value& o) {
  pod_options options{.is_pod = true};
  check_pod(out, o, options);
  auto &spec = o["spec"], &annotations = o["metadata"]["annotations"];
  if (!spec["ephemeralContainers"].empty())
    out.push_back(forbidden_value("spec.ephemeralContainers", "cannot be set on create"));
  if (!spec["nodeName"].as_string().empty() && !spec["schedulingGates"].empty())
    out.push_back(forbidden_value("spec.nodeName", "cannot be set until all schedulingGates have been cleared"));
  check_seccomp_agrees(out, annotations, spec, "spec");
  check_apparmor_agrees(out, annotations, spec, "spec");
}

// Annotations that stand for ever: AppArmor's, and what marks a mirror of a node's own pod.
void check_annotation_changes(causes& out, const json::value& now, const json::value& before, const json::value& spec,
                              const pod_options& options) {
  const place at("metadata.annotations");
  if (auto old = before.object())
    for (auto& m : *old) {
      if (auto same = now.find(m.name); same && *same == m.value) continue;
      if (m.name.starts_with(apparmor_annotation))
        out.push_back(forbidden_value(place::of_key(at, m.name), "may not remove or update AppArmor annotations"));
      if (m.name == mirror_annotation)
        out.push_back(forbidden_value(place::of_key(at, m.name), "may not remove or update mirror pod annotation"));
    }
  if (auto fresh = now.object())
    for (auto& m : *fresh) {
      if (before.find(m.name)) continue;
      if (m.name.starts_with(apparmor_annotation))
        out.push_back(forbidden_value(place::of_key(at, m.name), "may not add AppArmor annotations"));
      if (m.name == mirror_annotation)
        out.push_back(forbidden_value(place::of_key(at, m.name), "may not add mirror pod annotation"));
    }
  check_pod_annotations(out, now, spec, at, options);
}

// False when there is nothing more to compare.
bool check_container_updates(causes& out, const json::value& now, const json::value& before, const place& at) {
  if (now.size() != before.size()) {
    out.push_back(forbidden_value(at, "pod updates may not add or remove containers"));
    return false;
  }
  for (std::size_t i = 0; i < now.size(); ++i) {
    const place here(at, i);
    need(out, now[i], here, "image");
    check_image(out, now[i], here);
  }
  return true;
}

void check_deadline_change(causes& out, const json::value& now, const json::value& before) {
  const place at("spec.activeDeadlineSeconds");
  if (now.is_integer()) {
    if (now.as_integer() < 0 || now.as_integer() > INT32_MAX)
      out.push_back(invalid_value(at, now, "must be between 0 and 2147483647, inclusive"));
    if (before.is_integer() && before.as_integer() < now.as_integer())
      out.push_back(invalid_value(at, now, "must be less than or equal to previous value"));
  } else if (before.is_integer()) {
    out.push_back(invalid_value(at, nullptr, "must not update from a positive integer to nil value"));
  }
}

std::string toleration_text(json::value t) {
  t.erase("tolerationSeconds");
  return json::write(t);
}

void check_toleration_changes(causes& out, const json::value& now, const json::value& before,
                              const pod_options& options) {
  std::unordered_set<std::string> kept;
  for (std::size_t i = 0; i < now.size(); ++i) kept.insert(toleration_text(now[i]));
  bool lost = false;
  for (std::size_t i = 0; i < before.size() && !lost; ++i) lost = !kept.contains(toleration_text(before[i]));
  // With one gone, the real server says no more.
  if (lost)
    return out.push_back(
        forbidden_value("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"));
  check_tolerations(out, now, "spec.tolerations", options);
}

void check_gate_changes(causes& out, const json::value& now, const json::value& before) {
  name_set held;
  for (std::size_t i = 0; i < before.size(); ++i) held.insert(before[i]["name"].as_string());
  const place at("spec.schedulingGates");
  for (std::size_t i = 0; i < now.size(); ++i) {
    auto name = now[i]["name"].as_string();
    const place here(at, i);
    if (!held.contains(name))
      out.push_back(forbidden_value(place(here, "name"),
                                    fmt::format("only deletion is allowed, but found new scheduling gate '{}'", name)));
  }
}

bool begins_with(const json::value& now, const json::value& before) {
  if (now.size() < before.size()) return false;
  for (std::size_t i = 0; i < before.size(); ++i)
    if (!(now[i] == before[i])) return false;
  return true;
}

bool only_adds(const json::value& now, const json::value& before) {
  if (before["matchExpressions"].empty() && before["matchFields"].empty())
    return now["matchExpressions"].empty() && now["matchFields"].empty();
  return begins_with(now["matchExpressions"], before["matchExpressions"]) &&
         begins_with(now["matchFields"], before["matchFields"]);
}

constexpr std::string_view term_type = "core/v1.NodeSelectorTerm";

json::value terms_form(const json::value& terms) {
  json::array out;
  for (std::size_t i = 0; i < terms.size(); ++i) out.push_back(internal_form(term_type, terms[i]));
  return out;
}

// A pod behind gates may be told to go to fewer nodes.
void check_gated_changes(causes& out, json::value& rest, const json::value& before) {
  auto &now = rest["nodeSelector"], &was = before["nodeSelector"];
  if (auto old = was.object())
    for (auto& m : *old)
      if (auto v = now.find(m.name); !v || !(*v == m.value))
        out.push_back(invalid_value("spec.nodeSelector", now,
                                    "only additions to spec.nodeSelector are allowed (no mutations or deletions)"));
  constexpr auto must = "requiredDuringSchedulingIgnoredDuringExecution";
  auto &terms = rest["affinity"]["nodeAffinity"][must]["nodeSelectorTerms"],
       &old_terms = before["affinity"]["nodeAffinity"][must]["nodeSelectorTerms"];
  const place at("spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
  if (!old_terms.empty() && old_terms.size() != terms.size())
    out.push_back(
        invalid_value(at, terms_form(terms), "no additions/deletions to non-empty NodeSelectorTerms list are allowed"));
  else
    for (std::size_t i = 0; i < old_terms.size(); ++i)
      if (!only_adds(terms[i], old_terms[i]))
        out.push_back(invalid_value(place(at, i), internal_form(term_type, terms[i]),
                                    "only additions are allowed (no mutations or deletions)"));
  auto take = [](json::value& into, const json::value& from, const char* name) {
    if (auto v = from.find(name))
      into.set(name, *v);
    else
      into.erase(name);
  };
  take(rest, before, "nodeSelector");
  auto affinity = rest["affinity"];
  take(affinity, before["affinity"], "nodeAffinity");
  if (affinity.empty() && !before["affinity"].is_object())
    rest.erase("affinity");
  else
    rest.set("affinity", std::move(affinity));
}

// What of the new spec is left when all that may change is as it was.
json::value without_allowed_changes(causes& out, const json::value& now, const json::value& before) {
  json::value rest = now;
  auto keep = [&](const char* name) {
    if (auto v = before.find(name))
      rest.set(name, *v);
    else
      rest.erase(name);
  };
  for (auto list : {"containers", "initContainers"})
    if (auto mine = rest.find(list); mine && mine->array())
      for (std::size_t i = 0; i < mine->size(); ++i) (*mine->array())[i].set("image", before[list][i]["image"]);
  for (auto name : {"activeDeadlineSeconds", "schedulingGates", "tolerations"}) keep(name);
  if (before["terminationGracePeriodSeconds"].as_integer() < 0 &&
      now["terminationGracePeriodSeconds"].as_integer() == 1)
    keep("terminationGracePeriodSeconds");
  if (!before["schedulingGates"].empty()) check_gated_changes(out, rest, before);
  return rest;
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto options = options_by(old["spec"], old["metadata"]["annotations"]);
  options.is_pod = true;
  auto &now = o["spec"], &before = old["spec"];
  check_pod(out, o, options);
  check_annotation_changes(out, o["metadata"]["annotations"], old["metadata"]["annotations"], now, options);
  for (auto list : {"containers", "initContainers"})
    if (!check_container_updates(out, now[list], before[list], place(std::string("spec.") + list))) return;
  check_deadline_change(out, now["activeDeadlineSeconds"], before["activeDeadlineSeconds"]);
  check_toleration_changes(out, now["tolerations"], before["tolerations"], options);
  check_gate_changes(out, now["schedulingGates"], before["schedulingGates"]);
  if (now == before) return;
  auto rest = without_allowed_changes(out, now, before);
  if (rest == before) return;
  out.push_back(forbidden_value(
      "spec",
      "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
      "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
      "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n" +
          difference_text(internal_form("core/v1.PodSpec", before), internal_form("core/v1.PodSpec", rest))));
}

constexpr std::string_view ephemeral_type = "core/v1.EphemeralContainer";

void validate_ephemeral(causes& out, const json::value& o, const json::value& old, const pod_options& options) {
  check_pod(out, o, options);
  check_annotation_changes(out, o["metadata"]["annotations"], old["metadata"]["annotations"], o["spec"], options);
  if (old["metadata"]["annotations"].find(mirror_annotation)) {
    out.clear();
    return out.push_back(forbidden_value("[]", "static pods do not support ephemeral containers"));
  }
  std::unordered_map<std::string_view, const json::value*> now;
  for (std::size_t i = 0; i < o["spec"]["ephemeralContainers"].size(); ++i) {
    auto& c = o["spec"]["ephemeralContainers"][i];
    now.insert_or_assign(c["name"].as_string(), &c);
  }
  for (std::size_t i = 0; i < old["spec"]["ephemeralContainers"].size(); ++i) {
    auto& was = old["spec"]["ephemeralContainers"][i];
    auto kept = now.find(was["name"].as_string());
    if (kept == now.end())
      out.push_back(forbidden_value(
          "spec.ephemeralContainers",
          fmt::format("existing ephemeral containers {} may not be removed\n", quote(was["name"].as_string()))));
    else if (!(*kept->second == was))
      out.push_back(forbidden_value(
          "spec.ephemeralContainers",
          fmt::format(
              "existing ephemeral containers {} may not be changed\n{}", quote(was["name"].as_string()),
              difference_text(internal_form(ephemeral_type, was), internal_form(ephemeral_type, *kept->second)))));
  }
}

bool lost_one(const json::value& now, const json::value& before) {
  if (before.size() > now.size()) return true;
  if (auto old = before.object())
    for (auto& m : *old)
      if (!now.find(m.name)) return true;
  return false;
}

void check_kept(causes& out, const json::value& now, const json::value& before, const place& at,
                std::string_view what) {
  if (lost_one(now["requests"], before["requests"]))
    out.push_back(forbidden_value(place(at, "requests"), fmt::format("{}resource requests cannot be removed", what)));
  if (lost_one(now["limits"], before["limits"]))
    out.push_back(forbidden_value(place(at, "limits"), fmt::format("{}resource limits cannot be removed", what)));
}

// Amounts of cpu and memory as before: what else differs may not change.
json::value with_amounts_of(json::value resources, const json::value& before) {
  for (auto list : {"limits", "requests"}) {
    for (auto name : {"cpu", "memory"}) {
      if (auto v = before[list].find(name))
        resources.member(list).set(name, *v);
      else if (auto l = resources.find(list))
        l->erase(name);
    }
    if (auto l = resources.find(list); l && l->empty() && before[list].empty()) resources.erase(list);
  }
  return resources;
}

bool same_but_for_amounts(json::value c, const json::value& before) {
  c.set("resources", with_amounts_of(c["resources"], before["resources"]));
  return c == before;
}

bool keeps_order(causes& out, const json::value& now, const json::value& before, const char* list) {
  const auto before_size = out.size();
  const place at("spec");
  if (now[list].size() != before[list].size()) {
    out.push_back(forbidden_value(place(at, list), fmt::format("{} may not be added or removed on resize", list)));
  } else {
    for (std::size_t i = 0; i < before[list].size(); ++i) {
      const place here(at, list, i);
      if (!(now[list][i]["name"] == before[list][i]["name"]))
        out.push_back(
            forbidden_value(place(here, "name"), fmt::format("{} may not be renamed or reordered on resize", list)));
    }
  }
  return out.size() == before_size;
}

// A node that can't resize says nothing of what a container that runs has.
bool node_resizes(const json::value& pod) {
  auto& list = pod["status"]["containerStatuses"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["state"]["running"].is_object()) return list[i]["resources"].is_object();
  return true;
}

void check_resized_containers(causes& out, const json::value& now, const json::value& before) {
  const place at("spec");
  for (auto list : {"initContainers", "containers"})
    for (std::size_t i = 0; i < before[list].size(); ++i) {
      const place here(at, list, i);
      check_kept(out, now[list][i]["resources"], before[list][i]["resources"], place(here, "resources"), "");
    }
  for (std::size_t i = 0; i < before["containers"].size(); ++i)
    if (!same_but_for_amounts(now["containers"][i], before["containers"][i]))
      out.push_back(forbidden_value(at, "only cpu and memory resources are mutable"));
  for (std::size_t i = 0; i < before["initContainers"].size(); ++i) {
    auto &c = now["initContainers"][i], &was = before["initContainers"][i];
    const place here(at, "initContainers", i);
    if (!same_but_for_amounts(c, was))
      out.push_back(forbidden_value(here, "only cpu and memory resources for init or sidecar containers are mutable"));
    if (c == was || is_sidecar(c)) continue;
    for (std::size_t j = 0; j < c["resizePolicy"].size(); ++j)
      if (c["resizePolicy"][j]["restartPolicy"].as_string() == "RestartContainer")
        out.push_back(forbidden_value(
            here, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"));
  }
}

void validate_resize(causes& out, const json::value& o, const json::value& old, const pod_options& options) {
  check_pod(out, o, options);
  auto only = [&](std::string_view why) {
    out.clear();
    out.push_back(forbidden_value("[]", why));
  };
  if (old["metadata"]["annotations"].find(mirror_annotation)) return only("static pods cannot be resized");
  if (old["spec"]["os"]["name"].as_string() == "windows") return only("windows pods cannot be resized");
  auto &now = o["spec"], &before = old["spec"];
  auto held = old["status"]["qosClass"].as_string();
  if (quality_of_service(now) != (held.empty() ? quality_of_service(before) : held))
    out.push_back(
        invalid_value("spec", o["status"]["qosClass"], "Pod QOS Class may not change as a result of resizing"));
  if (!node_resizes(old)) out.push_back(forbidden_value("spec", "Pod running on node without support for resize"));
  if (has_pod_resources(before) || has_pod_resources(now)) {
    if (before["resources"].is_object()) {
      if (!now["resources"].is_object())
        out.push_back(forbidden_value("spec.resources", "pod-level resources cannot be removed"));
      else
        check_kept(out, now["resources"], before["resources"], "spec.resources", "pod-level ");
    }
    auto rest = with_amounts_of(now["resources"], before["resources"]);
    if (!(rest == before["resources"]) && !(rest.empty() && before["resources"].is_null()))
      out.push_back(forbidden_value("spec", "only cpu and memory resources are mutable at pod-level"));
  }
  const bool ordered = keeps_order(out, now, before, "containers");
  if (!keeps_order(out, now, before, "initContainers") || !ordered) return;
  check_resized_containers(out, now, before);
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view subresource) {
  auto options = options_by(old["spec"], old["metadata"]["annotations"]);
  options.is_pod = true;
  if (subresource == "ephemeralcontainers") return validate_ephemeral(out, o, old, options);
  if (subresource == "resize") return validate_resize(out, o, old, options);
  check_annotation_changes(out, o["metadata"]["annotations"], old["metadata"]["annotations"], o["spec"], options);
  check_pod_status(out, o, old);
}

void warn(std::vector<std::string>& out, const json::value& o, const json::value* old) {
  if (!old) warn_pod(out, o);
}

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
                             .validate_part = validate_part,
                             .warn = warn,
                             .warn_status = warn_pod_status};

}  // namespace kedge::api
