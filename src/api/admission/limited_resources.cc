#include "api/admission/limited_resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/admission/plugin.h"
#include "api/admission/quota_usage.h"
#include "api/registry/lookup.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

// The counted names that a quota has to have.
std::set<std::string> limited_names(const std::vector<limited_resource>& limited, const admission_request& r,
                                    const store::snapshot& cluster) {
  std::set<std::string> out;
  for (auto& one : limited) {
    if (one.group != r.who.api_group || one.resource != r.who.resource) continue;
    for (auto& [name, amount] : quota_usage(r.who.api_group, r.who.resource, *r.object, cluster))
      if (amount.sign() > 0 &&
          std::ranges::any_of(one.contains, [&](auto& part) { return name.find(part) != name.npos; }))
        out.insert(name);
  }
  return out;
}

struct covering {
  std::set<std::string, std::less<>> names, scopes;
};

// What the quotas of the namespace cover of the object.
covering covered(const admission_request& r, const store::snapshot& cluster) {
  covering out;
  auto& a = r.who;
  each_object(cluster, directory_prefix("resourcequotas", a.ns), [&](json::value& quota) {
    auto& spec = quota["spec"];
    if (auto scopes = spec["scopes"].array())
      for (auto& scope : *scopes)
        if (quota_scope_fits(scope.as_string(), "Exists", {}, a.api_group, a.resource, *r.object))
          out.scopes.emplace(scope.as_string());
    if (auto selectors = spec["scopeSelector"]["matchExpressions"].array())
      for (auto& s : *selectors)
        if (quota_scope_fits(s["scopeName"].as_string(), s["operator"].as_string(), s["values"], a.api_group,
                             a.resource, *r.object))
          out.scopes.emplace(s["scopeName"].as_string());
    if (quota_covers(quota, a.api_group, a.resource, *r.object))
      if (auto hard = quota["status"]["hard"].object())
        for (auto& limit : *hard) out.names.insert(limit.name);
    return true;
  });
  return out;
}

// As Go prints it: {PriorityClass In [a b]}.
std::string shown(const json::value& scope) {
  std::vector<std::string> values;
  if (auto list = scope["values"].array())
    for (auto& v : *list) values.emplace_back(v.as_string());
  return fmt::format("{{{} {} [{}]}}", scope["scopeName"].as_string(), scope["operator"].as_string(),
                     join(values, " "));
}

}  // namespace

api_result<void> check_limited(const std::vector<limited_resource>& limited, const admission_request& r,
                               const store::snapshot& cluster) {
  auto names = limited_names(limited, r, cluster);
  std::vector<const json::value*> scopes;
  for (auto& one : limited)
    if (auto list = one.scopes.array())
      for (auto& s : *list)
        if (quota_scope_fits(s["scopeName"].as_string(), s["operator"].as_string(), s["values"], r.who.api_group,
                             r.who.resource, *r.object))
          scopes.push_back(&s);
  if (names.empty() && scopes.empty()) return {};
  const auto there = covered(r, cluster);
  std::erase_if(names, [&](auto& name) { return there.names.contains(name); });
  if (!names.empty())
    return fail(refused(
        r, "insufficient quota to consume: " + join(std::vector<std::string>(names.begin(), names.end()), ",")));
  std::vector<std::string> uncovered;
  for (auto* s : scopes)
    if (!there.scopes.contains((*s)["scopeName"].as_string())) uncovered.push_back(shown(*s));
  if (uncovered.empty()) return {};
  status s;  // of no kind, as the real server's
  s.message = fmt::format("insufficient quota to match these scopes: [{}]", join(uncovered, " "));
  return fail(std::move(s));
}

}  // namespace kedge::api
