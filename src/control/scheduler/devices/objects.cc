#include "control/scheduler/devices/objects.h"

#include <algorithm>

#include "base/strings.h"

namespace kedge::control::scheduler {
namespace {

std::string text(const json::value& v) { return std::string(v.as_string()); }

std::vector<std::string> texts(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  return out;
}

std::optional<std::string> said(const json::value& v) { return v.is_string() ? std::optional(text(v)) : std::nullopt; }

std::optional<schema::quantity> quantity_of(const json::value& v) {
  return v.is_null() ? std::nullopt : std::optional(pod::amount_of(v));
}

device_taint taint_in(const json::value& v) { return {text(v["key"]), text(v["value"]), text(v["effect"])}; }

// {"name": {"value": "1Gi"}}
pod::amounts counters_of(const json::value& named) {
  pod::amounts out;
  if (auto members = named.object())
    for (auto& m : *members) out.emplace(m.name, pod::amount_of(m.value["value"]));
  return out;
}

device_capacity capacity_of(const json::value& v) {
  device_capacity out;
  out.value = pod::amount_of(v["value"]);
  auto& policy = v["requestPolicy"];
  if (!policy.is_object()) return out;
  auto& rule = out.policy.emplace(device_capacity::rule{});
  rule.otherwise = quantity_of(policy["default"]);
  for (std::size_t i = 0; i < policy["validValues"].size(); ++i)
    rule.values.push_back(pod::amount_of(policy["validValues"][i]));
  auto& range = policy["validRange"];
  rule.in_range = range.is_object();
  rule.min = quantity_of(range["min"]);
  rule.max = quantity_of(range["max"]);
  rule.step = quantity_of(range["step"]);
  return out;
}

device device_of(const json::value& v) {
  device out;
  out.name = text(v["name"]);
  out.shareable = v["allowMultipleAllocations"].as_bool();
  json::object facts;
  for (auto name : {"attributes", "capacity", "allowMultipleAllocations"})
    if (auto found = v.find(name)) facts.append(name, *found);
  out.facts = std::move(facts);
  if (auto members = v["capacity"].object())
    for (auto& m : *members) out.capacities.emplace(m.name, capacity_of(m.value));
  for (std::size_t i = 0; i < v["taints"].size(); ++i) out.taints.push_back(taint_in(v["taints"][i]));
  auto& consumes = v["consumesCounters"];
  for (std::size_t i = 0; i < consumes.size(); ++i)
    out.consumes.push_back({text(consumes[i]["counterSet"]), counters_of(consumes[i]["counters"])});
  out.from = reach::of(v);
  out.binds_to_node = v["bindsToNode"].as_bool();
  out.binding_conditions = v["bindingConditions"];
  out.failure_conditions = v["bindingFailureConditions"];
  return out;
}

bool declares_groups(const json::value& d) {
  auto& consumes = d["consumesCounters"];
  for (std::size_t i = 0; i < consumes.size(); ++i)
    if (!consumes[i]["compatibilityGroups"].empty()) return true;
  return false;
}

device_request request_of(const json::value& v, std::string name, std::string of) {
  device_request out;
  out.name = std::move(name);
  out.of = std::move(of);
  out.class_name = text(v["deviceClassName"]);
  out.mode = text(v["allocationMode"]);
  out.count = v["count"].as_integer();
  out.admin = v["adminAccess"].as_bool();
  out.derives = !v["derivedAttributes"].empty();
  for (std::size_t i = 0; i < v["selectors"].size(); ++i) {
    auto& cel = v["selectors"][i]["cel"];
    out.selectors.push_back(cel.is_object() ? std::optional(text(cel["expression"])) : std::nullopt);
  }
  out.tolerations_said = v["tolerations"];
  for (std::size_t i = 0; i < v["tolerations"].size(); ++i) {
    auto& t = v["tolerations"][i];
    out.tolerations.push_back({text(t["key"]), text(t["operator"]), text(t["value"]), text(t["effect"])});
  }
  out.capacity = pod::amounts_of(v["capacity"]["requests"]);
  return out;
}

device_constraint constraint_of(const json::value& v) {
  device_constraint out;
  out.requests = texts(v["requests"]);
  using kind = device_constraint::kind;
  for (auto [member, what] : {std::pair{"matchAttribute", kind::match}, {"distinctAttribute", kind::distinct}})
    if (v[member].is_string() && out.what == kind::unknown) {
      out.what = what;
      out.attribute = text(v[member]);
    }
  return out;
}

void read_allocation(device_claim& out, const json::value& allocation) {
  out.allocated = true;
  out.nodes = allocation["nodeSelector"].is_object() ? std::optional(node_selector::of(allocation["nodeSelector"]))
                                                     : std::nullopt;
  out.allocated_at = text(allocation["allocationTimestamp"]);
  auto& results = allocation["devices"]["results"];
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto& r = results[i];
    out.requests_served.push_back(text(r["request"]));
    out.devices.push_back({.id = {{text(r["driver"]), text(r["pool"])}, text(r["device"])},
                           .admin = r["adminAccess"].as_bool(),
                           .shared = r["shareID"].is_string(),
                           .consumed = pod::amounts_of(r["consumedCapacity"]),
                           .has_consumed = r["consumedCapacity"].is_object(),
                           .binding_conditions = r["bindingConditions"],
                           .failure_conditions = r["bindingFailureConditions"]});
  }
}

}  // namespace

bool device_toleration::tolerates(const device_taint& t) const noexcept {
  if (!effect.empty() && effect != t.effect) return false;
  if (!key.empty() && key != t.key) return false;
  if (op == "Exists") return true;
  return (op.empty() || op == "Equal") && value == t.value;
}

reach reach::of(const json::value& said) {
  reach out;
  out.node = text(said["nodeName"]);
  out.everywhere = said["allNodes"].as_bool();
  out.selector = said["nodeSelector"];
  if (out.selector.is_object()) out.nodes = node_selector::of(out.selector);
  return out;
}

bool reach::matches(std::string_view node_name, const label_set& labels) const noexcept {
  if (!node.empty()) return node == node_name;
  return everywhere || (nodes && nodes->matches(node_name, labels));
}

slice_ref slice_of(const json::value& object) {
  auto out = std::make_shared<slice>();
  auto& spec = object["spec"];
  out->name = text(object["metadata"]["name"]);
  out->pool = {text(spec["driver"]), text(spec["pool"]["name"])};
  out->generation = spec["pool"]["generation"].as_integer();
  out->slices = spec["pool"]["resourceSliceCount"].as_integer();
  out->from = reach::of(spec);
  out->by_device = spec["perDeviceNodeSelection"].as_bool();
  for (std::size_t i = 0; i < spec["devices"].size(); ++i) {
    out->devices.push_back(device_of(spec["devices"][i]));
    out->has_groups |= declares_groups(spec["devices"][i]);
  }
  for (std::size_t i = 0; i < spec["sharedCounters"].size(); ++i) {
    auto& set = spec["sharedCounters"][i];
    out->counters.push_back({text(set["name"]), counters_of(set["counters"])});
  }
  return out;
}

class_ref class_of(const json::value& object) {
  auto out = std::make_shared<device_class>();
  out->name = text(object["metadata"]["name"]);
  out->created = text(object["metadata"]["creationTimestamp"]);
  auto& spec = object["spec"];
  out->resource = text(spec["extendedResourceName"]);
  for (std::size_t i = 0; i < spec["selectors"].size(); ++i)
    out->selectors.push_back(text(spec["selectors"][i]["cel"]["expression"]));
  out->config = spec["config"];
  return out;
}

bool taint_rule::means(const device_id& d) const noexcept {
  return selects && (!driver || *driver == d.pool.driver) && (!pool || *pool == d.pool.name) &&
         (!device || *device == d.name);
}

taint_rule rule_of(const json::value& object) {
  auto& selector = object["spec"]["deviceSelector"];
  return {said(selector["driver"]), said(selector["pool"]), said(selector["device"]), selector.is_object(),
          taint_in(object["spec"]["taint"])};
}

bool device_claim::is_reserved_for(std::string_view pod_uid) const noexcept {
  return std::ranges::find(reserved_for, pod_uid) != reserved_for.end();
}

device_claim_ref device_claim_of(const json::value& object) {
  auto out = std::make_shared<device_claim>();
  auto& m = object["metadata"];
  out->ns = text(m["namespace"]);
  out->name = text(m["name"]);
  out->uid = text(m["uid"]);
  out->version = parse_uint(m["resourceVersion"].as_string()).value_or(0);
  out->deleting = m["deletionTimestamp"].is_string();
  out->of_resources = m["annotations"][extended_resource_claim].as_string() == "true";
  for (std::size_t i = 0; i < m["ownerReferences"].size(); ++i)
    if (m["ownerReferences"][i]["controller"].as_bool()) out->owner = text(m["ownerReferences"][i]["uid"]);
  auto& devices = object["spec"]["devices"];
  for (std::size_t i = 0; i < devices["requests"].size(); ++i) {
    auto& r = devices["requests"][i];
    request_group group{.name = text(r["name"]), .alternatives = !r["firstAvailable"].empty(), .of = {}};
    if (r["exactly"].is_object()) group.of.push_back(request_of(r["exactly"], group.name, {}));
    for (std::size_t j = 0; j < r["firstAvailable"].size(); ++j)
      group.of.push_back(request_of(r["firstAvailable"][j], text(r["firstAvailable"][j]["name"]), group.name));
    out->requests.push_back(std::move(group));
  }
  for (std::size_t i = 0; i < devices["constraints"].size(); ++i)
    out->constraints.push_back(constraint_of(devices["constraints"][i]));
  out->config = devices["config"];
  auto& status = object["status"];
  for (std::size_t i = 0; i < status["reservedFor"].size(); ++i)
    out->reserved_for.push_back(text(status["reservedFor"][i]["uid"]));
  if (status["allocation"].is_object()) read_allocation(*out, status["allocation"]);
  out->device_statuses = status["devices"];
  return out;
}

device_claim_ref with_allocation(const device_claim& claim, const json::value& allocation) {
  auto out = std::make_shared<device_claim>(claim);
  read_allocation(*out, allocation);
  return out;
}

}  // namespace kedge::control::scheduler
