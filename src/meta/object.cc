#include "meta/object.h"

namespace kedge::api {

std::string_view name_of(const json::value& object) noexcept { return object["metadata"]["name"].as_string(); }
std::string_view namespace_of(const json::value& object) noexcept {
  return object["metadata"]["namespace"].as_string();
}
std::string_view uid_of(const json::value& object) noexcept { return object["metadata"]["uid"].as_string(); }
std::string_view annotation_of(const json::value& object, std::string_view name) noexcept {
  return object["metadata"]["annotations"][name].as_string();
}
bool has_annotation(const json::value& object, std::string_view name) noexcept {
  return object["metadata"]["annotations"].find(name) != nullptr;
}

std::vector<std::string> string_list(const json::value& array) {
  std::vector<std::string> out;
  if (auto items = array.array()) {
    out.reserve(items->size());
    for (auto& item : *items) out.emplace_back(item.as_string());
  }
  return out;
}

}  // namespace kedge::api
