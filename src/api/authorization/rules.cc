#include "api/authorization/rules.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "api/authorization/limits.h"
#include "api/registry/lookup.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

bool has(const std::vector<std::string>& list, std::string_view text) noexcept {
  return std::find(list.begin(), list.end(), text) != list.end();
}

bool has_or_all(const std::vector<std::string>& list, std::string_view text) noexcept {
  return std::any_of(list.begin(), list.end(), [&](const std::string& s) { return s == "*" || s == text; });
}

// `rule` is "*", "pods", "pods/log" or "*/scale".
bool resource_matches(std::string_view rule, std::string_view resource, std::string_view subresource) noexcept {
  if (rule == "*") return true;
  if (subresource.empty()) return rule == resource;
  auto slash = rule.find('/');
  if (slash == rule.npos || rule.substr(slash + 1) != subresource) return false;
  auto main = rule.substr(0, slash);
  return main == "*" || main == resource;
}

bool url_matches(std::string_view rule, std::string_view path) noexcept {
  if (rule == "*" || rule == path) return true;
  return rule.ends_with('*') && path.starts_with(rule.substr(0, rule.size() - 1));
}

// One permission: exactly one verb and either one group and resource (and at most one name) or one path.
bool covers(const policy_rule& held, const policy_rule& one) noexcept {
  if (!has_or_all(held.verbs, one.verbs.front())) return false;
  if (!one.non_resource_urls.empty())
    return std::any_of(held.non_resource_urls.begin(), held.non_resource_urls.end(),
                       [&](const std::string& url) { return url_matches(url, one.non_resource_urls.front()); });
  if (!has_or_all(held.api_groups, one.api_groups.front())) return false;
  std::string_view whole = one.resources.front();
  auto slash = whole.find('/');
  auto resource = whole.substr(0, slash);
  auto subresource = slash == whole.npos ? std::string_view{} : whole.substr(slash + 1);
  bool found = std::any_of(held.resources.begin(), held.resources.end(), [&](const std::string& r) {
    return r == whole || resource_matches(r, resource, subresource);
  });
  if (!found) return false;
  if (held.resource_names.empty()) return true;
  return !one.resource_names.empty() && has(held.resource_names, one.resource_names.front());
}

// Visits every single permission of a rule until `visit` returns false.
template <typename Visit>
bool each_permission(const policy_rule& rule, Visit visit) {
  for (auto& verb : rule.verbs) {
    for (auto& group : rule.api_groups)
      for (auto& resource : rule.resources) {
        if (rule.resource_names.empty() && !visit(policy_rule{{verb}, {group}, {resource}, {}, {}})) return false;
        for (auto& name : rule.resource_names)
          if (!visit(policy_rule{{verb}, {group}, {resource}, {name}, {}})) return false;
      }
    for (auto& url : rule.non_resource_urls)
      if (!visit(policy_rule{{verb}, {}, {}, {}, {url}})) return false;
  }
  return true;
}

json::value list_to_json(const std::vector<std::string>& list) {
  json::array out;
  for (auto& text : list) out.emplace_back(text);
  return out;
}

}  // namespace

bool policy_rule::allows(const attributes& a) const noexcept {
  if (!has_or_all(verbs, a.verb)) return false;
  if (!a.is_resource)
    return std::any_of(non_resource_urls.begin(), non_resource_urls.end(),
                       [&](const std::string& url) { return url_matches(url, a.path); });
  if (!has_or_all(api_groups, a.api_group)) return false;
  if (!std::any_of(resources.begin(), resources.end(),
                   [&](const std::string& r) { return resource_matches(r, a.resource, a.subresource); }))
    return false;
  return resource_names.empty() || has(resource_names, a.name);
}

json::value policy_rule::to_json() const {
  json::value out;
  out.set("verbs", list_to_json(verbs));
  if (!api_groups.empty()) out.set("apiGroups", list_to_json(api_groups));
  if (!resources.empty()) out.set("resources", list_to_json(resources));
  if (!resource_names.empty()) out.set("resourceNames", list_to_json(resource_names));
  if (!non_resource_urls.empty()) out.set("nonResourceURLs", list_to_json(non_resource_urls));
  return out;
}

std::string policy_rule::text() const {
  std::string out = "{";
  auto part = [&](std::string_view name, const std::vector<std::string>& list) {
    if (list.empty()) return;
    if (out.size() > 1) out += ", ";
    out += name;
    out += ':';
    out += quote_list(list);
  };
  part("APIGroups", api_groups);
  part("Resources", resources);
  part("NonResourceURLs", non_resource_urls);
  part("ResourceNames", resource_names);
  part("Verbs", verbs);
  out += '}';
  return out;
}

policy_rule rule_from_json(const json::value& rule) {
  return {string_list(rule["verbs"]), string_list(rule["apiGroups"]), string_list(rule["resources"]),
          string_list(rule["resourceNames"]), string_list(rule["nonResourceURLs"])};
}

std::vector<policy_rule> rules_from_json(const json::value& rules) {
  std::vector<policy_rule> out;
  if (auto items = rules.array())
    for (auto& rule : *items) out.push_back(rule_from_json(rule));
  return out;
}

bool any_allows(const std::vector<policy_rule>& rules, const attributes& a) noexcept {
  return std::any_of(rules.begin(), rules.end(), [&](const policy_rule& rule) { return rule.allows(a); });
}

std::vector<policy_rule> uncovered(const std::vector<policy_rule>& held, const std::vector<policy_rule>& wanted) {
  std::vector<policy_rule> missing;
  std::size_t looked_at = 0, compared = 0;
  auto looks_further = [&] { return looked_at <= permissions_checked_max && compared <= permissions_compared_max; };
  for (auto& rule : wanted) {
    bool complete = each_permission(rule, [&](policy_rule one) {
      ++looked_at;
      bool held_already = looks_further() && std::any_of(held.begin(), held.end(), [&](const policy_rule& h) {
                            return ++compared <= permissions_compared_max && covers(h, one);
                          });
      if (!held_already) missing.push_back(std::move(one));
      return looks_further() && missing.size() < permissions_missing_max;
    });
    if (!complete) break;
  }
  return missing;
}

std::vector<policy_rule> compact(std::vector<policy_rule> rules) {
  std::vector<policy_rule> out;
  std::unordered_map<std::string, std::size_t> places;  // of what can be joined: group, resource, name
  std::unordered_set<std::string> verbs_told;           // place and verb
  for (auto& rule : rules) {
    bool simple = rule.resources.size() == 1 && rule.api_groups.size() == 1 && rule.resource_names.size() <= 1 &&
                  rule.non_resource_urls.empty();
    if (simple) {
      auto what = rule.api_groups.front() + '\n' + rule.resources.front() + '\n' +
                  (rule.resource_names.empty() ? "" : '/' + rule.resource_names.front());
      auto [place, fresh] = places.try_emplace(std::move(what), out.size());
      if (!fresh) {
        auto& verbs = out[place->second].verbs;
        for (auto& verb : rule.verbs)
          if (verbs_told.insert(place->first + '\n' + verb).second) verbs.push_back(std::move(verb));
        continue;
      }
      for (auto& verb : rule.verbs) verbs_told.insert(place->first + '\n' + verb);
    }
    out.push_back(std::move(rule));
  }
  std::multimap<std::string, policy_rule> sorted;
  for (auto& rule : out) sorted.emplace(rule.text(), std::move(rule));
  out.clear();
  for (auto& [text, rule] : sorted) out.push_back(std::move(rule));
  return out;
}

std::string quote_list(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (auto& text : texts) {
    if (out.size() > 1) out += ' ';
    out += quote(text);
  }
  out += ']';
  return out;
}

}  // namespace kedge::api
