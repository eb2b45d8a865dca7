#include "api/admission/policy/match.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/custom/definition.h"
#include "api/registry/lookup.h"
#include "base/strings.h"

namespace kedge::api::policy {
namespace {

std::vector<std::string> texts(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  return out;
}

operations operations_of(const json::value& list) {
  unsigned out = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto text = list[i].as_string();
    for (auto one : {operation::create, operation::update, operation::remove, operation::connect})
      if (text == "*" || text == operation_text(one)) out |= 1U << static_cast<unsigned>(one);
  }
  return static_cast<operations>(out);
}

bool names(const std::vector<std::string>& list, std::string_view text) {
  return std::ranges::any_of(list, [&](auto& one) { return one == "*" || one == text; });
}

std::vector<resource_rule> rules_of_list(const json::value& list) {
  std::vector<resource_rule> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(resource_rule::compile(list[i]));
  return out;
}

// The other versions and groups of the same objects.
template <typename See>
void for_each_equivalent(const served& s, std::string_view subresource, const See& see) {
  auto look = [&](const served* other) {
    if (other != &s && (subresource.empty() || other->subresource(subresource))) see(*other);
  };
  if (s.custom) {
    for (auto other : s.custom->owner->versions()) look(other);
    return;
  }
  for (auto other : builtin_registry().all())
    if (other->key_prefix == s.key_prefix) look(other);
}

const served* any_matches(const std::vector<resource_rule>& rules, bool equivalent, const subject& r) {
  for (auto& rule : rules)
    if (rule.matches(r, r.asked)) return &r.asked;
  if (!equivalent) return nullptr;
  const served* found = nullptr;
  for (auto& rule : rules) {
    for_each_equivalent(r.asked, r.subresource, [&](const served& other) {
      if (!found && rule.matches(r, other)) found = &other;
    });
    if (found) return found;
  }
  return nullptr;
}

bool has_labels(const label_selector& which, const json::value* object) {
  return object && object->is_object() && which.matches((*object)["metadata"]["labels"]);
}

}  // namespace

std::string kind_name::api_version() const {
  return group.empty() ? std::string(version) : fmt::format("{}/{}", group, version);
}

kind_name kind_of(const served& s, std::string_view subresource) {
  auto sub = subresource.empty() ? nullptr : s.subresource(subresource);
  if (!sub || sub->kind == s.kind) return {s.group, s.version, s.kind};
  return {sub->group, sub->version, sub->kind};
}

subject subject_of(const admission_request& r, const served& asked, const store::snapshot& cluster) {
  subject out{.what = r.what,
              .asked = asked,
              .subresource = r.who.subresource,
              .name = std::string(r.who.name),
              .ns = std::string(r.who.ns),
              .object = r.object,
              .old = r.old,
              .cluster = cluster};
  // A generated name isn't one yet: what admission sees came without.
  if (out.name.empty() && r.object && (*r.object)["metadata"]["generateName"].as_string().empty())
    out.name = name_in(*r.object);
  if (out.is_namespace()) out.ns = out.name;
  return out;
}

resource_rule resource_rule::compile(const json::value& rule) {
  resource_rule out;
  out.what = operations_of(rule["operations"]);
  out.groups = texts(rule["apiGroups"]);
  out.versions = texts(rule["apiVersions"]);
  out.names = texts(rule["resourceNames"]);
  for (auto& text : texts(rule["resources"])) {
    auto slash = text.find('/');
    out.resources.push_back({text.substr(0, slash), slash == text.npos ? std::string() : text.substr(slash + 1)});
  }
  auto where = rule["scope"].as_string();
  out.where = where == "Cluster" ? scope::cluster : where == "Namespaced" ? scope::namespaced : scope::any;
  return out;
}

bool resource_rule::matches(const subject& r, const served& s) const {
  const bool in_cluster = r.is_namespace() || r.ns.empty();
  if (where != scope::any && in_cluster != (where == scope::cluster)) return false;
  if (!includes(what, r.what) || !policy::names(groups, s.group) || !policy::names(versions, s.version)) return false;
  const bool named = std::ranges::any_of(resources, [&](auto& one) {
    return (one.resource == "*" || one.resource == s.resource) &&
           (one.subresource == "*" || one.subresource == r.subresource);
  });
  return named && (names.empty() || std::ranges::find(names, r.name) != names.end());
}

match_resources::match_resources(const json::value& v)
    : namespaces_(label_selector::from_object(v["namespaceSelector"])),
      objects_(label_selector::from_object(v["objectSelector"])),
      rules_(rules_of_list(v["resourceRules"])),
      excluded_(rules_of_list(v["excludeResourceRules"])),
      equivalent_(v["matchPolicy"].as_string() == "Equivalent") {}

match match_resources::of(const subject& r) const {
  std::string wrong;
  const bool told = !r.ns.empty() || r.is_namespace();
  if (told && !namespaces_.everything()) {
    if (r.is_namespace() && r.subresource.empty() && (r.what == operation::create || r.what == operation::update)) {
      if (!has_labels(namespaces_, r.object)) return {};
    } else if (auto home = r.cluster.find(object_key("namespaces", {}, r.ns))) {
      if (!namespaces_.matches_text(home->labels_text())) return {};
    } else {
      wrong = fmt::format("namespaces {} not found", quote(r.ns));
    }
  }
  if (!objects_.everything() && !has_labels(objects_, r.object) && !has_labels(objects_, r.old)) return {};
  if (any_matches(excluded_, equivalent_, r)) return {};
  auto as = rules_.empty() ? &r.asked : any_matches(rules_, equivalent_, r);
  if (!as) return {};
  return {wrong.empty() ? as : nullptr, std::move(wrong)};
}

std::vector<std::string_view> match_resources::resources() const {
  std::vector<std::string_view> out;
  for (auto& rule : rules_)
    for (auto& one : rule.resources) out.push_back(one.resource);
  return out;
}

}  // namespace kedge::api::policy
