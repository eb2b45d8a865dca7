// rbac.cc: the index.
//
// Four directories of the store hold RBAC. The index keeps each object compiled beside the revision that wrote it; a
// refresh walks the keys of a new snapshot and parses only what has another revision. Most refreshes find nothing
// changed: they cost a walk over some 130 keys, at most once in rbac_staleness_max.
#include "api/authorization/rbac.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include "api/authorization/limits.h"
#include "api/authorization/node.h"
#include "api/registry/lookup.h"
#include "base/key.h"
#include "base/log.h"

namespace kedge::api {
namespace {

constexpr std::string_view rbac_group = "rbac.authorization.k8s.io";
constexpr std::string_view masters = "system:masters";

struct role {
  store::revision mod = 0;
  std::vector<policy_rule> rules;
  json::value labels;
  json::value selectors;  // aggregationRule.clusterRoleSelectors; null without
};

struct subject {
  enum class kind : unsigned char { user, group } what;
  std::string name;  // service accounts are the users that they authenticate as
};

struct binding {
  store::revision mod = 0;
  std::string name, ns;  // ns empty: ClusterRoleBinding
  std::string role_kind, role_name;
  std::vector<subject> subjects;
  std::vector<std::string> subject_texts;  // as reasons name them
};

std::string text_of(const json::value& s, const std::string& binding_ns) {
  auto kind = s["kind"].as_string();
  auto out = std::string(kind) + ' ';
  if (kind == "ServiceAccount") {
    auto ns = s["namespace"].as_string();
    return out + quote(std::string(s["name"].as_string()) + '/' +
                       std::string(ns.empty() ? std::string_view(binding_ns) : ns));
  }
  return out + quote(s["name"].as_string());
}

role compile_role(const json::value& object, store::revision mod) {
  role out;
  out.mod = mod;
  out.rules = rules_from_json(object["rules"]);
  out.labels = object["metadata"]["labels"];
  out.selectors = object["aggregationRule"]["clusterRoleSelectors"];
  return out;
}

binding compile_binding(const json::value& object, store::revision mod) {
  binding out;
  out.mod = mod;
  out.name = name_of(object);
  out.ns = namespace_of(object);
  out.role_kind = object["roleRef"]["kind"].as_string();
  out.role_name = object["roleRef"]["name"].as_string();
  auto subjects = object["subjects"].array();
  if (!subjects) return out;
  for (auto& s : *subjects) {
    auto kind = s["kind"].as_string();
    if (kind == "User") {
      out.subjects.push_back({subject::kind::user, std::string(s["name"].as_string())});
    } else if (kind == "Group") {
      out.subjects.push_back({subject::kind::group, std::string(s["name"].as_string())});
    } else if (kind == "ServiceAccount") {
      auto ns = s["namespace"].as_string();
      if (ns.empty()) ns = out.ns;
      out.subjects.push_back(
          {subject::kind::user, "system:serviceaccount:" + std::string(ns) + ':' + std::string(s["name"].as_string())});
    } else {
      continue;
    }
    out.subject_texts.push_back(text_of(s, out.ns));
  }
  return out;
}

template <typename T>
using by_key = std::map<std::string, T, std::less<>>;

// Brings `known` to what the snapshot holds under `prefix`; true when anything changed.
template <typename T, typename Compile>
bool reconcile(by_key<T>& known, const store::snapshot& cluster, const std::string& prefix, Compile compile) {
  bool changed = false;
  auto at = known.begin();
  cluster.scan(prefix, {}, [&](const store::object_ref& stored) {
    // A revision wrote one key: the same one stands for the same object, without a look at its key.
    if (at != known.end() && at->second.mod == stored->mod()) {
      ++at;
      return true;
    }
    auto key = stored->key();
    while (at != known.end() && at->first < key) {
      at = known.erase(at);
      changed = true;
    }
    if (at != known.end() && at->first == key) {
      changed = true;
      if (auto object = read_object(stored)) {
        at->second = compile(*object, stored->mod());
      } else {
        at->second = T{};
        at->second.mod = stored->mod();
      }
      ++at;
      return true;
    }
    changed = true;
    auto object = read_object(stored);
    T fresh{};
    if (object) fresh = compile(*object, stored->mod());
    fresh.mod = stored->mod();
    known.emplace_hint(at, std::string(key), std::move(fresh));
    return true;
  });
  if (at != known.end()) {
    known.erase(at, known.end());
    changed = true;
  }
  return changed;
}

}  // namespace

struct rbac_authorizer::index {
  store::revision at = 0;
  bool filled = false;
  time_point looked{};

  by_key<role> cluster_roles, roles;
  by_key<binding> cluster_bindings, bindings;

  // A binding with one of its subjects; lists are in key order of the bindings, which is what makes reasons stable.
  struct place {
    const binding* bound;
    std::size_t subject;
  };
  using places = std::unordered_map<std::string, std::vector<place>, string_hash, std::equal_to<>>;
  struct subjects {
    places users, groups;
  };
  subjects cluster_wide;
  std::unordered_map<std::string, subjects, string_hash, std::equal_to<>> in_namespace;
  // What a ClusterRole with selectors comes to; computed when first asked for.
  std::unordered_map<const role*, std::vector<policy_rule>> aggregated;

  void index_subjects() {
    cluster_wide = {};
    in_namespace.clear();
    aggregated.clear();
    auto add = [](subjects& to, const binding& b) {
      for (std::size_t i = 0; i < b.subjects.size(); ++i) {
        auto& s = b.subjects[i];
        (s.what == subject::kind::user ? to.users : to.groups)[s.name].push_back({&b, i});
      }
    };
    for (auto& [key, b] : cluster_bindings) add(cluster_wide, b);
    for (auto& [key, b] : bindings) add(in_namespace[b.ns], b);
  }

  const role* find_role(std::string_view kind, std::string_view ns, std::string_view name) const {
    bool of_cluster = kind == "ClusterRole";
    if (!of_cluster && kind != "Role") return nullptr;
    auto& known = of_cluster ? cluster_roles : roles;
    auto found = known.find(of_cluster ? object_key("clusterroles", {}, name) : object_key("roles", ns, name));
    return found == known.end() ? nullptr : &found->second;
  }

  const std::vector<policy_rule>& rules_of(const role& r) {
    if (!r.selectors.is_array()) return r.rules;
    auto found = aggregated.find(&r);
    if (found != aggregated.end()) return found->second;
    // Selected roles may aggregate too (edit selects view's parts, admin selects edit): follow them, each once.
    std::vector<policy_rule> all;
    std::set<const role*> seen;
    std::unordered_set<std::string> told;
    collect(r, all, seen, told);
    return aggregated.emplace(&r, std::move(all)).first->second;
  }

  void collect(const role& r, std::vector<policy_rule>& all, std::set<const role*>& seen,
               std::unordered_set<std::string>& told) {
    if (!seen.insert(&r).second) return;
    for (auto& rule : r.rules)
      if (told.insert(rule.text()).second) all.push_back(rule);
    auto selectors = r.selectors.array();
    if (!selectors) return;
    for (auto& [key, other] : cluster_roles)
      if (std::any_of(selectors->begin(), selectors->end(),
                      [&](const json::value& s) { return selects(s, other.labels); }))
        collect(other, all, seen, told);
  }

  // Visits the bindings of a user in one scope, until `visit` returns false.
  template <typename Visit>
  static bool each_binding(const subjects& in, const user_info& user, Visit visit) {
    auto some = [&](const places& all, std::string_view name) {
      auto found = all.find(name);
      if (found == all.end()) return true;
      return std::all_of(found->second.begin(), found->second.end(),
                         [&](const place& p) { return visit(*p.bound, p.subject); });
    };
    if (!some(in.users, user.name)) return false;
    return std::all_of(user.groups.begin(), user.groups.end(),
                       [&](const std::string& g) { return some(in.groups, g); });
  }

  template <typename Visit>
  void each_binding_of(const user_info& user, std::string_view ns, Visit visit) {
    if (!each_binding(cluster_wide, user, visit) || ns.empty()) return;
    auto found = in_namespace.find(ns);
    if (found != in_namespace.end()) each_binding(found->second, user, visit);
  }

  decision decide(const attributes& a) {
    decision out;
    auto visit = [&](const binding& b, std::size_t subject_index) {
      auto r = find_role(b.role_kind, b.ns, b.role_name);
      if (!r || !any_allows(rules_of(*r), a)) return true;
      out.what = decision::kind::allow;
      auto bound = b.ns.empty() ? "ClusterRoleBinding " + quote(b.name) : "RoleBinding " + quote(b.name + '/' + b.ns);
      out.reason = "RBAC: allowed by " + bound + " of " + b.role_kind + ' ' + quote(b.role_name) + " to " +
                   b.subject_texts[subject_index];
      return false;
    };
    // Paths are not namespaced: only cluster-wide bindings count.
    each_binding_of(a.user, a.is_resource ? std::string_view(a.ns) : std::string_view{}, visit);
    return out;
  }
};

rbac_authorizer::rbac_authorizer() : index_(std::make_unique<index>()) {}
rbac_authorizer::~rbac_authorizer() = default;

bool rbac_authorizer::refresh(const store::snapshot& cluster, bool at_once) {
  auto& x = *index_;
  if (x.filled && x.at == cluster.at()) return false;
  auto home = reactor::loop::try_current();
  auto now = home ? home->now() : monotonic_clock::now();
  if (x.filled && !at_once && now - x.looked < rbac_staleness_max) return false;
  x.at = cluster.at();
  x.looked = now;
  bool changed = !x.filled;
  x.filled = true;
  static const auto cluster_roles = directory_prefix("clusterroles"), roles = directory_prefix("roles"),
                    cluster_bindings = directory_prefix("clusterrolebindings"),
                    bindings = directory_prefix("rolebindings");
  changed |= reconcile(x.cluster_roles, cluster, cluster_roles, compile_role);
  changed |= reconcile(x.roles, cluster, roles, compile_role);
  changed |= reconcile(x.cluster_bindings, cluster, cluster_bindings, compile_binding);
  changed |= reconcile(x.bindings, cluster, bindings, compile_binding);
  if (!changed) return false;
  x.index_subjects();
  decisions_.clear();
  return true;
}

decision rbac_authorizer::authorize(const attributes& a, const store::snapshot& cluster) {
  refresh(cluster, false);
  question_.assign(a.is_resource ? "resource" : "path");
  append_part(question_, a.user->name);
  append_part(question_, std::to_string(a.user->groups.size()));
  for (auto& group : a.user->groups) append_part(question_, group);
  append_part(question_, a.verb);
  if (a.is_resource)
    for (auto part : {&a.api_group, &a.resource, &a.subresource, &a.ns, &a.name}) append_part(question_, *part);
  else
    append_part(question_, a.path);
  auto known = decisions_.find(question_);
  if (known != decisions_.end() && known->second.what == decision::kind::allow) return known->second;
  // A refusal must not come from an old view: who was just granted something may use it now.
  bool news = refresh(cluster, true);
  if (!news && known != decisions_.end()) return known->second;
  auto made = index_->decide(a);
  if (question_.size() > decision_key_max_bytes) return made;
  if (decisions_.size() >= decisions_kept_max) decisions_.clear();
  decisions_.emplace(question_, made);
  return made;
}

std::vector<policy_rule> rbac_authorizer::rules_for(const user_info& user, std::string_view ns,
                                                    const store::snapshot& cluster) {
  refresh(cluster, true);
  std::vector<policy_rule> out;
  index_->each_binding_of(user, ns, [&](const binding& b, std::size_t) {
    if (auto r = index_->find_role(b.role_kind, b.ns, b.role_name)) {
      auto& rules = index_->rules_of(*r);
      out.insert(out.end(), rules.begin(), rules.end());
    }
    return true;
  });
  return out;
}

api_result<std::vector<policy_rule>> rbac_authorizer::rules_of(std::string_view kind, std::string_view ns,
                                                               std::string_view name, const store::snapshot& cluster) {
  refresh(cluster, true);
  auto r = index_->find_role(kind, ns, name);
  if (!r) return fail(not_found(rbac_group, kind == "ClusterRole" ? "clusterroles" : "roles", name));
  return index_->rules_of(*r);
}

decision authorizer_chain::authorize(const attributes& a, const store::snapshot& cluster) {
  if (a.user->in_group(masters)) return {decision::kind::allow, {}};
  std::string reasons;
  for (auto& member : members_) {
    auto d = member.asks->authorize(a, cluster);
    if (d.what != decision::kind::no_opinion) return d;
    if (d.reason.empty()) continue;
    if (!reasons.empty()) reasons += '\n';
    reasons += member.name;
    reasons += ": ";
    reasons += d.reason;
  }
  return {decision::kind::no_opinion, std::move(reasons)};
}

std::unique_ptr<authorizer> make_authorizer(rule_source** rules) {
  std::vector<authorizer_chain::member> members;
  members.push_back({"node", std::make_unique<node_authorizer>()});
  auto rbac = std::make_unique<rbac_authorizer>();
  if (rules) *rules = rbac.get();
  members.push_back({"rbac", std::move(rbac)});
  return std::make_unique<authorizer_chain>(std::move(members));
}

namespace {

bool allowed(authorizer& authz, const attributes& who, std::string verb, std::string_view resource, std::string_view ns,
             std::string_view name, const store::snapshot& cluster) {
  attributes a;
  a.user = who.user;
  a.verb = std::move(verb);
  a.is_resource = true;
  a.api_group = rbac_group;
  a.api_version = "v1";
  a.resource = resource;
  a.ns = ns;
  a.name = name;
  return authz.authorize(a, cluster).what == decision::kind::allow;
}

api_result<void> confirm(const attributes& who, std::string_view resource, std::string_view name,
                         const std::vector<policy_rule>& wanted, rule_source& rules, const store::snapshot& cluster) {
  auto missing = compact(uncovered(rules.rules_for(who.user, who.ns, cluster), wanted));
  if (missing.empty()) return {};
  std::string why = "user " + quote(who.user->name) + " (groups=" + quote_list(who.user->groups) +
                    ") is attempting to grant RBAC permissions not currently held:";
  for (auto& rule : missing) why += '\n' + rule.text();
  return fail(forbidden(rbac_group, resource, name, why));
}

// Whether nothing changes but what the garbage collector needs to change: everything else may decide what a role gives,
// and to whom; a ClusterRole's labels decide which others take its rules in.
bool for_the_collector(const json::value& object, const json::value& old) {
  auto rest_of = [](const json::value& o) {
    auto out = o;
    for (auto name : {"ownerReferences", "finalizers", "managedFields", "resourceVersion"})
      out.member("metadata").erase(name);
    return out;
  };
  return rest_of(object) == rest_of(old);
}

bool aggregates(const json::value& role) { return !role["aggregationRule"]["clusterRoleSelectors"].empty(); }

api_result<void> check_role(const attributes& who, std::string_view resource, const json::value& object,
                            const json::value* old, authorizer& authz, rule_source& rules,
                            const store::snapshot& cluster) {
  // By the request's name: a new role that is posted has none, so that only a right without names escalates there.
  if (allowed(authz, who, "escalate", resource, who.ns, who.name, cluster)) return {};
  auto name = name_of(object);
  KEDGE_CHECK(confirm(who, resource, name, rules_from_json(object["rules"]), rules, cluster));
  if (!aggregates(object) && !(old && aggregates(*old))) return {};
  // Who writes the selectors decides over every rule that will ever be selected.
  const std::vector<policy_rule> everything{{{"*"}, {"*"}, {"*"}, {}, {}}, {{"*"}, {}, {}, {}, {"*"}}};
  if (confirm(who, resource, name, everything, rules, cluster)) return {};
  return fail(forbidden(rbac_group, resource, name, "must have cluster-admin privileges to use the aggregationRule"));
}

api_result<void> check_binding(const attributes& who, std::string_view resource, const json::value& object,
                               authorizer& authz, rule_source& rules, const store::snapshot& cluster) {
  auto& ref = object["roleRef"];
  auto kind = ref["kind"].as_string();
  if (kind != "Role" && kind != "ClusterRole") return {};  // validation refuses it with its own words
  auto role_name = ref["name"].as_string();
  if (allowed(authz, who, "bind", kind == "Role" ? "roles" : "clusterroles", who.ns, role_name, cluster)) return {};
  auto wanted = rules.rules_of(kind, who.ns, role_name, cluster);
  if (!wanted) return fail(std::move(wanted).error());
  return confirm(who, resource, name_of(object), *wanted, rules, cluster);
}

}  // namespace

api_result<void> check_escalation(const attributes& who, std::string_view kind, const json::value& object,
                                  const json::value* old, authorizer& authz, rule_source& rules,
                                  const store::snapshot& cluster) {
  if (who.user->in_group(masters)) return {};
  if (old && for_the_collector(object, *old)) return {};
  if (kind == "Role") return check_role(who, "roles", object, old, authz, rules, cluster);
  if (kind == "ClusterRole") return check_role(who, "clusterroles", object, old, authz, rules, cluster);
  if (kind == "RoleBinding") return check_binding(who, "rolebindings", object, authz, rules, cluster);
  if (kind == "ClusterRoleBinding") return check_binding(who, "clusterrolebindings", object, authz, rules, cluster);
  return {};
}

}  // namespace kedge::api
