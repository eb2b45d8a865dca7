// extension.cc: what extends the API itself, and devices. Their content is checked by the schema; here stand their traits.
#include <fmt/format.h>

#include <algorithm>

#include "api/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::string_view admission_group = "admissionregistration.k8s.io";

void webhooks(causes& out, const json::value& o) {
  for (std::size_t i = 0; i < o["webhooks"].size(); ++i) {
    auto path = at("webhooks", i);
    auto& w = o["webhooks"][i];
    auto name = w["name"].as_string();
    add_problems(out, path + ".name", name, check_dns1123_subdomain(name));
    if (std::count(name.begin(), name.end(), '.') < 2) out.push_back(invalid_value(path + ".name", name, "should be a domain with at least three segments separated by dots"));
    if (w["sideEffects"].as_string().empty()) out.push_back(required(path + ".sideEffects"));
    if (w["admissionReviewVersions"].empty()) out.push_back(required(path + ".admissionReviewVersions"));
    const bool url = w["clientConfig"]["url"].is_string(), service = w["clientConfig"]["service"].is_object();
    if (url == service) out.push_back(required(path + ".clientConfig", "exactly one of url or service is required"));
  }
}

// A node writes its slices: for whom they are is said once.
void slice_update(causes& out, const json::value& o, const json::value& old) {
  immutable(out, o["spec"]["pool"]["name"], old["spec"]["pool"]["name"], "spec.pool.name");
  immutable(out, o["spec"]["driver"], old["spec"]["driver"], "spec.driver");
  immutable(out, o["spec"]["nodeName"], old["spec"]["nodeName"], "spec.nodeName");
}

}  // namespace

const kind_rules kinds::mutating_webhooks{.group = admission_group, .resource = "mutatingwebhookconfigurations", .generation = true, .unconditional_update = false, .validate = webhooks};
const kind_rules kinds::validating_webhooks{.group = admission_group, .resource = "validatingwebhookconfigurations", .generation = true, .unconditional_update = false, .validate = webhooks};
const kind_rules kinds::validating_policies{.group = admission_group, .resource = "validatingadmissionpolicies", .generation = true, .unconditional_update = false};
const kind_rules kinds::validating_policy_bindings{.group = admission_group, .resource = "validatingadmissionpolicybindings", .generation = true, .unconditional_update = false};
const kind_rules kinds::device_classes{.group = "resource.k8s.io", .resource = "deviceclasses", .generation = true, .answers_deleted_object = true};
const kind_rules kinds::resource_slices{.group = "resource.k8s.io", .resource = "resourceslices", .generation = true, .answers_deleted_object = true, .validate_update = slice_update};
const kind_rules kinds::api_services{.group = "apiregistration.k8s.io", .resource = "apiservices", .name = check_path_segment};  // "v1."

}  // namespace kedge::api
