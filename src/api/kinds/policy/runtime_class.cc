// runtime_class.cc: RuntimeClass.
#include <fmt/format.h>

#include <set>

#include "api/kinds/core/affinity.h"
#include "api/kinds/core/resources.h"
#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

void check_repeated(causes& out, const json::value& tolerations, const place& at) {
  std::set<std::array<std::string_view, 4>> seen;
  for (std::size_t i = 0; i < tolerations.size(); ++i) {
    auto& t = tolerations[i];
    if (!seen.insert({t["key"].as_string(), t["operator"].as_string(), t["value"].as_string(), t["effect"].as_string()})
             .second)
      out.push_back(duplicate_value(place(at, i), internal_form("core/v1.Toleration", t)));
  }
}

void check_rest(causes& out, const json::value& o) {
  if (o["overhead"].is_object())
    check_requirements(out, json::object{{"limits", o["overhead"]["podFixed"]}}, "overhead", {});
  auto& scheduling = o["scheduling"];
  const place at("scheduling"), of_tolerations(at, "tolerations");
  check_labels(out, scheduling["nodeSelector"], place(at, "nodeSelector"));
  check_tolerations(out, scheduling["tolerations"], of_tolerations, {});
  check_repeated(out, scheduling["tolerations"], of_tolerations);
}

void check_handler(causes& out, const json::value& o) {
  if (need(out, o, "", "handler"))
    add_problems(out, "handler", o["handler"], in_bytes(check_dns1123_label(o["handler"].as_string())));
}

void validate(causes& out, const json::value& o) {
  check_rest(out, o);
  check_handler(out, o);
}

// The handler can't change, so it is judged again as it was by its first server, and then by what is declared with the
// type.
void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto handler = o["handler"].as_string();
  const bool same = handler == old["handler"].as_string();
  check_rest(out, o);
  if (!handler.empty() || same) check_handler(out, o);
  declared_immutable(out, handler, old["handler"].as_string(), "handler");
  if (handler.empty() && !same) out.push_back(required("handler"));
}

void warn(warnings& out, const json::value& o, const json::value*) {
  if (auto labels = o["scheduling"]["nodeSelector"].object())
    for (auto& m : *labels)
      if (auto text = deprecated_node_label(m.name); !text.empty())
        out.push_back(fmt::format("scheduling.nodeSelector: {}", text));
}

}  // namespace

const kind_rules kinds::runtime_classes{.group = "node.k8s.io",
                                        .resource = "runtimeclasses",
                                        .create_by_update = true,
                                        .unconditional_update = false,
                                        .validate = validate,
                                        .validate_update = validate_update,
                                        .warn = warn};

}  // namespace kedge::api
