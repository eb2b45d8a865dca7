#include "api/registry/field_text.h"

#include "store/text.h"

namespace kedge::api {

std::string_view field_text(std::string_view object, std::string_view path, std::string& buffer) {
  auto found = store::member_at(object, path);
  if (found.empty() || found == "null" || found[0] == '{' || found[0] == '[') return {};
  return store::string_in(found, buffer);
}

}  // namespace kedge::api
