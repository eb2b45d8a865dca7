// role_aggregation.cc: fills ClusterRoles that have an aggregationRule with the rules of the roles that its selectors
// find (admin ⊃ edit ⊃ view), selector by selector, in order of the roles' names, each rule once
// (clusterrole-aggregation-controller).
#include <algorithm>
#include <set>

#include "control/controllers.h"
#include "control/resources.h"
#include "meta/selector.h"

namespace kedge::control {

namespace {

constexpr auto manager = "clusterrole-aggregation-controller";
// Roles come in dozens (a server's start, a chart): one look for all of them.
constexpr auto gather = std::chrono::milliseconds(20);

json::array rules_found(const view& cluster, const json::value& role) {
  json::array out;
  auto& selectors = role["aggregationRule"]["clusterRoleSelectors"];
  for (std::size_t i = 0; i < selectors.size(); ++i) {
    auto which = api::label_selector::from_object(selectors[i]);
    cluster.cluster().scan(cluster.prefix(cluster_roles), {}, [&](const store::object_ref& o) {
      if (!which.matches_text(o->labels_text())) return true;
      auto part = cluster.value(o);
      if (!part || (*part)["metadata"]["name"] == role["metadata"]["name"]) return true;
      auto& rules = (*part)["rules"];
      for (std::size_t r = 0; r < rules.size(); ++r)
        if (std::find(out.begin(), out.end(), rules[r]) == out.end()) out.push_back(rules[r]);
      return true;
    });
  }
  return out;
}

plan look_at_role(const view& cluster, const std::string& name, const moment&) {
  plan p;
  auto role = cluster.get(cluster_roles, {}, name);
  if (!role || !(*role)["aggregationRule"].is_object()) return p;
  auto rules = rules_found(cluster, *role);
  if ((*role)["rules"] == json::value(rules) || (rules.empty() && (*role)["rules"].empty())) return p;
  return p.write(application(cluster_roles,
                             json::object{{"kind", "ClusterRole"},
                                          {"apiVersion", "rbac.authorization.k8s.io/v1"},
                                          {"metadata", json::object{{"name", name}}},
                                          {"rules", std::move(rules)}},
                             manager));
}

// Any role may be part of any aggregate, so a change of one is a look at all aggregates, of which there are few.
class role_aggregation final : public controller {
 public:
  std::vector<source> sources() override {
    return {{cluster_roles, [this](const seen& s, keys& k) {
               auto name = std::string(s.name());
               if (s.deleted() || !s.value()["aggregationRule"].is_object())
                 aggregates_.erase(name);
               else
                 aggregates_.insert(name);
               for (auto& a : aggregates_) k.add_after(a, gather);
             }}};
  }
  plan look(const view& cluster, const std::string& key, const moment& now) override {
    return look_at_role(cluster, key, now);
  }

 private:
  std::set<std::string> aggregates_;
};

}  // namespace

std::unique_ptr<controller> make_role_aggregation(const settings&) { return std::make_unique<role_aggregation>(); }

}  // namespace kedge::control
