#include "api/kinds/networking/references.h"

namespace kedge::api {

void check_needed_segment(causes& out, const json::value& parent, const place& at, std::string_view member) {
  if (need(out, parent, at, member))
    add_problems(out, place(at, member), parent[member], check_path_segment(parent[member].as_string()));
}

void check_typed_reference(causes& out, const json::value& reference, const place& at) {
  if (auto& group = reference["apiGroup"]; group.is_string())
    add_problems(out, place(at, "apiGroup"), group, check_dns1123_subdomain(group.as_string()));
  check_needed_segment(out, reference, at, "kind");
  check_needed_segment(out, reference, at, "name");
}

}  // namespace kedge::api
