// csi_driver.cc: CSIDriver.
#include <unordered_set>

#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

constexpr std::string_view token_text =
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible "
    "logging of tokens in volume attributes";

void check_tokens(causes& out, const json::value& requests, const place& at) {
  constexpr std::int64_t least_seconds = 600, most_seconds = std::int64_t{1} << 32;
  std::unordered_set<std::string_view> audiences;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const place here(at, i);
    auto audience = requests[i]["audience"].as_string();
    if (!audiences.insert(audience).second) {
      out.push_back(duplicate_value(place(here, "audience"), audience));
      continue;
    }
    auto& seconds = requests[i]["expirationSeconds"];
    if (seconds.is_null()) continue;
    if (seconds.as_integer() < least_seconds)
      out.push_back(
          invalid_value(place(here, "expirationSeconds"), seconds, "may not specify a duration less than 10 minutes"));
    if (seconds.as_integer() > most_seconds)
      out.push_back(invalid_value(place(here, "expirationSeconds"), seconds,
                                  "may not specify a duration larger than 2^32 seconds"));
  }
}

void validate(causes& out, const json::value& o) {
  constexpr std::int64_t least_seconds = 10;
  auto& spec = o["spec"];
  const place at("spec");
  one_of(out, spec, at, "fsGroupPolicy", {"File", "None", "ReadWriteOnceWithFSType"});
  check_tokens(out, spec["tokenRequests"], place(at, "tokenRequests"));
  auto& modes = spec["volumeLifecycleModes"];
  for (std::size_t i = 0; i < modes.size(); ++i)
    if (auto mode = modes[i].as_string(); mode != "Persistent" && mode != "Ephemeral")
      out.push_back(not_supported(place(at, "volumeLifecycleModes"), mode, {"Persistent", "Ephemeral"}));
  if (auto& seconds = spec["nodeAllocatableUpdatePeriodSeconds"];
      !seconds.is_null() && seconds.as_integer() < least_seconds)
    out.push_back(invalid_value(place(at, "nodeAllocatableUpdatePeriodSeconds"), seconds,
                                "must be greater than or equal to 10 seconds"));
  if (auto& in_secrets = spec["serviceAccountTokenInSecrets"]; !in_secrets.is_null() && spec["tokenRequests"].empty())
    out.push_back(invalid_value(place(at, "serviceAccountTokenInSecrets"), in_secrets,
                                "serviceAccountTokenInSecrets is set but no tokenRequests are specified"));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  immutable(out, o["spec"]["attachRequired"], old["spec"]["attachRequired"], "spec.attachedRequired");
  immutable(out, o["spec"]["volumeLifecycleModes"], old["spec"]["volumeLifecycleModes"], "spec.volumeLifecycleModes");
}

// Changes are counted, but from none.
void prepare_update(json::value& o, const json::value& old, const kind_context&) {
  if (!(o["spec"] == old["spec"]))
    o.member("metadata").set("generation", old["metadata"]["generation"].as_integer() + 1);
}

void warn(warnings& out, const json::value& o, const json::value* old) {
  auto& requests = o["spec"]["tokenRequests"];
  if (requests.empty() || !o["spec"]["serviceAccountTokenInSecrets"].is_null()) return;
  if (!old || !((*old)["spec"]["tokenRequests"] == requests)) out.emplace_back(token_text);
}

}  // namespace

const kind_rules kinds::csi_drivers{.group = "storage.k8s.io",
                                    .resource = "csidrivers",
                                    .unconditional_update = false,
                                    .answers_deleted_object = true,
                                    .prepare_update = prepare_update,
                                    .validate = validate,
                                    .validate_update = validate_update,
                                    .warn = warn};

}  // namespace kedge::api
