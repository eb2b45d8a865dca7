#include "api/kinds/core/affinity.h"

#include <fmt/format.h>

#include <set>
#include <string>
#include <unordered_map>

#include "api/kinds/core/resources.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

void check_weight(causes& out, const json::value& term, const place& at) {
  if (auto weight = term["weight"].as_integer(); weight <= 0 || weight > 100)
    out.push_back(invalid_value(place(at, "weight"), weight, "must be in the range 1-100"));
}

void check_node_requirement(causes& out, const json::value& r, const place& at, bool any_values) {
  auto op = r["operator"].as_string(), key = r["key"].as_string();
  auto& values = r["values"];
  if (op == "In" || op == "NotIn") {
    if (values.empty())
      out.push_back(required(place(at, "values"), "must be specified when `operator` is 'In' or 'NotIn'"));
  } else if (op == "Exists" || op == "DoesNotExist") {
    if (!values.empty())
      out.push_back(
          forbidden_value(place(at, "values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
  } else if (op == "Gt" || op == "Lt") {
    if (values.size() != 1)
      out.push_back(required(place(at, "values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"));
  } else {
    out.push_back(invalid_value(place(at, "operator"), op, "not a valid selector operator"));
  }
  add_problems(out, place(at, "key"), key, check_qualified_name(key));
  for (std::size_t i = 0; i < values.size() && !any_values; ++i)
    add_problems(out, place(at, "values", i), values[i], check_label_value(values[i].as_string()));
}

// metadata.name alone can be asked for.
void check_node_field(causes& out, const json::value& r, const place& at) {
  auto op = r["operator"].as_string(), key = r["key"].as_string();
  auto& values = r["values"];
  if (op != "In" && op != "NotIn")
    out.push_back(invalid_value(place(at, "operator"), op, "not a valid selector operator"));
  else if (values.size() != 1)
    out.push_back(required(place(at, "values"),
                           "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"));
  if (key != "metadata.name")
    return out.push_back(invalid_value(place(at, "key"), key, "not a valid field selector key"));
  for (std::size_t i = 0; i < values.size(); ++i)
    add_problems(out, place(at, "values", i), values[i], check_dns1123_subdomain(values[i].as_string()));
}

void check_keys(causes& out, const json::value& keys, const json::value& selector, const place& at) {
  if (keys.empty()) return;
  if (!selector.is_object())
    return out.push_back(forbidden_value(at, "must not be specified when labelSelector is not set"));
  for (std::size_t i = 0; i < keys.size(); ++i)
    add_problems(out, place(at, i), keys[i], check_qualified_name(keys[i].as_string()));
}

// As before the keys were added to the selector: then none of them could stand in it.
void check_label_keys_as_before(causes& out, const json::value& keys, const json::value& selector, const place& at) {
  if (keys.empty()) return;
  name_set known;
  if (auto labels = selector["matchLabels"].object())
    for (auto& m : *labels) known.insert(m.name);
  for (std::size_t i = 0; i < selector["matchExpressions"].size(); ++i)
    known.insert(selector["matchExpressions"][i]["key"].as_string());
  if (!selector.is_object()) out.push_back(forbidden_value(at, "must not be specified when labelSelector is not set"));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto key = keys[i].as_string();
    add_problems(out, place(at, i), key, check_qualified_name(key));
    if (known.contains(key))
      out.push_back(invalid_value(place(at, i), key, "exists in both matchLabelKeys and labelSelector"));
  }
}

void check_pod_selectors(causes& out, const json::value& term, const place& at, bool any_values) {
  check_label_selector(out, term["labelSelector"], place(at, "labelSelector"), any_values);
  check_label_selector(out, term["namespaceSelector"], place(at, "namespaceSelector"), any_values);
}

void check_pod_term(causes& out, const json::value& term, const place& at, const pod_options& options) {
  check_pod_selectors(out, term, at, options.any_label_values_in_selectors);
  for (std::size_t i = 0; i < term["namespaces"].size(); ++i)
    add_problems(out, place(at, "namespace"), term["namespaces"][i],
                 check_dns1123_label(term["namespaces"][i].as_string()));
  check_label_keys(out, term, at);
  auto key = term["topologyKey"].as_string();
  need(out, term, at, "topologyKey", "can not be empty");
  add_problems(out, place(at, "topologyKey"), key, check_qualified_name(key));
}

constexpr const char* must = "requiredDuringSchedulingIgnoredDuringExecution";
constexpr const char* should = "preferredDuringSchedulingIgnoredDuringExecution";

void check_pod_affinity(causes& out, const json::value& a, const place& at, const pod_options& options) {
  for (std::size_t i = 0; i < a[must].size(); ++i) check_pod_term(out, a[must][i], place(at, must, i), options);
  for (std::size_t i = 0; i < a[should].size(); ++i) {
    const place here(at, should, i);
    check_weight(out, a[should][i], here);
    check_pod_term(out, a[should][i]["podAffinityTerm"], place(here, "podAffinityTerm"), options);
  }
}

void check_node_affinity(causes& out, const json::value& a, const place& at, const pod_options& options) {
  if (a[must].is_object())
    check_node_selector(out, a[must], place(at, must), options.any_label_values_in_node_affinity);
  for (std::size_t i = 0; i < a[should].size(); ++i) {
    const place here(at, should, i);
    check_weight(out, a[should][i], here);
    check_node_selector_term(out, a[should][i]["preference"], place(here, "preference"), true);
  }
}

void positive(causes& out, const json::value& v, const place& at) {
  if (v.as_integer() <= 0) out.push_back(invalid_value(at, v.as_integer(), "must be greater than zero"));
}

void check_min_domains(causes& out, const json::value& c, const place& at) {
  auto& least = c["minDomains"];
  if (least.is_null()) return;
  positive(out, least, place(at, "minDomains"));
  if (auto what = c["whenUnsatisfiable"].as_string(); what != "DoNotSchedule")
    out.push_back(
        invalid_value(place(at, "minDomains"), least,
                      fmt::format("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", what)));
}

}  // namespace

void check_node_selector_term(causes& out, const json::value& term, const place& at, bool any_values) {
  for (std::size_t i = 0; i < term["matchExpressions"].size(); ++i)
    check_node_requirement(out, term["matchExpressions"][i], place(at, "matchExpressions", i), any_values);
  for (std::size_t i = 0; i < term["matchFields"].size(); ++i)
    check_node_field(out, term["matchFields"][i], place(at, "matchFields", i));
}

void check_node_selector(causes& out, const json::value& selector, const place& at, bool any_values) {
  auto& terms = selector["nodeSelectorTerms"];
  if (terms.empty())
    return out.push_back(required(place(at, "nodeSelectorTerms"), "must have at least one node selector term"));
  for (std::size_t i = 0; i < terms.size(); ++i)
    check_node_selector_term(out, terms[i], place(at, "nodeSelectorTerms", i), any_values);
}

bool has_bad_label_values(const json::value& terms) {
  for (std::size_t i = 0; i < terms.size(); ++i)
    for (std::size_t j = 0; j < terms[i]["matchExpressions"].size(); ++j) {
      auto& values = terms[i]["matchExpressions"][j]["values"];
      for (std::size_t k = 0; k < values.size(); ++k)
        if (!check_label_value(values[k].as_string()).empty()) return true;
    }
  return false;
}

bool has_bad_values_in_affinity(const json::value& affinity) {
  causes found;
  const place nowhere("");
  for (auto kind : {"podAffinity", "podAntiAffinity"}) {
    auto& a = affinity[kind];
    for (std::size_t i = 0; i < a[must].size() && found.empty(); ++i)
      check_pod_selectors(found, a[must][i], nowhere, false);
    for (std::size_t i = 0; i < a[should].size() && found.empty(); ++i)
      check_pod_selectors(found, a[should][i]["podAffinityTerm"], nowhere, false);
  }
  return !found.empty();
}

void check_label_keys(causes& out, const json::value& term, const place& at) {
  auto &keys = term["matchLabelKeys"], &others = term["mismatchLabelKeys"], &selector = term["labelSelector"];
  check_keys(out, keys, selector, place(at, "matchLabelKeys"));
  check_keys(out, others, selector, place(at, "mismatchLabelKeys"));
  if (keys.empty()) return;
  std::unordered_map<std::string_view, std::size_t> at_index;
  for (std::size_t i = 0; i < keys.size(); ++i) at_index.insert_or_assign(keys[i].as_string(), i);
  // The server itself adds one expression a key: a second one, or a label beside, is the user's.
  name_set known;
  if (auto labels = selector["matchLabels"].object())
    for (auto& m : *labels) known.insert(m.name);
  for (std::size_t i = 0; i < selector["matchExpressions"].size(); ++i) {
    auto key = selector["matchExpressions"][i]["key"].as_string();
    auto found = at_index.find(key);
    if (!known.insert(key).second && found != at_index.end())
      out.push_back(invalid_value(place(at, found->second), key, "exists in both matchLabelKeys and labelSelector"));
  }
  name_set other_keys;
  for (std::size_t i = 0; i < others.size(); ++i) other_keys.insert(others[i].as_string());
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (other_keys.contains(keys[i].as_string()))
      out.push_back(invalid_value(place(at, "matchLabelKeys", i), keys[i],
                                  "exists in both matchLabelKeys and mismatchLabelKeys"));
}

void check_affinity(causes& out, const json::value& a, const place& at, const pod_options& options) {
  if (!a.is_object()) return;
  if (a["nodeAffinity"].is_object()) check_node_affinity(out, a["nodeAffinity"], place(at, "nodeAffinity"), options);
  for (auto kind : {"podAffinity", "podAntiAffinity"})
    if (a[kind].is_object()) check_pod_affinity(out, a[kind], place(at, kind), options);
}

void check_spread(causes& out, const json::value& list, const place& at, const pod_options& options) {
  // How often what is spread by is still to come: the last of the same is not told.
  std::unordered_map<std::string, std::size_t> left;
  auto same = [&](const json::value& c) {
    return fmt::format("{{{}, {}}}", c["topologyKey"].as_string(), c["whenUnsatisfiable"].as_string());
  };
  for (std::size_t i = 0; i < list.size(); ++i) ++left[same(list[i])];
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& c = list[i];
    const place here(at, i);
    positive(out, c["maxSkew"], place(here, "maxSkew"));
    need(out, c, here, "topologyKey", "can not be empty");
    if (auto what = c["whenUnsatisfiable"].as_string(); what != "DoNotSchedule" && what != "ScheduleAnyway")
      out.push_back(not_supported(place(here, "whenUnsatisfiable"), what, {"DoNotSchedule", "ScheduleAnyway"}));
    if (auto text = same(c); --left[text] > 0)
      out.push_back(duplicate_value(place(here, "{topologyKey, whenUnsatisfiable}"), text));
    check_min_domains(out, c, here);
    one_of(out, c, here, "nodeAffinityPolicy", {"Honor", "Ignore"});
    one_of(out, c, here, "nodeTaintsPolicy", {"Honor", "Ignore"});
    if (options.repeated_spread_keys)
      check_label_keys_as_before(out, c["matchLabelKeys"], c["labelSelector"], place(here, "matchLabelKeys"));
    else
      check_label_keys(out, c, here);
    if (!options.any_spread_selector) check_label_selector(out, c["labelSelector"], place(here, "labelSelector"));
  }
}

void check_tolerations(causes& out, const json::value& list, const place& at, const pod_options& options) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& t = list[i];
    const place here(at, i);
    auto key = t["key"].as_string(), op = t["operator"].as_string(), effect = t["effect"].as_string(),
         value = t["value"].as_string();
    const place of_operator(here, "operator");
    if (!key.empty()) add_problems(out, place(here, "key"), key, check_qualified_name(key));
    if (key.empty() && op != "Exists")
      out.push_back(
          invalid_value(of_operator, op,
                        "operator must be Exists when `key` is empty, which means \"match all values and all keys\""));
    if (!t["tolerationSeconds"].is_null() && effect != "NoExecute")
      out.push_back(
          invalid_value(place(here, "effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"));
    if (op.empty() || op == "Equal") {
      if (auto wrong = check_label_value(value); !wrong.empty())
        out.push_back(invalid_value(of_operator, value, join(wrong, ";")));
    } else if (op == "Exists") {
      if (!value.empty())
        out.push_back(invalid_value(of_operator, value, "value must be empty when `operator` is 'Exists'"));
    } else if (op == "Lt" || op == "Gt") {
      if (!options.comparing_tolerations)
        out.push_back(not_supported(of_operator, op, {"Equal", "Exists", "Lt", "Gt"}));
      else if (!parse_int(value))
        out.push_back(
            invalid_value(place(here, "value"), value,
                          "must be a valid decimal integer in canonical form (no leading zeros, no plus sign)"));
    } else {
      out.push_back(not_supported(of_operator, op, {"Equal", "Exists"}));
    }
    if (!effect.empty()) one_of(out, t, here, "effect", {"NoSchedule", "PreferNoSchedule", "NoExecute"});
  }
}

}  // namespace kedge::api
