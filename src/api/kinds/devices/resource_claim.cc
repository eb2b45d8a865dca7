// resource_claim.cc: ResourceClaim and ResourceClaimTemplate.
#include <fmt/format.h>

#include <map>
#include <set>
#include <tuple>

#include "api/kinds/core/affinity.h"
#include "api/kinds/core/volumes.h"
#include "api/kinds/devices/names.h"
#include "api/registry/kind_rules.h"
#include "api/registry/stored.h"
#include "base/ip.h"
#include "base/strings.h"
#include "json/write.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::size_t list_max = 32, alternatives_max = 8, reserved_max = 256, class_and_claim_configs_max = 64,
                      device_data_max = 10 * 1024, device_conditions_max = 8, addresses_max = 16,
                      interface_name_max = 256, hardware_address_max = 128;

// Requests of a claim, each with its alternatives.
using request_names = std::map<std::string_view, std::set<std::string_view>, std::less<>>;

request_names names_in_claim(const json::value& devices) {
  request_names out;
  auto& requests = devices["requests"];
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto& alternatives = out[requests[i]["name"].as_string()];
    for (std::size_t j = 0; j < requests[i]["firstAvailable"].size(); ++j)
      alternatives.insert(requests[i]["firstAvailable"][j]["name"].as_string());
  }
  return out;
}

bool has(const request_names& all, const std::vector<std::string_view>& parts) {
  auto it = all.find(parts[0]);
  return it != all.end() && (parts.size() == 1 || it->second.contains(parts[1]));
}

void check_request_reference(causes& out, std::string_view name, const request_names& all, const place& at) {
  constexpr std::string_view wrong =
      "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
  auto parts = split(name, '/');
  if (parts.size() > 2) return out.push_back(invalid_value(at, name, wrong));
  for (auto part : parts) add_problems(out, at, part, check_dns1123_label(part));
  if (!has(all, parts)) out.push_back(invalid_value(at, name, wrong));
}

void check_request_references(causes& out, const json::value& list, const request_names& all, const place& at) {
  for (std::size_t i = 0; i < list.size() && list.size() <= list_max; ++i)
    check_request_reference(out, list[i].as_string(), all, place(at, i));
}

// Declared: a list of different texts.
void check_declared_set(causes& out, const json::value& list, const place& at, std::size_t most) {
  if (list.size() > most) return check_declared_size(out, list, at, most);
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < list.size(); ++i)
    if (!seen.insert(list[i].as_string()).second) out.push_back(duplicate_value(place(at, i), list[i]));
}

// Declared: a list of different `member`s; false when it is too long to be looked at.
bool check_declared_items(causes& out, const json::value& list, const place& at, std::string_view member,
                          std::size_t most) {
  if (list.size() > most) {
    check_declared_size(out, list, at, most);
    return false;
  }
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < list.size(); ++i)
    if (!seen.insert(list[i][member].as_string()).second) out.push_back(duplicate_value(place(at, i), list[i]));
  return true;
}

void check_count(causes& out, const json::value& request, const place& at) {
  auto mode = request["allocationMode"].as_string();
  auto count = request["count"].as_integer();
  const place here(at, "count");
  if (mode == "All" && count != 0)
    out.push_back(invalid_value(here, count, "must not be specified when allocationMode is 'All'"));
  if (mode == "ExactCount" && count <= 0) out.push_back(invalid_value(here, count, "must be greater than zero"));
}

// Of a request, or of an alternative.
void check_demand(causes& out, const json::value& request, const place& at) {
  check_selectors(out, request["selectors"], place(at, "selectors"));
  check_count(out, request, at);
  check_tolerations(out, request["tolerations"], place(at, "tolerations"));
}

void check_declared_demand(causes& out, const json::value& request, const place& at) {
  check_declared_size(out, request["selectors"], place(at, "selectors"), list_max);
  one_of(out, request, at, "allocationMode", {"All", "ExactCount"});
  check_declared_tolerations(out, request["tolerations"], place(at, "tolerations"));
}

void check_class_name(causes& out, const json::value& request, const place& at, bool declared) {
  if (!need(out, request, at, "deviceClassName")) return;
  auto wrong = check_dns1123_subdomain(request["deviceClassName"].as_string());
  add_problems(out, place(at, "deviceClassName"), request["deviceClassName"],
               declared ? in_bytes(std::move(wrong)) : wrong);
}

void check_request(causes& out, const json::value& request, const place& at) {
  constexpr std::string_view one = "exactly one of `exactly` or `firstAvailable` is required";
  auto name = request["name"].as_string();
  auto& alternatives = request["firstAvailable"];
  add_problems(out, place(at, "name"), name, check_dns1123_label(name));
  const bool exact = request["exactly"].is_object();
  if (!exact && alternatives.empty()) return out.push_back(required(at, one));
  if (exact && !alternatives.empty())
    return out.push_back(invalid_value(at, nullptr, fmt::format("{}, but multiple fields are set", one)));
  if (exact) {
    const place here(at, "exactly");
    check_class_name(out, request["exactly"], here, false);
    return check_demand(out, request["exactly"], here);
  }
  for (std::size_t i = 0; i < alternatives.size() && alternatives.size() <= alternatives_max; ++i) {
    const place here(at, "firstAvailable", i);
    auto own = alternatives[i]["name"].as_string();
    add_problems(out, place(here, "name"), own, check_dns1123_label(own));
    check_demand(out, alternatives[i], here);
  }
}

void check_declared_request(causes& out, const json::value& request, const place& at) {
  if (request["exactly"].is_object()) check_declared_demand(out, request["exactly"], place(at, "exactly"));
  auto& alternatives = request["firstAvailable"];
  if (!check_declared_items(out, alternatives, place(at, "firstAvailable"), "name", alternatives_max)) return;
  for (std::size_t i = 0; i < alternatives.size(); ++i) {
    const place here(at, "firstAvailable", i);
    check_class_name(out, alternatives[i], here, true);
    check_declared_demand(out, alternatives[i], here);
  }
}

void check_claim(causes& out, const json::value& devices, const place& at) {
  auto &requests = devices["requests"], &constraints = devices["constraints"], &config = devices["config"];
  const auto names = names_in_claim(devices);
  for (std::size_t i = 0; i < requests.size() && requests.size() <= list_max; ++i)
    check_request(out, requests[i], place(at, "requests", i));
  for (std::size_t i = 0; i < constraints.size() && constraints.size() <= list_max; ++i) {
    const place here(at, "constraints", i);
    check_request_references(out, constraints[i]["requests"], names, place(here, "requests"));
    // The text is the real server's, whatever is set.
    if (!constraints[i]["matchAttribute"].is_string() && !constraints[i]["distinctAttribute"].is_string())
      out.push_back(required(
          here, "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set"));
  }
  for (std::size_t i = 0; i < config.size() && config.size() <= list_max; ++i) {
    const place here(at, "config", i);
    check_request_references(out, config[i]["requests"], names, place(here, "requests"));
    check_configuration(out, config[i], here);
  }
}

void check_declared_claim(causes& out, const json::value& devices, const place& at) {
  auto &requests = devices["requests"], &constraints = devices["constraints"], &config = devices["config"];
  if (check_declared_items(out, requests, place(at, "requests"), "name", list_max))
    for (std::size_t i = 0; i < requests.size(); ++i)
      check_declared_request(out, requests[i], place(at, "requests", i));
  check_declared_size(out, constraints, place(at, "constraints"), list_max);
  for (std::size_t i = 0; i < constraints.size() && constraints.size() <= list_max; ++i) {
    const place here(at, "constraints", i);
    check_declared_set(out, constraints[i]["requests"], place(here, "requests"), list_max);
    for (auto member : {"matchAttribute", "distinctAttribute"})
      check_declared_full_name(out, constraints[i][member], place(here, member));
  }
  check_declared_size(out, config, place(at, "config"), list_max);
  for (std::size_t i = 0; i < config.size() && config.size() <= list_max; ++i) {
    const place here(at, "config", i);
    check_declared_set(out, config[i]["requests"], place(here, "requests"), list_max);
    check_declared_configuration(out, config[i], here);
  }
}

// Devices in use by others are for namespaces that say so.
void check_admin_access(causes& out, const json::value& devices, std::string_view ns, const kind_context& c) {
  constexpr std::string_view label = "resource.kubernetes.io/admin-access";
  auto& requests = devices["requests"];
  const place at("spec.devices");
  auto allowed = [&] {
    auto found = c.cluster.find(fmt::format("/registry/namespaces/{}", ns));
    auto object = found ? value_of(*found) : api_result<json::value>(fail(not_found("", "namespaces", ns)));
    return object && (*object)["metadata"]["labels"][label].as_string() == "true";
  };
  for (std::size_t i = 0; i < requests.size(); ++i)
    if (requests[i]["exactly"]["adminAccess"].as_bool() && !allowed()) {
      const place here(at, "requests", i);
      return out.push_back(forbidden_value(
          place(here, "adminAccess"),
          fmt::format("admin access to devices requires the `{}: true` label on the containing namespace", label)));
    }
}

void claim_in_cluster(causes& out, const json::value& o, const kind_context& c) {
  check_admin_access(out, o["spec"]["devices"], o["metadata"]["namespace"].as_string(), c);
}
void template_in_cluster(causes& out, const json::value& o, const kind_context& c) {
  check_admin_access(out, o["spec"]["spec"]["devices"], o["metadata"]["namespace"].as_string(), c);
}

void validate(causes& out, const json::value& o) {
  check_claim(out, o["spec"]["devices"], "spec.devices");
  check_declared_claim(out, o["spec"]["devices"], "spec.devices");
}

void validate_update(causes& out, const json::value& o, const json::value& old) {
  declared_immutable(out, o["spec"], old["spec"], "spec");
}

// A device as its driver, pool and name tell it, with the share of it.
using device_id = std::tuple<std::string_view, std::string_view, std::string_view, std::string_view>;

device_id id_of(const json::value& d) {
  return {d["driver"].as_string(), d["pool"].as_string(), d["device"].as_string(), d["shareID"].as_string()};
}

void check_address(causes& out, std::string_view text, const place& at) {
  auto range = ip_range::parse_sloppy(text);
  if (!range)
    return out.push_back(
        invalid_value(at, text, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"));
  auto ip = ip_address::parse_sloppy(text.substr(0, text.find('/')));
  if (auto canonical = fmt::format("{}/{}", ip->text(), range->prefix()); canonical != text)
    out.push_back(invalid_value(at, text, fmt::format("must be in canonical form (\"{}\")", canonical)));
}

void check_device_status(causes& out, const json::value& d, const std::set<device_id>& allocated, const place& at) {
  const place of_network(at, "networkData"), of_conditions(at, "conditions");
  check_csi_driver_name(out, d["driver"].as_string(), place(at, "driver"));
  check_pool_name(out, d["pool"].as_string(), place(at, "pool"));
  add_problems(out, place(at, "device"), d["device"].as_string(), check_dns1123_label(d["device"].as_string()));
  if (auto id = id_of(d); !allocated.contains(id)) {
    auto& [driver, pool, device, share] = id;
    out.push_back(
        invalid_value(at, json::object{{"Driver", driver}, {"Pool", pool}, {"Device", device}, {"ShareID", share}},
                      "must be an allocated device in the claim"));
  }
  check_declared_size(out, d["conditions"], of_conditions, device_conditions_max);
  check_standard_conditions(out, d["conditions"], of_conditions);
  if (!d["data"].is_null()) check_raw_object(out, d["data"], place(at, "data"), device_data_max);
  auto& addresses = d["networkData"]["ips"];
  for (std::size_t i = 0; i < addresses.size() && addresses.size() <= addresses_max; ++i)
    check_address(out, addresses[i].as_string(), place(of_network, "ips", i));
}

void check_declared_device_status(causes& out, const json::value& d, const place& at) {
  const place of_network(at, "networkData");
  auto& network = d["networkData"];
  check_declared_uid(out, d["shareID"], place(at, "shareID"));
  if (network["interfaceName"].as_string().size() > interface_name_max)
    out.push_back(too_long(place(of_network, "interfaceName"), interface_name_max));
  check_declared_set(out, network["ips"], place(of_network, "ips"), addresses_max);
  if (network["hardwareAddress"].as_string().size() > hardware_address_max)
    out.push_back(too_long(place(of_network, "hardwareAddress"), hardware_address_max));
}

void check_allocation(causes& out, const json::value& allocation, const request_names& names, const place& at) {
  const place of_devices(at, "devices");
  auto &results = allocation["devices"]["results"], &config = allocation["devices"]["config"];
  for (std::size_t i = 0; i < results.size() && results.size() <= list_max; ++i) {
    const place here(of_devices, "results", i);
    auto& r = results[i];
    check_request_reference(out, r["request"].as_string(), names, place(here, "request"));
    add_problems(out, place(here, "device"), r["device"].as_string(), check_dns1123_label(r["device"].as_string()));
    check_binding_conditions(out, r, here);
    check_tolerations(out, r["tolerations"], place(here, "tolerations"));
  }
  for (std::size_t i = 0; i < config.size() && config.size() <= class_and_claim_configs_max; ++i) {
    const place here(of_devices, "config", i);
    check_request_references(out, config[i]["requests"], names, place(here, "requests"));
    check_configuration(out, config[i], here);
  }
  if (allocation["nodeSelector"].is_object())
    check_node_selector(out, allocation["nodeSelector"], place(at, "nodeSelector"), false);
}

void check_declared_allocation(causes& out, const json::value& allocation, const place& at) {
  const place of_devices(at, "devices");
  auto &results = allocation["devices"]["results"], &config = allocation["devices"]["config"];
  check_declared_size(out, results, place(of_devices, "results"), list_max);
  for (std::size_t i = 0; i < results.size() && results.size() <= list_max; ++i) {
    const place here(of_devices, "results", i);
    auto& r = results[i];
    check_declared_driver(out, r["driver"].as_string(), place(here, "driver"));
    check_declared_pool_name(out, r["pool"].as_string(), place(here, "pool"));
    check_declared_tolerations(out, r["tolerations"], place(here, "tolerations"));
    check_declared_binding_conditions(out, r, here);
    check_declared_uid(out, r["shareID"], place(here, "shareID"));
  }
  check_declared_size(out, config, place(of_devices, "config"), class_and_claim_configs_max);
  for (std::size_t i = 0; i < config.size() && config.size() <= class_and_claim_configs_max; ++i) {
    const place here(of_devices, "config", i);
    one_of_needed(out, config[i], here, "source", {"FromClaim", "FromClass"});
    check_declared_set(out, config[i]["requests"], place(here, "requests"), list_max);
    check_declared_configuration(out, config[i], here);
  }
}

// A claim that goes takes no new consumers, and nobody can reserve what isn't allocated.
void check_reservations(causes& out, const json::value& o, const json::value& before, const place& at) {
  auto& status = o["status"];
  auto& reserved = status["reservedFor"];
  if (reserved.empty()) return;
  const place here(at, "reservedFor");
  if (!status["allocation"].is_object())
    return out.push_back(forbidden_value(here, "may not be specified when `allocated` is not set"));
  if (!o["metadata"]["deletionTimestamp"].is_string()) return;
  std::set<std::string> held;
  for (std::size_t i = 0; i < before["reservedFor"].size(); ++i) held.insert(json::write(before["reservedFor"][i]));
  for (std::size_t i = 0; i < reserved.size(); ++i)
    if (!held.contains(json::write(reserved[i])))
      return out.push_back(forbidden_value(
          here, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"));
}

void validate_part(causes& out, const json::value& o, const json::value& old, std::string_view) {
  auto &status = o["status"], &before = old["status"];
  auto &reserved = status["reservedFor"], &devices = status["devices"], &allocation = status["allocation"];
  const place at("status"), of_allocation(at, "allocation");
  for (std::size_t i = 0; i < reserved.size() && reserved.size() <= reserved_max; ++i) {
    const place here(at, "reservedFor", i);
    for (auto member : {"resource", "name", "uid"}) need(out, reserved[i], here, member);
  }
  std::set<device_id> allocated;
  auto& results = allocation["devices"]["results"];
  for (std::size_t i = 0; i < results.size(); ++i) allocated.insert(id_of(results[i]));
  for (std::size_t i = 0; i < devices.size(); ++i)
    check_device_status(out, devices[i], allocated, place(at, "devices", i));
  check_reservations(out, o, before, at);
  const bool fresh = allocation.is_object() && !before["allocation"].is_object();
  if (fresh) check_allocation(out, allocation, names_in_claim(o["spec"]["devices"]), of_allocation);

  if (allocation.is_object() && before["allocation"].is_object() && !(allocation == before["allocation"]))
    out.push_back(invalid_value(of_allocation, nullptr, "field cannot be modified once set"));
  if (fresh) check_declared_allocation(out, allocation, of_allocation);
  check_declared_items(out, reserved, place(at, "reservedFor"), "uid", reserved_max);
  std::set<device_id> told;
  for (std::size_t i = 0; i < devices.size(); ++i)
    if (!told.insert(id_of(devices[i])).second) out.push_back(duplicate_value(place(at, "devices", i), devices[i]));
  for (std::size_t i = 0; i < devices.size(); ++i)
    check_declared_device_status(out, devices[i], place(at, "devices", i));
}

void validate_template(causes& out, const json::value& o) {
  const place at("spec"), of_devices(at, "spec.devices");
  check_template_metadata(out, o["spec"]["metadata"], place(at, "metadata"));
  check_claim(out, o["spec"]["spec"]["devices"], of_devices);
  check_declared_claim(out, o["spec"]["spec"]["devices"], of_devices);
}

void validate_template_update(causes& out, const json::value& o, const json::value& old) {
  if (!(o["spec"] == old["spec"]))
    out.push_back(
        invalid_value("spec", internal_form("resource/v1.ResourceClaimTemplateSpec", o["spec"]), "field is immutable"));
}

}  // namespace

const kind_rules kinds::resource_claims{.group = "resource.k8s.io",
                                        .resource = "resourceclaims",
                                        .answers_deleted_object = true,
                                        .metadata_stands = true,
                                        .validate = validate,
                                        .validate_in_cluster = claim_in_cluster,
                                        .validate_update = validate_update,
                                        .validate_part = validate_part};
const kind_rules kinds::resource_claim_templates{.group = "resource.k8s.io",
                                                 .resource = "resourceclaimtemplates",
                                                 .answers_deleted_object = true,
                                                 .validate = validate_template,
                                                 .validate_in_cluster = template_in_cluster,
                                                 .validate_update = validate_template_update};

}  // namespace kedge::api
