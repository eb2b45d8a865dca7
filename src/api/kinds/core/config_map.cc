// config_map.cc: ConfigMap.
#include "api/kind_rules.h"
#include "api/limits.h"

namespace kedge::api {
namespace {

void validate(causes& out, const json::value& o) {
  std::size_t total = 0;
  for (auto part : {"data", "binaryData"}) {
    auto map = o[part].object();
    if (!map) continue;
    for (auto& m : *map) {
      add_problems(out, at_key(part, m.name), m.name, check_config_map_key(m.name));
      if (std::string_view(part) == "binaryData") {
        if (o["data"].find(m.name)) out.push_back(invalid_value(at_key("data", m.name), m.name, "duplicate of key present in binaryData"));
        total += m.value.as_string().size() / 4 * 3;
      } else {
        total += m.value.as_string().size();
      }
    }
  }
  if (total > data_max_bytes) out.push_back(too_long("[]", data_max_bytes));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  if (!old["immutable"].as_bool()) return;
  if (!o["immutable"].as_bool()) out.push_back(forbidden_value("immutable", "field is immutable when `immutable` is set"));
  for (auto part : {"data", "binaryData"})
    if (!(o[part] == old[part])) out.push_back(forbidden_value(part, "field is immutable when `immutable` is set"));
}

}  // namespace

const kind_rules kinds::config_maps{.group = "", .resource = "configmaps", .validate = validate, .validate_update = validate_update};

}  // namespace kedge::api
