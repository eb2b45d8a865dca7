#include "api/kinds/core/pod_resources.h"

#include <algorithm>

#include "api/kinds/core/resources.h"

namespace kedge::api {
namespace {

bool may_be_the_pods(std::string_view resource) {
  return resource == "cpu" || resource == "memory" || is_huge_page(resource);
}

// Whether each container has a limit of the resource.
bool all_limited(const json::value& spec, std::string_view resource) {
  for (auto list : {"initContainers", "containers", "ephemeralContainers"})
    for (std::size_t i = 0; i < spec[list].size(); ++i)
      if (!spec[list][i]["resources"]["limits"].find(resource)) return false;
  return true;
}

}  // namespace

pod::amounts amounts_of_containers(const json::value& spec, std::string_view which) {
  json::object containers{{"containers", spec["containers"]}, {"initContainers", spec["initContainers"]}};
  return pod::amounts_of_pod(json::object{{"spec", std::move(containers)}}, which);
}

bool has_pod_resources(const json::value& spec) {
  return !spec["resources"]["requests"].empty() || !spec["resources"]["limits"].empty();
}

void default_pod_resources(json::value& spec) {
  if (!has_pod_resources(spec)) return;
  auto& own = spec.member("resources");
  const auto limits = amounts_of_containers(spec, "limits"), requests = amounts_of_containers(spec, "requests");
  for (auto& [name, q] : limits)
    if (is_huge_page(name) && !own["requests"].find(name) && !own["limits"].find(name))
      own.member("limits").set(name, q.text());
  for (auto& [name, q] : requests)
    if (may_be_the_pods(name) && may_overcommit(name) && !own["requests"].find(name))
      own.member("requests").set(name, q.text());
  if (const auto given = own["limits"]; auto list = given.object())
    for (auto& m : *list)
      if (may_be_the_pods(m.name) && !own["requests"].find(m.name)) own.member("requests").set(m.name, m.value);
  // A limit, where each container has one; of no less than what is asked for.
  if (const auto given = own["requests"]; auto list = given.object())
    for (auto& m : *list) {
      if (!may_be_the_pods(m.name) || own["limits"].find(m.name) || !all_limited(spec, m.name)) continue;
      auto sum = limits.find(m.name);
      if (sum != limits.end()) own.member("limits").set(m.name, std::max(sum->second, pod::amount_of(m.value)).text());
    }
}

}  // namespace kedge::api
