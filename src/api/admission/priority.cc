// priority.cc: priorityClassName becomes the number that the scheduler compares.
#include <limits>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"

namespace kedge::api {
namespace {

struct chosen {
  std::string name;
  std::int64_t value = 0;
  std::string preemption = "PreemptLowerPriority";
};

chosen from_class(const json::value& priority_class) {
  auto policy = priority_class["preemptionPolicy"].as_string("PreemptLowerPriority");
  return {std::string(name_of(priority_class)), priority_class["value"].as_integer(), std::string(policy)};
}

// Of several default classes (made at the same time on two servers) the least counts, as with kube-apiserver.
chosen default_class(const store::snapshot& cluster) {
  chosen out;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  each_object(cluster, directory_prefix("priorityclasses"), [&](json::value& c) {
    if (c["globalDefault"].as_bool() && c["value"].as_integer() < least) {
      least = c["value"].as_integer();
      out = from_class(c);
    }
    return true;
  });
  return out;
}

api_result<void> admit_new_pod(admission_request& r, plugin_context& c) {
  auto& spec = r.object->member("spec");
  chosen class_of_pod;
  auto name = spec["priorityClassName"].as_string();
  if (name.empty()) {
    class_of_pod = default_class(c.cluster);
    if (!class_of_pod.name.empty()) spec.set("priorityClassName", class_of_pod.name);
  } else {
    auto found = read_object(c.cluster, object_key("priorityclasses", {}, name));
    if (!found) return fail(refused(r, "no PriorityClass with name " + std::string(name) + " was found"));
    class_of_pod = from_class(*found);
  }
  if (auto given = spec.find("priority"); given && given->is_integer() && given->as_integer() != class_of_pod.value)
    return fail(refused(r, "the integer value of priority (" + std::to_string(given->as_integer()) +
                               ") must not be provided in pod spec; priority admission controller computed " +
                               std::to_string(class_of_pod.value) + " from the given PriorityClass name"));
  if (auto given = spec["preemptionPolicy"].as_string(); !given.empty() && given != class_of_pod.preemption)
    return fail(refused(r, "the string value of PreemptionPolicy (" + std::string(given) +
                               ") must not be provided in pod spec; priority admission controller computed " +
                               class_of_pod.preemption + " from the given PriorityClass name"));
  spec.set("priority", class_of_pod.value);
  spec.set("preemptionPolicy", class_of_pod.preemption);
  return {};
}

api_result<void> admit(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "pods") || !r.object) return {};
  if (r.what == operation::create) return admit_new_pod(r, c);
  if (r.what != operation::update || !r.old) return {};
  // Clients that don't know these fields would drop them.
  auto& spec = r.object->member("spec");
  for (auto field : {"priority", "preemptionPolicy"})
    if (auto& before = (*r.old)["spec"][field]; !before.is_null() && spec[field].is_null()) spec.set(field, before);
  return {};
}

api_result<void> check(admission_request& r, plugin_context& c) {
  if (!concerns(r, "scheduling.k8s.io", "priorityclasses") || !r.object || !(*r.object)["globalDefault"].as_bool())
    return {};
  if (r.what != operation::create && r.what != operation::update) return {};
  std::string other;
  each_object(c.cluster, directory_prefix("priorityclasses"), [&](json::value& p) {
    if (p["globalDefault"].as_bool() && name_of(p) != name_of(*r.object)) other = name_of(p);
    return other.empty();
  });
  if (other.empty()) return {};
  return fail(refused(r, "PriorityClass " + other + " is already marked as default. Only one default can exist"));
}

}  // namespace

const plugin plugins::priority{
    .name = "Priority", .operations = on_create | on_update, .mutate = admit, .validate = check};

}  // namespace kedge::api
