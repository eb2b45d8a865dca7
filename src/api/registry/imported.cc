#include "api/registry/imported.h"

#include "api/registry/kind_rules.h"
#include "api/registry/registry.h"
#include "api/registry/stored.h"
#include "schema/resources.h"

namespace kedge::api {

result<std::string> imported_text(std::string_view key, json::value object) {
  auto* kind = schema::find_resource_of_kind(object["apiVersion"].as_string(), object["kind"].as_string());
  auto* served = kind ? builtin_registry().find(kind->group(), kind->version(), kind->plural()) : nullptr;
  if (!served) return fail(errc::unsupported, std::string(key) + " is of a kind that is not served");
  apply_defaults(*served->stored, object);
  if (served->rules->convert) served->rules->convert(object);
  return stored_text(*served, object);
}

}  // namespace kedge::api
