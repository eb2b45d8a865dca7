#include "api/admission/webhook/match.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "api/custom/definition.h"

namespace kedge::api::webhook {
namespace {

bool lists(const std::vector<std::string>& items, std::string_view text) {
  return std::ranges::any_of(items, [&](auto& one) { return one == "*" || one == text; });
}

bool is_namespaces(const served& s) { return s.group.empty() && s.resource == "namespaces"; }

bool in_scope(rule::scope where, const served& as, std::string_view ns) {
  if (where == rule::scope::any) return true;
  const bool cluster = is_namespaces(as) || ns.empty();
  return (where == rule::scope::cluster) == cluster;
}

bool matches(const rule& r, const subject& s, const served& as) {
  if (!((r.operations >> static_cast<unsigned>(s.what)) & 1) || !in_scope(r.where, as, s.ns)) return false;
  if (!lists(r.groups, as.group) || !lists(r.versions, as.version)) return false;
  return std::ranges::any_of(r.resources, [&](auto& one) {
    return (one.first == "*" || one.first == as.resource) && (one.second == "*" || one.second == s.subresource);
  });
}

// Of the built-in resources those whose objects lie in one place.
std::unordered_map<const served*, std::vector<const served*>> builtin_equivalents() {
  std::unordered_map<const served*, std::vector<const served*>> out;
  auto& all = builtin_registry().all();
  for (auto a : all)
    for (auto b : all)
      if (a != b && !a->is_virtual && a->key_prefix == b->key_prefix) out[a].push_back(b);
  return out;
}

const std::vector<const served*>& equivalents(const served& s) {
  if (s.custom) return s.custom->owner->versions();
  static const auto known = builtin_equivalents();
  static const std::vector<const served*> none;
  auto found = known.find(&s);
  return found == known.end() ? none : found->second;
}

bool has_subresource(const served& s, std::string_view name) { return name.empty() || s.subresource(name); }

}  // namespace

subject subject_of(const admission_request& r) {
  subject out{.what = r.what,
              .asked = r.asked,
              .subresource = r.who.subresource,
              .ns = std::string(r.who.ns),
              .name = std::string(r.who.name)};
  if (r.who.verb == "deletecollection") out.name.clear();
  if (out.name.empty() && r.what == operation::create && r.object) out.name = name_in(*r.object);
  if (is_namespaces(*r.asked) && out.ns.empty()) out.ns = out.name;
  return out;
}

std::string object_kind::api_version() const {
  return group.empty() ? std::string(version) : fmt::format("{}/{}", group, version);
}

object_kind kind_of(const served& as, std::string_view subresource) {
  if (!subresource.empty())
    if (auto sub = as.subresource(subresource)) return {sub->group, sub->version, sub->kind};
  return {as.group, as.version, as.kind};
}

bool is_own_kind(const served& as, std::string_view subresource) {
  auto kind = kind_of(as, subresource);
  return kind.kind == as.kind && kind.group == as.group;
}

const served* match_rules(const hook& h, const subject& s) {
  for (auto& r : h.rules)
    if (matches(r, s, *s.asked)) return s.asked;
  if (h.exact) return nullptr;
  auto& others = equivalents(*s.asked);
  for (auto& r : h.rules)
    for (auto one : others)
      if (one != s.asked && has_subresource(*one, s.subresource) && matches(r, s, *one)) return one;
  return nullptr;
}

bool is_exempt(const served& s) {
  if (s.group == "admissionregistration.k8s.io") return true;
  if (s.group == "authorization.k8s.io") return true;
  return s.group == "authentication.k8s.io" && (s.resource == "tokenreviews" || s.resource == "selfsubjectreviews");
}

}  // namespace kedge::api::webhook
