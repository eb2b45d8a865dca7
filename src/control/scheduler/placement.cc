#include "control/scheduler/placement.h"

#include <algorithm>

#include "base/strings.h"

namespace kedge::control::scheduler {

std::vector<taint> taints_of(const json::value& node) {
  std::vector<taint> out;
  if (auto list = node["spec"]["taints"].array())
    for (auto& t : *list)
      out.push_back({std::string(t["key"].as_string()), std::string(t["value"].as_string()),
                     std::string(t["effect"].as_string())});
  return out;
}

bool toleration::tolerates(const taint& t) const noexcept {
  if (!effect.empty() && effect != t.effect) return false;
  if (!key.empty() && key != t.key) return false;
  if (op.empty() || op == "Equal") return value == t.value;
  if (op == "Exists") return true;
  // KEP-5471: numbers. What isn't one tolerates nothing.
  auto own = parse_int(value), other = parse_int(t.value);
  if (!own || !other) return false;
  if (op == "Lt") return *other < *own;
  if (op == "Gt") return *other > *own;
  return false;
}

std::vector<toleration> tolerations_of(const json::value& list) {
  std::vector<toleration> out;
  if (auto all = list.array())
    for (auto& t : *all)
      out.push_back({std::string(t["key"].as_string()), std::string(t["operator"].as_string()),
                     std::string(t["value"].as_string()), std::string(t["effect"].as_string())});
  return out;
}

bool tolerated(const std::vector<toleration>& by, const taint& t) noexcept {
  return std::any_of(by.begin(), by.end(), [&](auto& one) { return one.tolerates(t); });
}

const taint* untolerated(const std::vector<taint>& taints, const std::vector<toleration>& by) noexcept {
  for (auto& t : taints)
    if ((t.effect == "NoSchedule" || t.effect == "NoExecute") && !tolerated(by, t)) return &t;
  return nullptr;
}

bool node_requirement::matches(const std::string* value) const noexcept {
  auto listed = [&] { return std::find(values.begin(), values.end(), *value) != values.end(); };
  if (op == "In") return value && listed();
  if (op == "NotIn") return !value || !listed();
  if (op == "Exists") return value;
  if (op == "DoesNotExist") return !value;
  if (!value || values.size() != 1) return false;
  auto own = parse_int(*value), bound = parse_int(values.front());
  if (!own || !bound) return false;
  return op == "Gt" ? *own > *bound : op == "Lt" && *own < *bound;
}

static std::vector<node_requirement> requirements_of(const json::value& list) {
  std::vector<node_requirement> out;
  if (auto all = list.array())
    for (auto& e : *all) {
      node_requirement r{std::string(e["key"].as_string()), std::string(e["operator"].as_string()), {}};
      for (std::size_t i = 0; i < e["values"].size(); ++i) r.values.emplace_back(e["values"][i].as_string());
      out.push_back(std::move(r));
    }
  return out;
}

node_term node_term::of(const json::value& term) {
  return {requirements_of(term["matchExpressions"]), requirements_of(term["matchFields"])};
}

bool node_term::matches(std::string_view node_name, const label_set& labels) const noexcept {
  if (expressions.empty() && fields.empty()) return false;
  for (auto& e : expressions)
    if (!e.matches(labels.find(e.key))) return false;
  if (node_name.empty()) return true;
  const std::string name(node_name);
  for (auto& f : fields)  // metadata.name is the only one that there is
    if (f.key != "metadata.name" || !f.matches(&name)) return false;
  return true;
}

node_selector node_selector::of(const json::value& selector) {
  node_selector out;
  if (auto list = selector["nodeSelectorTerms"].array())
    for (auto& t : *list) out.terms.push_back(node_term::of(t));
  return out;
}

bool node_selector::matches(std::string_view node_name, const label_set& labels) const noexcept {
  return std::any_of(terms.begin(), terms.end(), [&](auto& t) { return t.matches(node_name, labels); });
}

std::vector<preferred_term> preferred_of(const json::value& list) {
  std::vector<preferred_term> out;
  if (auto all = list.array())
    for (auto& p : *all)
      if (p["weight"].as_integer() != 0) out.push_back({p["weight"].as_integer(), node_term::of(p["preference"])});
  return out;
}

node_demand node_demand::of(const json::value& spec) {
  node_demand out;
  if (auto wanted = spec["nodeSelector"].object())
    for (auto& m : *wanted) out.labels.emplace_back(m.name, m.value.as_string());
  auto& required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
  if (required.is_object()) out.required = node_selector::of(required);
  return out;
}

bool node_demand::matches(std::string_view node_name, const label_set& node_labels) const noexcept {
  for (auto& [key, value] : labels) {
    auto found = node_labels.find(key);
    if (!found || *found != value) return false;
  }
  return !required || required->matches(node_name, node_labels);
}

}  // namespace kedge::control::scheduler
