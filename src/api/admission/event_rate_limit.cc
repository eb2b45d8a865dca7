#include "api/admission/event_rate_limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "api/admission/plugin.h"

namespace kedge::api {

std::string_view name_of(event_limit::kind k) noexcept {
  switch (k) {
    case event_limit::kind::server: return "Server";
    case event_limit::kind::name_space: return "Namespace";
    case event_limit::kind::user: return "User";
    case event_limit::kind::source_and_object: return "SourceAndObject";
  }
  return "";
}

std::optional<event_keys> keys_of_event(const admission_request& r) {
  if (r.kind != "Event" || !r.who.api_group.empty() || r.dry_run || !r.object) return std::nullopt;
  auto& event = *r.object;
  std::string object;
  for (auto member : {"component", "host"}) object += event["source"][member].as_string();
  for (auto member : {"kind", "namespace", "name", "uid", "apiVersion"})
    object += event["involvedObject"][member].as_string();
  return event_keys{r.who.ns, r.who.user->name, std::move(object)};
}

event_limiter::event_limiter(const std::vector<event_limit>& limits) {
  for (auto& one : limits) limits_.push_back({.by = one});
}

bool event_limiter::limit::take(const std::string& key, time_point now) {
  auto found = by_key.find(key);
  if (found != by_key.end()) {
    newest_first.splice(newest_first.begin(), newest_first, found->second);
  } else {
    newest_first.push_front({key, static_cast<double>(by.burst), now});
    by_key.emplace(key, newest_first.begin());
    if (newest_first.size() > by.buckets) {
      by_key.erase(newest_first.back().key);
      newest_first.pop_back();
    }
  }
  auto& b = newest_first.front();
  const double passed = std::chrono::duration<double>(now - b.at).count();
  b.tokens = std::min(static_cast<double>(by.burst), b.tokens + passed * static_cast<double>(by.per_second));
  b.at = now;
  if (b.tokens < 1) return false;
  b.tokens -= 1;
  return true;
}

std::vector<std::string> event_limiter::take(const event_keys& of, time_point now) {
  std::vector<std::string> out;
  for (auto& one : limits_) {
    const auto key = one.by.of == event_limit::kind::server       ? std::string()
                     : one.by.of == event_limit::kind::name_space ? of.ns
                     : one.by.of == event_limit::kind::user       ? of.user
                                                                  : of.source_and_object;
    if (!one.take(key, now)) out.push_back(fmt::format("limit reached on type {} for key {}", name_of(one.by.of), key));
  }
  return out;
}

}  // namespace kedge::api
