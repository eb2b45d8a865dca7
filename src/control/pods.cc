#include "control/pods.h"

#include "control/resources.h"
#include "store/text.h"

namespace kedge::control {

void each_pod_on(const view& cluster, std::string_view node, const std::function<bool(const json::value&)>& visit) {
  cluster.cluster().scan(api::pods_by_node, node, cluster.prefix(pods), {}, [&](const store::object_ref& o) {
    auto pod = value_of(o);
    return !pod || visit(*pod);
  });
}

std::string text_at(const store::object& o, std::string_view path) {
  std::string buffer;
  return std::string(store::string_in(store::member_at(o.bytes(), path), buffer));
}

std::optional<change> disruption_target(const json::value& pod, std::string reason, std::string message,
                                        const moment& now) {
  auto& has = condition_of(pod, "DisruptionTarget");
  if (has["status"].as_string() == "True" && has["reason"].as_string() == reason &&
      has["message"].as_string() == message)
    return std::nullopt;
  auto next = pod;
  condition c{"DisruptionTarget", "True", std::move(reason), std::move(message)};
  if (auto& generation = pod["metadata"]["generation"]; generation.is_integer())
    c.observed_generation = generation.as_integer();
  set_condition(next, c, now.wall);
  return update_of(pods, std::move(next), "status");
}

}  // namespace kedge::control
