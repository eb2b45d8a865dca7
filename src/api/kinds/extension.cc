// extension.cc: what extends the API itself, and devices. Their content is checked by the schema; here stand their traits.
#include <fmt/format.h>

#include "api/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::string_view admission_group = "admissionregistration.k8s.io";

void custom_resource(causes& out, const json::value& o) {
  auto expected = fmt::format("{}.{}", o["spec"]["names"]["plural"].as_string(), o["spec"]["group"].as_string());
  if (o["metadata"]["name"].as_string() != expected)
    out.push_back(invalid_value("metadata.name", o["metadata"]["name"], "must be spec.names.plural+\".\"+spec.group"));
  int stored = 0;
  for (std::size_t i = 0; i < o["spec"]["versions"].size(); ++i) stored += o["spec"]["versions"][i]["storage"].as_bool();
  if (stored != 1) out.push_back(invalid_value("spec.versions", o["spec"]["versions"], "must have exactly one version marked as storage version"));
}

void webhooks(causes& out, const json::value& o) {
  for (std::size_t i = 0; i < o["webhooks"].size(); ++i) {
    auto path = at("webhooks", i);
    auto& w = o["webhooks"][i];
    auto name = w["name"].as_string();
    add_problems(out, path + ".name", name, check_dns1123_subdomain(name));
    if (w["sideEffects"].as_string().empty()) out.push_back(required(path + ".sideEffects"));
    if (w["admissionReviewVersions"].empty()) out.push_back(required(path + ".admissionReviewVersions"));
    const bool url = w["clientConfig"]["url"].is_string(), service = w["clientConfig"]["service"].is_object();
    if (url == service) out.push_back(required(path + ".clientConfig", "exactly one of url or service is required"));
  }
}

}  // namespace

const kind_rules kinds::custom_resource_definitions{.group = "apiextensions.k8s.io", .resource = "customresourcedefinitions", .generation = true, .unconditional_update = false, .validate = custom_resource};
const kind_rules kinds::mutating_webhooks{.group = admission_group, .resource = "mutatingwebhookconfigurations", .generation = true, .unconditional_update = false, .validate = webhooks};
const kind_rules kinds::validating_webhooks{.group = admission_group, .resource = "validatingwebhookconfigurations", .generation = true, .unconditional_update = false, .validate = webhooks};
const kind_rules kinds::validating_policies{.group = admission_group, .resource = "validatingadmissionpolicies", .generation = true, .unconditional_update = false};
const kind_rules kinds::validating_policy_bindings{.group = admission_group, .resource = "validatingadmissionpolicybindings", .generation = true, .unconditional_update = false};
const kind_rules kinds::device_classes{.group = "resource.k8s.io", .resource = "deviceclasses", .generation = true, .answers_deleted_object = true};
const kind_rules kinds::resource_slices{.group = "resource.k8s.io", .resource = "resourceslices", .generation = true, .answers_deleted_object = true};
const kind_rules kinds::api_services{.group = "apiregistration.k8s.io", .resource = "apiservices", .name = check_path_segment};  // "v1."

}  // namespace kedge::api
