// admissionregistration.k8s.io/v1, apiextensions.k8s.io/v1, apiregistration.k8s.io/v1
#include "base/strings.h"
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

void match_resources(const target& t) {
  t.fill("matchPolicy", "Equivalent");
  t.fill("namespaceSelector", json::object());
  t.fill("objectSelector", json::object());
}

void webhook(const target& t) {
  t.fill("failurePolicy", "Fail");
  match_resources(t);
  t.fill("timeoutSeconds", 10);
}

void custom_resource_definition(const target& t) {
  auto spec = t.inside("spec");
  auto names = spec.inside("names");
  auto kind = std::string(names["kind"].as_string());
  names.fill_zero("singular", lower(kind));
  if (!kind.empty()) names.fill_zero("listKind", kind + "List");
  spec.fill("conversion", json::object{{"strategy", "None"}});
  if (!t["status"]["storedVersions"].empty()) return;
  auto versions = t["spec"]["versions"];
  if (!versions.is_array()) return;
  for (auto& v : *versions.array())
    if (v["storage"].as_bool()) {
      t.inside("status").set("storedVersions", json::array{v["name"]});
      return;
    }
}

void https_port(const target& t) { t.fill("port", 443); }

constexpr rule rules[] = {
    {"admissionregistration/v1.ValidatingWebhook", webhook},
    {"admissionregistration/v1.MutatingWebhook",
     [](const target& t) {
       webhook(t);
       t.fill("reinvocationPolicy", "Never");
     }},
    {"admissionregistration/v1.RuleWithOperations", [](const target& t) { t.fill("scope", "*"); }},
    {"admissionregistration/v1.NamedRuleWithOperations", [](const target& t) { t.fill("scope", "*"); }},
    {"admissionregistration/v1.ServiceReference", https_port},
    {"admissionregistration/v1.ValidatingAdmissionPolicySpec",
     [](const target& t) { t.fill("failurePolicy", "Fail"); }},
    {"admissionregistration/v1.MutatingAdmissionPolicySpec", [](const target& t) { t.fill("failurePolicy", "Fail"); }},
    {"admissionregistration/v1.MatchResources", match_resources},
    {"apiextensions/v1.CustomResourceDefinition", custom_resource_definition},
    {"apiextensions/v1.ServiceReference", https_port},
    {"apiregistration/v1.ServiceReference", https_port},
};

}  // namespace

std::span<const rule> admission_rules() { return rules; }

}  // namespace kedge::schema::defaults
