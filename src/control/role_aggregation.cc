// role_aggregation.cc: fills ClusterRoles that have an aggregationRule with the rules of the roles its selectors find
// (admin ⊃ edit ⊃ view), in order of their names, each rule once.
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

const api::resource_id roles{"rbac.authorization.k8s.io", "v1", "clusterroles"};

bool selects(const json::value& selector, const json::value& labels) {
  if (auto* m = selector["matchLabels"].object())
    for (auto& [name, value] : *m)
      if (labels[name].as_string() != value.as_string() || !labels.find(name)) return false;
  auto& expressions = selector["matchExpressions"];
  for (std::size_t i = 0; i < expressions.size(); ++i) {
    auto& e = expressions[i];
    auto* have = labels.find(e["key"].as_string());
    auto op = e["operator"].as_string();
    bool in = false;
    for (std::size_t j = 0; have && j < e["values"].size(); ++j) in = in || e["values"][j].as_string() == have->as_string();
    bool ok = op == "In" ? in : op == "NotIn" ? !in : op == "Exists" ? have != nullptr : op == "DoesNotExist" ? have == nullptr : false;
    if (!ok) return false;
  }
  return true;
}

}  // namespace

task<void> run_role_aggregation(context& c) {
  auto prefix = c.objects.prefix(roles);
  work_queue queue;
  reactor::scope tasks;
  // Any role may be part of any aggregate, and there are a hundred of them: one key for all.
  tasks.spawn(follow(c.objects.objects_store(), prefix, [&](const store::event&) { queue.add_after("all", std::chrono::milliseconds(20)); }));
  co_await work("clusterrole-aggregation", queue, 1, [&](std::string) -> task<api::api_result<void>> {
    bool changed = true;
    // An aggregate of aggregates settles in as many rounds as they are deep.
    for (int round = 0; changed && round < 10; ++round) {
      changed = false;
      auto all = c.objects.list(roles);  // in order of names
      for (auto& role : all) {
        auto& selectors = role["aggregationRule"]["clusterRoleSelectors"];
        if (!selectors.size()) continue;
        json::array rules;
        for (auto& part : all) {
          if (part["metadata"]["name"] == role["metadata"]["name"]) continue;
          bool wanted = false;
          for (std::size_t i = 0; i < selectors.size(); ++i) wanted = wanted || selects(selectors[i], part["metadata"]["labels"]);
          if (!wanted) continue;
          for (std::size_t i = 0; i < part["rules"].size(); ++i)
            if (std::find(rules.begin(), rules.end(), part["rules"][i]) == rules.end()) rules.push_back(part["rules"][i]);
        }
        if (role["rules"] == json::value(rules) || (rules.empty() && role["rules"].empty())) continue;
        auto done = co_await c.objects.modify(roles, "", std::string(role["metadata"]["name"].as_string()), [&](json::value& r) {
          r.set("rules", rules);
          return true;
        });
        if (!done) co_return api::fail(done.error());
        changed = true;
      }
    }
    co_return api::api_result<void>();
  });
}

}  // namespace kedge::control
