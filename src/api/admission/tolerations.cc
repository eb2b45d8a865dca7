// tolerations.cc: pods stay five minutes on a node that went silent, unless they say otherwise.
#include "api/admission/plugin.h"

namespace kedge::api {
namespace {

// kube-apiserver's --default-not-ready-toleration-seconds and --default-unreachable-toleration-seconds.
constexpr int toleration_seconds = 300;

bool tolerated(const json::value& spec, std::string_view key) {
  if (auto all = spec["tolerations"].array())
    for (auto& t : *all) {
      auto its_key = t["key"].as_string();
      auto effect = t["effect"].as_string();
      if ((its_key.empty() || its_key == key) && (effect.empty() || effect == "NoExecute")) return true;
    }
  return false;
}

api_result<void> admit(admission_request& r, plugin_context&) {
  if (!concerns(r, "", "pods") || !r.object || (r.what != operation::create && r.what != operation::update)) return {};
  auto& spec = r.object->member("spec");
  bool ready_missing = !tolerated(spec, "node.kubernetes.io/not-ready");
  bool reach_missing = !tolerated(spec, "node.kubernetes.io/unreachable");
  auto add = [&](std::string_view key) {
    spec.member("tolerations")
        .push_back(json::object{{"key", json::value(key)},
                                {"operator", "Exists"},
                                {"effect", "NoExecute"},
                                {"tolerationSeconds", toleration_seconds}});
  };
  if (ready_missing) add("node.kubernetes.io/not-ready");
  if (reach_missing) add("node.kubernetes.io/unreachable");
  return {};
}

}  // namespace

const plugin plugins::default_toleration_seconds{
    .name = "DefaultTolerationSeconds", .operations = on_create | on_update, .mutate = admit};

}  // namespace kedge::api
