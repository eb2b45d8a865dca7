// policy_checker.cc: checks the expressions of ValidatingAdmissionPolicies by the types of what they are about, and
// tells what doesn't fit in their status (validatingadmissionpolicy-status-controller). Policies act whatever is told.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <tuple>

#include "api/custom/definition.h"
#include "api/expressions/composition.h"
#include "api/expressions/schema.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "schema/json_schema.h"

namespace kedge::control {

namespace {

const api::resource_id policies{"admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"};
constexpr std::size_t kinds_max = 10;  // kube-controller-manager's, of a rule

struct checked_kind {
  std::string group, version, kind;
  const api::served* what;
  friend auto operator<=>(const checked_kind& a, const checked_kind& b) {
    return std::tie(a.group, a.version, a.kind) <=> std::tie(b.group, b.version, b.kind);
  }
  std::string text() const { return fmt::format("{}/{}, Kind={}", group, version, kind); }
};

// The names of a rule's list, sorted; those that name more than one thing are left out, or make the list none.
std::set<std::string> plain_names(const json::value& list, std::string_view wild, bool all) {
  std::set<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto name = list[i].as_string();
    if (name.find_first_of(wild) == name.npos)
      out.emplace(name);
    else if (all)
      return {};
  }
  return out;
}

std::set<checked_kind> kinds_of(const api::registry& served, const json::value& policy) {
  std::set<checked_kind> out;
  auto& rules = policy["spec"]["matchConstraints"]["resourceRules"];
  for (std::size_t i = 0; i < rules.size(); ++i) {
    std::size_t count = 0;
    for (auto& group : plain_names(rules[i]["apiGroups"], "*", true))
      for (auto& version : plain_names(rules[i]["apiVersions"], "*", true))
        for (auto& resource : plain_names(rules[i]["resources"], "*/", false))
          if (auto s = served.find(group, version, resource); s && count < kinds_max) {
            out.insert({group, version, s->kind, s});
            ++count;
          }
  }
  return out;
}

std::shared_ptr<const api::expressions::declaration> declared(const api::served* s, std::string_view as) {
  if (!s) return nullptr;
  auto schema = s->custom ? s->custom->owner->schema_json(s->version) : schema::json_schema(s->type());
  return api::expressions::declaration::of(schema, true, fmt::format("{}{}", as, s->kind));
}

// What the policy's expressions may use when its objects are of that kind.
std::shared_ptr<const cel::environment> typed(const api::served* kind, bool params, const api::served* param) {
  auto within = api::expressions::admission_environment({.params = params, .authorizer = true})->extend();
  if (auto object = declared(kind, "object.")) {
    within.variable("object", object->type()).variable("oldObject", object->type()).types(object->types());
  }
  if (auto given = declared(param, "params.")) within.variable("params", given->type()).types(given->types());
  return within.build();
}

class checker {
 public:
  checker(const api::registry& served, const json::value& policy) : policy_(policy) {
    auto& kind = policy["spec"]["paramKind"];
    const bool params = kind.is_object();
    auto param = params ? served.find_kind(kind["apiVersion"].as_string(), kind["kind"].as_string()) : nullptr;
    auto& variables = policy["spec"]["variables"];
    for (auto& k : kinds_of(served, policy)) {
      auto all = std::make_unique<api::expressions::composition>(typed(k.what, params, param));
      for (std::size_t i = 0; i < variables.size(); ++i)
        all->add(std::string(variables[i]["name"].as_string()), variables[i]["expression"].as_string());
      within_.emplace_back(k.text(), std::move(all));
    }
  }

  json::array warnings() const {
    json::array out;
    auto& list = policy_["spec"]["validations"];
    for (std::size_t i = 0; i < list.size(); ++i)
      for (auto member : {"expression", "messageExpression"})
        if (auto text = list[i][member].as_string(); !text.empty())
          if (auto wrong = check(text); !wrong.empty())
            out.push_back(json::object{{"fieldRef", fmt::format("spec.validations[{}].{}", i, member)},
                                       {"warning", std::move(wrong)}});
    return out;
  }

 private:
  std::string check(std::string_view text) const {
    std::vector<std::string> wrong;
    for (auto& [kind, all] : within_) {
      constexpr std::string_view prefix = "compilation failed: ";
      auto e = all->compile(text, {});
      if (!e.program)
        wrong.push_back(
            fmt::format("{}: {}\n", kind, e.wrong.starts_with(prefix) ? e.wrong.substr(prefix.size()) : e.wrong));
    }
    return join(wrong, "\n");
  }

  const json::value& policy_;
  std::vector<std::pair<std::string, std::unique_ptr<api::expressions::composition>>> within_;  // by kind
};

plan look_at_policy(const view& cluster, const std::string& name, const moment&) {
  plan p;
  auto policy = cluster.get(policies, {}, name);
  if (!policy) return p;
  const auto generation = (*policy)["metadata"]["generation"].as_integer();
  if (generation <= (*policy)["status"]["observedGeneration"].as_integer()) return p;
  json::object checking;
  if (auto found = checker(cluster.served(), *policy).warnings(); !found.empty())
    checking.set("expressionWarnings", std::move(found));
  auto next = *policy;
  next.member("status").set("observedGeneration", generation);
  next.member("status").set("typeChecking", std::move(checking));
  return p.write(update_of(policies, std::move(next), "status"));
}

}  // namespace

std::unique_ptr<controller> make_policy_checker(const settings&) {
  return plain_controller({{policies, living_key}}, look_at_policy);
}

}  // namespace kedge::control
