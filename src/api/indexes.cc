#include "api/indexes.h"

#include <string>

#include "store/text.h"

namespace kedge::api {
namespace {

using store::value_visitor;

store::index of_field(std::string_view name, std::string_view prefix, bool with_empty) {
  auto values = [path = name.substr(prefix.size()), with_empty](std::string_view text, const value_visitor& give) {
    std::string buffer;
    auto value = store::string_in(store::member_at(text, path), buffer);
    if (with_empty || !value.empty()) give(value);
  };
  return {std::string(name), std::string(prefix), values};
}

void owners(std::string_view text, const value_visitor& give) {
  // Most objects have none, and a search for the word costs a tenth of the way through metadata.
  if (text.find("\"ownerReferences\":[") == std::string_view::npos) return;
  store::each_element(store::member_at(text, "metadata.ownerReferences"), [&](std::string_view reference) {
    std::string buffer;
    if (auto uid = store::string_in(store::member_at(reference, "uid"), buffer); !uid.empty()) give(uid);
    return true;
  });
}

}  // namespace

std::vector<store::index> builtin_indexes() {
  return {
      of_field(pods_by_node, "/registry/pods/", true),
      of_field(events_by_object, "/registry/events/", false),
      of_field(resource_slices_by_node, "/registry/resourceslices/", false),
      {std::string(objects_by_owner), "/registry/", &owners},
  };
}

}  // namespace kedge::api
