#include "api/write/metadata.h"

#include <fmt/format.h>

#include <unordered_set>

#include "base/strings.h"
#include "json/write.h"

namespace kedge::api {

void keep_system_metadata(json::value& now, const json::value& before) {
  auto& m = now.member("metadata");
  auto& old = before["metadata"];
  auto keep = [&](std::string_view name) {
    if (auto v = old.find(name))
      m.set(name, *v);
    else
      m.erase(name);
  };
  for (auto name : {"creationTimestamp", "generation"}) keep(name);
  if (m["uid"].as_string().empty()) keep("uid");
  if (old.find("deletionTimestamp")) keep("deletionTimestamp");
  if (!m.find("deletionGracePeriodSeconds")) keep("deletionGracePeriodSeconds");
  m.erase("selfLink");
}

void keep_metadata(json::value& now, const json::value& before) {
  auto& m = now.member("metadata");
  for (auto name : {"labels", "annotations", "finalizers", "ownerReferences"})
    if (auto v = before["metadata"].find(name))
      m.set(name, *v);
    else
      m.erase(name);
}

void drop_repeated_owners(json::value& object, std::vector<std::string>& warnings, bool changed_by_admission) {
  auto list = object["metadata"]["ownerReferences"].array();
  if (!list || list->size() < 2) return;
  std::unordered_set<std::string> seen;
  std::vector<std::string> repeated;
  json::array kept;
  for (auto& owner : *list) {
    if (seen.insert(json::write(owner)).second)
      kept.push_back(owner);
    else
      repeated.emplace_back(owner["uid"].as_string());
  }
  if (repeated.empty()) return;
  object.member("metadata").set("ownerReferences", std::move(kept));
  warnings.push_back(
      fmt::format(".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in "
                  "1.20+, and may reject such "
                  "requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
                  changed_by_admission ? " after mutating admission happens" : "", join(repeated, ", ")));
}

}  // namespace kedge::api
