// resource_slice.cc: ResourceSlice: what devices a driver offers, and on which nodes.
#include <fmt/format.h>
#include <re2/re2.h>

#include <set>

#include "api/kinds/core/affinity.h"
#include "api/kinds/core/volumes.h"
#include "api/kinds/devices/capacity_policy.h"
#include "api/kinds/devices/names.h"
#include "api/registry/kind_rules.h"
#include "base/strings.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::size_t devices_max = 128, advanced_devices_max = 64, counter_sets_max = 8, counters_max = 32,
                      consumptions_max = 2, values_max = 32, text_max = 64, map_key_max = 63 + 1 + 32;

// "`nodeName`, `allNodes`": which of several members that exclude each other are set.
struct choice {
  std::vector<std::string> set;
  std::string text() const { return fmt::format("{{{}}}", join(set, ", ")); }
  void add(std::string_view member) { set.push_back(fmt::format("`{}`", member)); }
};

void check_true(causes& out, const json::value& parent, const place& at, std::string_view member, choice& chosen) {
  auto& v = parent[member];
  if (!v.is_bool()) return;
  if (v.as_bool())
    chosen.add(member);
  else
    out.push_back(invalid_value(place(at, member), false, "must be either unset or set to true"));
}

void check_node_name(causes& out, const json::value& name, const place& at, std::string_view when_empty,
                     choice& chosen) {
  if (!name.is_string()) return;
  if (name.as_string().empty()) return out.push_back(invalid_value(at, "", when_empty));
  chosen.add("nodeName");
  add_problems(out, at, name, check_dns1123_subdomain(name.as_string()));
}

void check_nodes(causes& out, const json::value& spec, const place& at) {
  constexpr std::string_view one =
      "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
  choice chosen;
  check_node_name(out, spec["nodeName"], place(at, "nodeName"), "must be either unset or set to a non-empty string",
                  chosen);
  if (auto& selector = spec["nodeSelector"]; selector.is_object()) {
    const place here(at, "nodeSelector");
    chosen.add("nodeSelector");
    check_node_selector(out, selector, here, false);
    if (selector["nodeSelectorTerms"].size() != 1)
      out.push_back(invalid_value(place(here, "nodeSelectorTerms"),
                                  internal_form("core/v1.NodeSelector", selector)["NodeSelectorTerms"],
                                  "must have exactly one node selector term"));
  }
  check_true(out, spec, at, "allNodes", chosen);
  check_true(out, spec, at, "perDeviceNodeSelection", chosen);
  if (chosen.set.empty()) out.push_back(required(at, one));
  if (chosen.set.size() > 1)
    out.push_back(invalid_value(at, chosen.text(), fmt::format("{}, but multiple fields are set", one)));
}

void check_nodes_of_device(causes& out, const json::value& d, bool per_device, const place& at) {
  constexpr std::string_view one =
      "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to "
      "true in the ResourceSlice spec";
  if (!per_device) {
    if (!d["nodeName"].is_null() || !d["nodeSelector"].is_null() || !d["allNodes"].is_null())
      out.push_back(invalid_value(at, nullptr,
                                  "`nodeName`, `nodeSelector` and `allNodes` can only be set if "
                                  "`perDeviceNodeSelection` is set to true in the ResourceSlice spec"));
    return;
  }
  choice chosen;
  check_node_name(out, d["nodeName"], place(at, "nodeName"), "must not be empty", chosen);
  if (d["nodeSelector"].is_object()) {
    chosen.add("nodeSelector");
    check_node_selector(out, d["nodeSelector"], place(at, "nodeSelector"), false);
  }
  check_true(out, d, at, "allNodes", chosen);
  if (chosen.set.empty()) out.push_back(required(at, one));
  if (chosen.set.size() > 1) out.push_back(invalid_value(at, chosen.text(), one));
}

bool is_version(std::string_view text) {
  static const RE2 semver(
      R"((0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?)");
  return RE2::FullMatch(text, semver);
}

void check_attribute(causes& out, const json::value& a, const place& at) {
  if (auto& text = a["string"]; text.as_string().size() > text_max)
    out.push_back(too_long(place(at, "string"), text_max));
  if (auto& version = a["version"]; version.is_string()) {
    const place here(at, "version");
    if (!is_version(version.as_string()))
      out.push_back(invalid_value(here, version, "must be a string compatible with semver.org spec 2.0.0"));
    if (version.as_string().size() > text_max) out.push_back(too_long(here, text_max));
  }
}

// A union: exactly one of its members.
void check_declared_attribute(causes& out, const json::value& a, const place& at) {
  constexpr std::string_view members = "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`";
  std::vector<std::string> set;
  for (auto member : {"int", "bool", "string", "version", "ints", "bools", "strings", "versions"})
    if (!a[member].is_null()) set.emplace_back(member);
  if (set.empty()) out.push_back(invalid_value(at, "", fmt::format("must specify one of: {}", members)));
  if (set.size() > 1)
    out.push_back(invalid_value(at, fmt::format("{{{}}}", join(set, ", ")),
                                fmt::format("must specify exactly one of: {}", members)));
}

// A key in a message: its middle is left out when it is too long to be one.
std::string shortened(std::string_view key) {
  constexpr std::string_view dots = "...";
  if (key.size() <= map_key_max) return std::string(key);
  const auto rest = map_key_max - dots.size();
  return fmt::format("{}{}{}", key.substr(0, (rest + 1) / 2), dots, key.substr(key.size() - rest / 2));
}

template <typename Check>
void for_each_named(causes& out, const json::value& map, const place& at, const Check& check) {
  auto members = map.object();
  if (!members) return;
  for (auto& m : *members) {
    check_attribute_name(out, m.name, at);
    auto key = shortened(m.name);
    check(m.value, place::of_key(at, key));
  }
}

void check_counters(causes& out, const json::value& list, const place& at, std::size_t most) {
  for (std::size_t i = 0; i < list.size() && list.size() <= most; ++i) {
    const place here(at, i);
    check_declared_size(out, list[i]["counters"], place(here, "counters"), counters_max);
  }
}

void check_device(causes& out, const json::value& d, const json::value& before, bool per_device, const place& at) {
  const place of_capacity(at, "capacity"), of_attributes(at, "attributes");
  add_problems(out, place(at, "name"), d["name"].as_string(), check_dns1123_label(d["name"].as_string()));
  const auto count = d["attributes"].size() + d["capacity"].size();
  if (count > values_max)
    out.push_back(
        invalid_value(at, static_cast<std::int64_t>(count),
                      fmt::format("the total number of attributes and capacities must not exceed {}", values_max)));
  for_each_named(out, d["attributes"], of_attributes,
                 [&](const json::value& a, const place& here) { check_attribute(out, a, here); });
  if (before.is_null() || !(before["capacity"] == d["capacity"]))
    for_each_named(out, d["capacity"], of_capacity, [&](const json::value& c, const place& here) {
      if (!c["requestPolicy"].is_object()) return;
      const place of_policy(here, "requestPolicy");
      if (d["allowMultipleAllocations"].as_bool())
        check_capacity_policy(out, c["value"].as_string(), c["requestPolicy"], of_policy);
      else
        out.push_back(forbidden_value(of_policy, "allowMultipleAllocations must be true"));
    });
  auto& taints = d["taints"];
  if (before.is_null() || !(before["taints"] == taints))
    for (std::size_t i = 0; i < taints.size(); ++i) check_taint(out, taints[i], place(at, "taints", i));
  check_counters(out, d["consumesCounters"], place(at, "consumesCounters"), consumptions_max);
  check_nodes_of_device(out, d, per_device, at);
  check_binding_conditions(out, d, at);
}

void check_declared_counters(causes& out, const json::value& parent, const place& at) {
  const place here(at, "counters");
  if (!need(out, parent, at, "counters")) return;
  for (auto& m : *parent["counters"].object()) add_problems(out, here, m.name, in_bytes(check_dns1123_label(m.name)));
}

void check_declared_name(causes& out, const json::value& parent, const place& at, std::string_view member) {
  if (need(out, parent, at, member))
    add_problems(out, place(at, member), parent[member], in_bytes(check_dns1123_label(parent[member].as_string())));
}

// Items of a list with different names.
void check_declared_items(causes& out, const json::value& list, const place& at, std::string_view name,
                          std::size_t most) {
  check_declared_size(out, list, at, most);
  if (list.size() > most) return;
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < list.size(); ++i)
    if (!seen.insert(list[i][name].as_string()).second) out.push_back(duplicate_value(place(at, i), list[i]));
  for (std::size_t i = 0; i < list.size(); ++i) {
    const place here(at, i);
    check_declared_name(out, list[i], here, name);
    check_declared_counters(out, list[i], here);
  }
}

// Whether a device stands as it was; taints are dated by whoever writes them first.
bool is_same(json::value d, json::value before) {
  for (auto one : {&d, &before})
    if (auto taints = one->member("taints").array())
      for (auto& t : *taints) t.erase("timeAdded");
  return d == before;
}

void check_declared_device(causes& out, const json::value& d, const json::value& before, const place& at) {
  const place of_attributes(at, "attributes");
  if (!before.is_null() && is_same(d, before)) return;
  if (auto members = d["attributes"].object())
    for (auto& m : *members) check_declared_attribute(out, m.value, place::of_key(of_attributes, m.name));
  check_declared_items(out, d["consumesCounters"], place(at, "consumesCounters"), "counterSet", consumptions_max);
  auto& taints = d["taints"];
  for (std::size_t i = 0; i < taints.size(); ++i) check_declared_taint(out, taints[i], place(at, "taints", i));
  check_declared_binding_conditions(out, d, at);
}

const json::value& device_named(const json::value& devices, std::string_view name) {
  static const json::value none;
  for (std::size_t i = 0; i < devices.size(); ++i)
    if (devices[i]["name"].as_string() == name) return devices[i];
  return none;
}

std::size_t most_devices(const json::value& devices) {
  for (std::size_t i = 0; i < devices.size(); ++i)
    if (!devices[i]["taints"].empty() || !devices[i]["consumesCounters"].empty()) return advanced_devices_max;
  return devices_max;
}

void check_devices(causes& out, const json::value& spec, const json::value& old, const place& at) {
  auto& devices = spec["devices"];
  const place here(at, "devices");
  if (auto most = most_devices(devices); devices.size() > most)
    return out.push_back(too_many(here, devices.size(), most));
  const bool per_device = spec["perDeviceNodeSelection"].as_bool();
  for (std::size_t i = 0; i < devices.size(); ++i)
    check_device(out, devices[i], device_named(old["devices"], devices[i]["name"].as_string()), per_device,
                 place(here, i));
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < devices.size(); ++i)
    if (auto name = devices[i]["name"].as_string(); !seen.insert(name).second)
      out.push_back(duplicate_value(place(here, i), name));
}

void check(causes& out, const json::value& spec, const json::value& old) {
  const place at("spec"), of_pool(at, "pool");
  auto& pool = spec["pool"];
  check_csi_driver_name(out, spec["driver"].as_string(), place(at, "driver"));
  check_pool_name(out, pool["name"].as_string(), place(of_pool, "name"));
  if (auto n = pool["resourceSliceCount"].as_integer(); n <= 0)
    out.push_back(invalid_value(place(of_pool, "resourceSliceCount"), n, "must be greater than zero"));
  if (auto n = pool["generation"].as_integer(); n < 0)
    out.push_back(invalid_value(place(of_pool, "generation"), n, "must be greater than or equal to zero"));
  if (!old.is_null()) {
    immutable(out, pool["name"].as_string(), old["pool"]["name"].as_string(), place(of_pool, "name"));
    immutable(out, spec["driver"].as_string(), old["driver"].as_string(), place(at, "driver"));
    immutable(out, spec["nodeName"], old["nodeName"], place(at, "nodeName"));
  }
  check_nodes(out, spec, at);
  if (!spec["sharedCounters"].is_null() && !spec["devices"].is_null())
    out.push_back(invalid_value(at, "", "only one of `sharedCounters` or `devices` is allowed"));
  check_devices(out, spec, old, at);
  check_counters(out, spec["sharedCounters"], place(at, "sharedCounters"), counter_sets_max);
  auto& devices = spec["devices"];
  for (std::size_t i = 0; i < devices.size() && devices.size() <= devices_max; ++i)
    check_declared_device(out, devices[i], device_named(old["devices"], devices[i]["name"].as_string()),
                          place(at, "devices", i));
  check_declared_items(out, spec["sharedCounters"], place(at, "sharedCounters"), "name", counter_sets_max);
}

void prepare_create(json::value& o, const kind_context& c) {
  auto& devices = o["spec"]["devices"];
  for (std::size_t i = 0; i < devices.size(); ++i)
    for (std::size_t j = 0; j < devices[i]["taints"].size(); ++j)
      if (devices[i]["taints"][j]["timeAdded"].is_null())
        date_taint((*(*o.member("spec").member("devices").array())[i].member("taints").array())[j], c.now);
}
void prepare_update(json::value& o, const json::value&, const kind_context& c) { prepare_create(o, c); }

void warn(std::vector<std::string>& out, const json::value& o, const json::value*) {
  if (auto driver = o["spec"]["driver"].as_string(); lower(driver) != driver)
    out.push_back(
        fmt::format("spec.driver: driver names should be lowercase; {} contains uppercase characters", quote(driver)));
}

void validate(causes& out, const json::value& o) { check(out, o["spec"], {}); }
// A node writes its slices: for whom they are is said once.
void validate_update(causes& out, const json::value& o, const json::value& old) { check(out, o["spec"], old["spec"]); }

}  // namespace

const kind_rules kinds::resource_slices{.group = "resource.k8s.io",
                                        .resource = "resourceslices",
                                        .generation = true,
                                        .answers_deleted_object = true,
                                        .prepare_create = prepare_create,
                                        .prepare_update = prepare_update,
                                        .validate = validate,
                                        .validate_update = validate_update,
                                        .warn = warn};

}  // namespace kedge::api
