// storage_class.cc: StorageClass.
#include <fmt/format.h>

#include <map>
#include <set>

#include "api/kinds/core/warnings.h"
#include "api/kinds/storage/parameters.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

// Where volumes may be: values of labels of nodes. Two terms that say the same are one too many.
void check_topologies(causes& out, const json::value& topologies) {
  using term = std::map<std::string_view, std::set<std::string_view>>;
  std::set<term> seen{{}};  // a term that says nothing is none
  const place of_topologies("allowedTopologies");
  for (std::size_t i = 0; i < topologies.size(); ++i) {
    auto& rules = topologies[i]["matchLabelExpressions"];
    const place here(of_topologies, i);
    term t;
    for (std::size_t j = 0; j < rules.size(); ++j) {
      const place of_rule(here, "matchLabelExpressions", j);
      auto& values = rules[j]["values"];
      auto key = rules[j]["key"].as_string();
      if (values.empty()) out.push_back(required(place(of_rule, "values")));
      std::set<std::string_view> set;
      for (std::size_t k = 0; k < values.size(); ++k)
        if (!set.insert(values[k].as_string()).second)
          out.push_back(duplicate_value(place(of_rule, "values", k), values[k]));
      add_problems(out, place(of_rule, "key"), key, check_qualified_name(key));
      if (t.contains(key)) out.push_back(duplicate_value(place(of_rule, "key"), key));
      t[key] = std::move(set);
    }
    if (!seen.insert(std::move(t)).second) out.push_back(duplicate_value(place(here, "matchLabelExpressions"), ""));
  }
}

void validate(causes& out, const json::value& o) {
  check_provisioner(out, o["provisioner"], "provisioner");
  check_parameters(out, o["parameters"], "parameters", true);
  if (!o["reclaimPolicy"].as_string().empty()) one_of(out, o, "", "reclaimPolicy", {"Delete", "Retain"});
  if (o["volumeBindingMode"].is_null())
    out.push_back(required("volumeBindingMode"));
  else
    one_of(out, o, "", "volumeBindingMode", {"Immediate", "WaitForFirstConsumer"});
  check_topologies(out, o["allowedTopologies"]);
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  for (auto member : {"parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"})
    declared_immutable(out, o[member], old[member], member);
}

void warn(warnings& out, const json::value& o, const json::value*) {
  const place of_topologies("allowedTopologies");
  for (std::size_t i = 0; i < o["allowedTopologies"].size(); ++i) {
    auto& rules = o["allowedTopologies"][i]["matchLabelExpressions"];
    const place here(of_topologies, i);
    for (std::size_t j = 0; j < rules.size(); ++j) {
      const place of_rule(here, "matchLabelExpressions", j);
      if (auto text = deprecated_node_label(rules[j]["key"].as_string()); !text.empty())
        out.push_back(fmt::format("{}: {}", place(of_rule, "key").text(), text));
    }
  }
}

}  // namespace

const kind_rules kinds::storage_classes{.group = "storage.k8s.io",
                                        .resource = "storageclasses",
                                        .answers_deleted_object = true,
                                        .validate = validate,
                                        .validate_update = validate_update,
                                        .warn = warn};

}  // namespace kedge::api
