#include "node/pods/object_cache.h"

#include <utility>

#include "node/limits.h"

namespace kedge::node {

const std::optional<json::value>* object_cache::find(std::string_view path, time_point since, time_point now) const {
  auto known = answers_.find(path);
  if (known == answers_.end() || known->second.asked < since || now - known->second.asked >= object_age_max)
    return nullptr;
  return &known->second.object;
}

void object_cache::keep(std::string path, std::optional<json::value> object, time_point asked, time_point now) {
  std::erase_if(answers_, [&](auto& one) { return now - one.second.asked >= object_age_max; });
  if (answers_.size() >= objects_kept_max && !answers_.contains(path)) return;
  // Answers may overtake each other.
  auto& kept = answers_[std::move(path)];
  if (asked >= kept.asked) kept = {.object = std::move(object), .asked = asked};
}

}  // namespace kedge::node
