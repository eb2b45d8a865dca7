#include "api/fairness/match.h"

#include <algorithm>
#include <cstring>

#include "api/fairness/limits.h"
#include "crypto/digest.h"

namespace kedge::api::fairness {
namespace {

bool has(const std::vector<std::string>& list, std::string_view x) {
  if (list.size() == 1 && list.front() == "*") return true;
  return std::ranges::find(list, x) != list.end();
}

bool has_resource(const std::vector<std::string>& list, const attributes& a) {
  if (a.subresource.empty()) return has(list, a.resource);
  if (list.size() == 1 && list.front() == "*") return true;
  return std::ranges::any_of(list, [&](std::string_view x) {
    return x.size() == a.resource.size() + 1 + a.subresource.size() && x.starts_with(a.resource) &&
           x[a.resource.size()] == '/' && x.ends_with(a.subresource);
  });
}

// "*" is every path; "/a", "/a/*" and "/a/" are all that is below it, the first also the path itself.
bool covers(std::string_view pattern, std::string_view path) {
  if (pattern == "*" || pattern == path) return true;
  if (pattern.ends_with('*')) pattern.remove_suffix(1);
  if (pattern.ends_with('/')) return path.starts_with(pattern);
  return path.size() > pattern.size() && path.starts_with(pattern) && path[pattern.size()] == '/';
}

bool is_about(const rule& r, const user_info& who) {
  return std::ranges::any_of(r.subjects, [&](auto& s) { return matches(s, who); });
}
bool has_rule_for(const rule& r, const attributes& a) {
  if (a.is_resource) return std::ranges::any_of(r.resources, [&](auto& x) { return matches(x, a); });
  return std::ranges::any_of(r.paths, [&](auto& x) { return matches(x, a); });
}

}  // namespace

bool matches(const subject& s, const user_info& who) {
  switch (s.what) {
    case subject::kind::user: return s.name == "*" || s.name == who.name;
    case subject::kind::group: return s.name == "*" || who.in_group(s.name);
    case subject::kind::service_account: break;
  }
  constexpr std::string_view prefix = "system:serviceaccount:";
  std::string_view name = who.name;
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  if (!name.starts_with(s.ns) || name.size() <= s.ns.size() || name[s.ns.size()] != ':') return false;
  name.remove_prefix(s.ns.size() + 1);
  return s.name == "*" || name == s.name;
}

bool matches(const resource_rule& r, const attributes& a) {
  return has(r.verbs, a.verb) && has_resource(r.resources, a) && has(r.api_groups, a.api_group) &&
         (a.ns.empty() ? r.cluster_scope : has(r.namespaces, a.ns));
}

bool matches(const path_rule& r, const attributes& a) {
  return has(r.verbs, a.verb) && std::ranges::any_of(r.paths, [&](auto& p) { return covers(p, a.path); });
}

const flow_schema& match(const configuration& c, const attributes& a) {
  for (auto& s : c.schemas)
    for (auto& r : s.rules)
      if (is_about(r, *a.user) && has_rule_for(r, a)) return s;
  return c.schemas[c.catch_all];
}

const flow_schema& matcher::match(const attributes& a) {
  for (auto& [schema, r] : rules_of(a.user).rules)
    if (has_rule_for(*r, a)) return *schema;
  return configuration_.schemas[configuration_.catch_all];
}

const matcher::of_user& matcher::rules_of(const user_ref& who) {
  auto it = known_.find(&*who);
  if (it != known_.end()) return it->second;
  if (known_.size() >= remembered_users) known_.clear();
  of_user u{.who = who, .rules = {}};
  for (auto& s : configuration_.schemas)
    for (auto& r : s.rules)
      if (is_about(r, *who)) u.rules.emplace_back(&s, &r);
  return known_.emplace(&*who, std::move(u)).first->second;
}

std::string_view distinguisher_of(const flow_schema& s, const attributes& a) {
  switch (s.flows) {
    case distinguisher::by_user: return a.user->name;
    case distinguisher::by_namespace: return a.ns;
    case distinguisher::none: break;
  }
  return {};
}

std::uint64_t hash_of(std::string_view schema, std::string_view distinguisher) {
  std::string text(schema);
  text += '\0';
  text += distinguisher;
  auto digest = crypto::sha256(as_bytes(text));
  std::uint64_t out = 0;
  for (int i = 7; i >= 0; --i) out = out << 8 | static_cast<unsigned char>(digest[static_cast<std::size_t>(i)]);
  return out;
}

}  // namespace kedge::api::fairness
