// priority_class.cc: PriorityClass.
#include <fmt/format.h>

#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::int64_t user_priority_max = 1'000'000'000;

struct system_class {
  std::string_view name;
  std::int64_t value;
};
constexpr system_class system_classes[] = {{"system-node-critical", 2'000'001'000},
                                           {"system-cluster-critical", 2'000'000'000}};

const system_class* system_class_named(std::string_view name) {
  for (auto& c : system_classes)
    if (c.name == name) return &c;
  return nullptr;
}

// Why a class whose name is reserved isn't the server's own.
std::string wrong_system_class(std::string_view name, const json::value& o) {
  auto known = system_class_named(name);
  if (!known) return fmt::format("{} is not a known system priority class", name);
  if (o["value"].as_integer() != known->value)
    return fmt::format("value of {} PriorityClass must be {}", name, known->value);
  if (o["globalDefault"].as_bool()) return fmt::format("globalDefault of {} PriorityClass must be false", name);
  return {};
}

void validate(causes& out, const json::value& o) {
  auto name = o["metadata"]["name"].as_string();
  if (name.starts_with("system-")) {
    if (auto wrong = wrong_system_class(name, o); !wrong.empty())
      out.push_back(forbidden_value(
          "metadata.name",
          "priority class names with 'system-' prefix are reserved for system use only. error: " + wrong));
  } else if (o["value"].as_integer() > user_priority_max) {
    out.push_back(forbidden_value(
        "value", fmt::format("maximum allowed value of a user defined priority is {}", user_priority_max)));
  }
  if (auto& policy = o["preemptionPolicy"]; policy.is_string() && policy.as_string().empty())
    out.push_back(required("preemptionPolicy"));
  else
    one_of(out, o, "", "preemptionPolicy", {"PreemptLowerPriority", "Never"});
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  if (o["value"].as_integer() != old["value"].as_integer())
    out.push_back(forbidden_value("value", "may not be changed in an update."));
  immutable(out, o["preemptionPolicy"], old["preemptionPolicy"], "preemptionPolicy");
}

// What may change isn't counted.
void prepare_create(json::value& o, const kind_context&) { o.member("metadata").set("generation", 1); }

std::string refuse_delete(const json::value& o) {
  return system_class_named(o["metadata"]["name"].as_string()) ? "this is a system priority class and cannot be deleted"
                                                               : "";
}

}  // namespace

const kind_rules kinds::priority_classes{.group = "scheduling.k8s.io",
                                         .resource = "priorityclasses",
                                         .prepare_create = prepare_create,
                                         .validate = validate,
                                         .validate_update = validate_update,
                                         .refuse_delete = refuse_delete};

}  // namespace kedge::api
