#include "api/write/pod_size.h"

#include "api/write/limits.h"

namespace kedge::api {
namespace {

void check_spec(causes& out, const json::value& spec, const json::value& before, std::string_view at) {
  for (auto list : {"containers", "initContainers", "ephemeralContainers"})
    if (auto n = spec[list].size(); n > containers_max && n > before[list].size())
      out.push_back(too_many(std::string(at) + "." + list, n, containers_max));
}

}  // namespace

void check_pod_size(causes& out, const json::value& object, const json::value& before) {
  auto &spec = object["spec"], &old = before["spec"];
  check_spec(out, spec, old, "spec");
  check_spec(out, spec["template"]["spec"], old["template"]["spec"], "spec.template.spec");
  check_spec(out, spec["jobTemplate"]["spec"]["template"]["spec"], old["jobTemplate"]["spec"]["template"]["spec"],
             "spec.jobTemplate.spec.template.spec");
  check_spec(out, object["template"]["spec"], before["template"]["spec"], "template.spec");
}

}  // namespace kedge::api
