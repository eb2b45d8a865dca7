// config_map.cc: ConfigMap.
#include "api/kinds/core/data_size.h"
#include "api/kinds/limits.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void check_keys(causes& out, const json::value& map, const place& at) {
  if (auto o = map.object())
    for (auto& m : *o) add_problems(out, place::of_key(at, m.name), m.name, check_config_map_key(m.name));
}

void validate(causes& out, const json::value& o) {
  auto &data = o["data"], &binary = o["binaryData"];
  const place of_data("data"), of_binary("binaryData");
  if (auto map = data.object())
    for (auto& m : *map) {
      const place here = place::of_key(of_data, m.name);
      add_problems(out, here, m.name, check_config_map_key(m.name));
      if (binary.find(m.name)) out.push_back(invalid_value(here, m.name, "duplicate of key present in binaryData"));
    }
  check_keys(out, binary, of_binary);
  if (text_bytes(data) + decoded_bytes(binary) > data_max_bytes) out.push_back(too_long("[]", data_max_bytes));
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  if (old["immutable"].as_bool()) {
    if (!o["immutable"].as_bool())
      out.push_back(forbidden_value("immutable", "field is immutable when `immutable` is set"));
    for (auto part : {"data", "binaryData"})
      if (!(o[part] == old[part])) out.push_back(forbidden_value(part, "field is immutable when `immutable` is set"));
  }
  validate(out, o);
}

}  // namespace

const kind_rules kinds::config_maps{
    .group = "", .resource = "configmaps", .validate = validate, .validate_update = validate_update};

}  // namespace kedge::api
