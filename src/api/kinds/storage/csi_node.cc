// csi_node.cc: CSINode.
#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>

#include "api/kinds/core/volumes.h"
#include "api/registry/kind_rules.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

void check_driver(causes& out, const json::value& driver, const place& at) {
  constexpr std::size_t id_max = 256;
  check_csi_driver_name(out, driver["name"].as_string(), place(at, "name"));
  need(out, driver, at, "nodeID");
  if (auto id = driver["nodeID"].as_string(); id.size() > id_max)
    out.push_back(invalid_value(place(at, "nodeID"), id, fmt::format("must be {} characters or less", id_max)));
  not_negative(out, driver["allocatable"], place(at, "allocatable"), "count");
}

void check_keys(causes& out, const json::value& keys, const place& at) {
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto key = keys[i].as_string();
    if (key.empty()) out.push_back(required(at));
    if (!seen.insert(key).second) out.push_back(duplicate_value(at, key));
    add_problems(out, at, key, check_qualified_name(key));
  }
}

void validate(causes& out, const json::value& o) {
  auto& drivers = o["spec"]["drivers"];
  const place of_drivers("spec.drivers");
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < drivers.size(); ++i) {
    const place here(of_drivers, i);
    check_driver(out, drivers[i], here);
    if (!names.insert(drivers[i]["name"].as_string()).second)
      out.push_back(duplicate_value(place(here, "name"), drivers[i]["name"]));
    check_keys(out, drivers[i]["topologyKeys"], here);
  }
}

// Only how many volumes a driver can have on the node may change.
void validate_update(causes& out, const json::value& o, const json::value& old) {
  validate(out, o);
  std::unordered_map<std::string_view, json::value> now;
  auto rest = [](json::value driver) {
    driver.erase("allocatable");
    return driver;
  };
  auto &drivers = o["spec"]["drivers"], &before = old["spec"]["drivers"];
  for (std::size_t i = 0; i < drivers.size(); ++i) now.emplace(drivers[i]["name"].as_string(), rest(drivers[i]));
  for (std::size_t i = 0; i < before.size(); ++i) {
    auto same = now.find(before[i]["name"].as_string());
    if (same == now.end() || same->second == rest(before[i])) continue;
    out.push_back(
        invalid_value("spec.drivers", internal_form("storage/v1.CSINodeDriver", same->second), "field is immutable"));
  }
}

}  // namespace

const kind_rules kinds::csi_nodes{.group = "storage.k8s.io",
                                  .resource = "csinodes",
                                  .unconditional_update = false,
                                  .answers_deleted_object = true,
                                  .metadata_stands = true,
                                  .validate = validate,
                                  .validate_update = validate_update};

}  // namespace kedge::api
