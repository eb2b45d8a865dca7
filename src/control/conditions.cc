#include "control/conditions.h"

namespace kedge::control {

const json::value& condition_of(const json::value& object, std::string_view type) noexcept {
  static const json::value none;
  auto& list = object["status"]["conditions"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["type"].as_string() == type) return list[i];
  return none;
}

std::string_view condition_status(const json::value& object, std::string_view type) noexcept {
  return condition_of(object, type)["status"].as_string();
}

bool set_condition(json::value& object, const condition& c, wall_time now) {
  auto& list = object.member("status").member("conditions").make_array();
  json::value* at = nullptr;
  for (auto& existing : list)
    if (existing["type"].as_string() == c.type) at = &existing;
  bool fresh = !at;
  if (fresh) {
    list.push_back(json::object{{"type", c.type}});
    at = &list.back();
  }
  auto before = *at;
  if (fresh || before["status"].as_string() != c.status) at->set("lastTransitionTime", format_rfc3339(now));
  at->set("status", c.status);
  auto set = [&](const char* name, const std::string& text) {
    if (text.empty())
      at->erase(name);
    else
      at->set(name, text);
  };
  set("reason", c.reason);
  set("message", c.message);
  if (c.keeps_empty) at->set("reason", c.reason), at->set("message", c.message);
  if (c.observed_generation) at->set("observedGeneration", *c.observed_generation);
  return fresh || !(*at == before);
}

}  // namespace kedge::control
