#include "api/admission/webhook/hook.h"

#include <fmt/format.h>

#include <map>

namespace kedge::api::webhook {
namespace {

constexpr unsigned all_operations = on_create | on_update | on_remove | on_connect;

std::vector<std::string> texts(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  return out;
}

unsigned operations_of(const json::value& list) {
  unsigned out = 0;
  for (auto& text : texts(list)) {
    if (text == "*") return all_operations;
    for (auto one : {operation::create, operation::update, operation::remove, operation::connect})
      if (text == operation_text(one)) out |= 1u << static_cast<unsigned>(one);
  }
  return out;
}

rule read_rule(const json::value& r) {
  rule out{.operations = operations_of(r["operations"]),
           .groups = texts(r["apiGroups"]),
           .versions = texts(r["apiVersions"])};
  for (auto& text : texts(r["resources"])) {
    auto slash = text.find('/');
    out.resources.emplace_back(text.substr(0, slash), slash == text.npos ? std::string() : text.substr(slash + 1));
  }
  auto scope = r["scope"].as_string();
  out.where = scope == "Namespaced" ? rule::scope::namespaced
              : scope == "Cluster"  ? rule::scope::cluster
                                    : rule::scope::any;
  return out;
}

// Absent, where an older object has none: it selects everything.
label_selector selector_of(const json::value& selector) {
  return selector.is_object() ? label_selector::from_object(selector) : label_selector();
}

std::string known_review(const json::value& versions) {
  for (auto& text : texts(versions))
    if (text == "v1" || text == "v1beta1") return text;
  return {};
}

hook read_hook(const json::value& h, bool mutating) {
  hook out{.name = std::string(h["name"].as_string()), .mutates = mutating};
  out.may_fail = h["failurePolicy"].as_string() == "Ignore";
  out.exact = h["matchPolicy"].as_string() == "Exact";
  out.again = h["reinvocationPolicy"].as_string() == "IfNeeded";
  auto effects = h["sideEffects"].as_string();
  out.dry_run = effects == "None" || effects == "NoneOnDryRun";
  out.time = std::chrono::seconds(h["timeoutSeconds"].as_integer(10));
  out.namespaces = selector_of(h["namespaceSelector"]);
  out.objects = selector_of(h["objectSelector"]);
  for (std::size_t i = 0; i < h["rules"].size(); ++i) out.rules.push_back(read_rule(h["rules"][i]));
  if (!h["matchConditions"].empty()) out.if_all = std::make_shared<const conditions>(h["matchConditions"]);
  out.review = known_review(h["admissionReviewVersions"]);
  out.to = callout::make_target(h["clientConfig"]);
  return out;
}

}  // namespace

std::vector<hook> read_hooks(const json::value& configuration, bool mutating) {
  std::vector<hook> out;
  std::map<std::string, int> names;
  auto name = configuration["metadata"]["name"].as_string();
  for (std::size_t i = 0; i < configuration["webhooks"].size(); ++i) {
    auto& one = out.emplace_back(read_hook(configuration["webhooks"][i], mutating));
    one.configuration = name;
    one.id = fmt::format("{}/{}/{}", name, one.name, names[one.name]++);
  }
  return out;
}

}  // namespace kedge::api::webhook
