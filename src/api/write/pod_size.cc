#include "api/write/pod_size.h"

#include "api/write/limits.h"

namespace kedge::api {
namespace {

void check_spec(causes& out, const json::value& spec, std::string_view at) {
  for (auto list : {"containers", "initContainers", "ephemeralContainers"})
    if (auto n = spec[list].size(); n > containers_max)
      out.push_back(too_many(std::string(at) + "." + list, n, containers_max));
}

}  // namespace

void check_pod_size(causes& out, const json::value& object) {
  auto& spec = object["spec"];
  check_spec(out, spec, "spec");
  check_spec(out, spec["template"]["spec"], "spec.template.spec");
  check_spec(out, spec["jobTemplate"]["spec"]["template"]["spec"], "spec.jobTemplate.spec.template.spec");
  check_spec(out, object["template"]["spec"], "template.spec");
}

}  // namespace kedge::api
