// runtime_class.cc: a pod's runtime class says what it costs beside its containers, and where it can run.
#include <algorithm>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"

namespace kedge::api {
namespace {

constexpr std::string_view rejected = "pod rejected: ";

api_result<void> set_overhead(admission_request& r, const json::value& runtime_class) {
  auto& fixed = runtime_class["overhead"]["podFixed"];
  if (fixed.empty()) return {};
  auto& spec = r.object->member("spec");
  if (!spec["overhead"].empty() && spec["overhead"] != fixed)
    return fail(refused(r, std::string(rejected) + "Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
  spec.set("overhead", fixed);
  return {};
}

api_result<void> set_scheduling(admission_request& r, const json::value& runtime_class) {
  auto& spec = r.object->member("spec");
  if (auto wanted = runtime_class["scheduling"]["nodeSelector"].object(); wanted && !wanted->empty()) {
    auto& selector = spec.member("nodeSelector").make_object();
    for (auto& [key, value] : *wanted) {
      auto standing = selector.find(key);
      if (standing && *standing != value)
        return fail(refused(r, std::string(rejected) + "conflict: runtimeClass.scheduling.nodeSelector[" + key +
                                   "] = " + std::string(value.as_string()) + "; pod.spec.nodeSelector[" + key +
                                   "] = " + std::string(standing->as_string())));
      selector.set(key, value);
    }
  }
  auto& wanted = runtime_class["scheduling"]["tolerations"];
  if (wanted.empty()) return {};
  json::array missing;
  {
    json::value_set standing(spec["tolerations"]);
    for (auto& toleration : *wanted.array())
      if (standing.insert(toleration)) missing.push_back(toleration);
  }
  auto& all = spec.member("tolerations").make_array();
  all.insert(all.end(), std::make_move_iterator(missing.begin()), std::make_move_iterator(missing.end()));
  return {};
}

api_result<void> admit(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "pods") || r.what != operation::create || !r.object) return {};
  auto& asked = (*r.object)["spec"]["runtimeClassName"];
  if (asked.is_null()) return {};
  auto name = std::string(asked.as_string());
  if (name.empty()) {
    auto refused = internal_error("");
    refused.reason.clear();
    refused.causes.clear();
    refused.message = "resource name may not be empty";
    return fail(std::move(refused));
  }
  auto found = read_object(c.cluster, object_key("runtimeclasses", {}, name));
  if (!found) return fail(refused(r, std::string(rejected) + "RuntimeClass \"" + name + "\" not found"));
  if (auto done = set_overhead(r, *found); !done) return done;
  return set_scheduling(r, *found);
}

api_result<void> check(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "pods") || r.what != operation::create || !r.object) return {};
  auto& spec = (*r.object)["spec"];
  if (spec["overhead"].is_null()) return {};
  auto name = spec["runtimeClassName"].as_string();
  auto found = name.empty() ? std::nullopt : read_object(c.cluster, object_key("runtimeclasses", {}, name));
  if (!found || (*found)["overhead"]["podFixed"].empty())
    return fail(
        refused(r, std::string(rejected) + "Pod Overhead set without corresponding RuntimeClass defined Overhead"));
  return {};
}

}  // namespace

const plugin plugins::runtime_class{
    .name = "RuntimeClass", .operations = on_create, .mutate = admit, .validate = check};

}  // namespace kedge::api
