// api_service.cc: APIService.
#include <fmt/format.h>

#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "base/time.h"

namespace kedge::api {
namespace {

constexpr std::int64_t group_priority_max = 20'000, version_priority_max = 1'000;

void check_local(causes& out, const json::value& spec, const place& at) {
  if (auto size = unbase64(spec["caBundle"].as_string()).value_or(std::string()).size(); size > 0)
    out.push_back(invalid_value(place(at, "caBundle"), fmt::format("{} bytes", size),
                                "local APIServices may not have a caBundle"));
  if (spec["insecureSkipTLSVerify"].as_bool())
    out.push_back(invalid_value(place(at, "insecureSkipTLSVerify"), true,
                                "local APIServices may not have insecureSkipTLSVerify"));
}

// What the server serves itself is there as soon as it is told.
void prepare_create(json::value& o, const kind_context& c) {
  if (o["spec"]["service"].is_object()) return;
  o.member("status").set("conditions",
                         json::array{json::object{{"type", "Available"},
                                                  {"status", "True"},
                                                  {"lastTransitionTime", format_rfc3339(c.now)},
                                                  {"reason", "Local"},
                                                  {"message", "Local APIServices are always available"}}});
}

void validate(causes& out, const json::value& o) {
  auto& spec = o["spec"];
  auto &name = o["metadata"]["name"], &service = spec["service"];
  auto group = spec["group"].as_string(), version = spec["version"].as_string();
  const place at("spec"), of_service(at, "service");
  if (auto wanted = fmt::format("{}.{}", version, group);
      name.as_string() != wanted && check_path_segment(name.as_string()).empty())
    out.push_back(invalid_value("metadata.name", name,
                                fmt::format("must be `spec.version+\".\"+spec.group`: {}", quote(wanted))));
  if (group.empty() && version != "v1")
    out.push_back(required(place(at, "group"), "only v1 may have an empty group and it better be legacy kube"));
  if (!group.empty()) add_problems(out, place(at, "group"), group, check_dns1123_subdomain(group));
  add_problems(out, place(at, "version"), version, check_dns1035_label(version));
  if (auto n = spec["groupPriorityMinimum"].as_integer(); n <= 0 || n > group_priority_max)
    out.push_back(invalid_value(place(at, "groupPriorityMinimum"), n, "must be positive and less than 20000"));
  if (auto n = spec["versionPriority"].as_integer(); n <= 0 || n > version_priority_max)
    out.push_back(invalid_value(place(at, "versionPriority"), n, "must be positive and less than 1000"));
  if (!service.is_object()) return check_local(out, spec, at);
  need(out, service, of_service, "namespace");
  need(out, service, of_service, "name");
  auto port = service["port"].as_integer();
  if (auto wrong = check_port_number(port); !wrong.empty())
    out.push_back(invalid_value(place(of_service, "port"), port, "port is not valid: " + join(wrong, ", ")));
  if (spec["insecureSkipTLSVerify"].as_bool() && !spec["caBundle"].as_string().empty())
    out.push_back(invalid_value(place(at, "insecureSkipTLSVerify"), true, "may not be true if caBundle is present"));
}

void validate_part(causes& out, const json::value& o, const json::value&, std::string_view) {
  const place at("status.conditions");
  auto& conditions = o["status"]["conditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    if (auto status = conditions[i]["status"].as_string();
        status != "True" && status != "False" && status != "Unknown") {
      const place here(at, i);
      out.push_back(not_supported(place(here, "status"), status, {"True", "False", "Unknown"}));
    }
}

}  // namespace

// "v1.": a path may have such a name.
const kind_rules kinds::api_services{.group = "apiregistration.k8s.io",
                                     .resource = "apiservices",
                                     .name = check_path_segment,
                                     .unconditional_update = false,
                                     .metadata_stands = true,
                                     .prepare_create = prepare_create,
                                     .validate = validate,
                                     .validate_part = validate_part};

}  // namespace kedge::api
