#include "api/write/traced.h"

#include <fmt/format.h>

namespace kedge::api {
namespace {

constexpr std::string_view registry_prefix = "/registry";

// The type in Go that is kept: *core.Pod.
std::string type_name(const served& s) {
  if (s.custom) return "*unstructured.Unstructured";
  const bool core = s.group.empty() || s.group == "events.k8s.io";
  return fmt::format("*{}.{}", core ? "core" : s.group.substr(0, s.group.find('.')), s.stored->kind);
}

}  // namespace

tracing::live_span storage_span(const call& c, std::string_view name, std::string_view key) {
  auto out = tracing::child_of(c.span, name);
  if (!out.told()) return out;
  auto& s = c.to.what();
  if (key.starts_with(registry_prefix)) key.remove_prefix(registry_prefix.size());
  out.add_all(
      {{"audit-id", c.audit_id}, {"key", key}, {"type", type_name(s)}, {"group", s.group}, {"resource", s.resource}});
  return out;
}

}  // namespace kedge::api
