// objects.h: what resource.k8s.io says of devices and of who wants them, parsed once.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/scheduler/placement.h"
#include "json/value.h"
#include "pod/amounts.h"
#include "schema/quantity.h"

namespace kedge::control::scheduler {

// "true" on a claim: the scheduler made it for the extended resources of its owner, a pod.
inline constexpr std::string_view extended_resource_claim = "resource.kubernetes.io/extended-resource-claim";

struct pool_id {
  std::string driver, name;
  auto operator<=>(const pool_id&) const = default;
  std::string text() const { return driver + "/" + name; }
};

struct device_id {
  pool_id pool;
  std::string name;
  auto operator<=>(const device_id&) const = default;
  std::string text() const { return pool.text() + "/" + name; }
};

struct device_taint {
  std::string key, value, effect;
};
struct device_toleration {
  std::string key, op, value, effect;
  bool tolerates(const device_taint& t) const noexcept;
};

// How much of a capacity there is, and how much a claim may have (KEP-5075).
struct device_capacity {
  schema::quantity value;
  struct rule {
    std::optional<schema::quantity> otherwise;  // what a claim gets that asks for none
    std::vector<schema::quantity> values;       // rising
    bool in_range = false;
    std::optional<schema::quantity> min, max, step;
  };
  std::optional<rule> policy;
};

// Where something can be reached from.
struct reach {
  std::string node;
  bool everywhere = false;
  json::value selector;  // as it is written into allocations
  std::optional<node_selector> nodes;
  static reach of(const json::value& said);
  bool matches(std::string_view node_name, const label_set& labels) const noexcept;
};

struct device {
  std::string name;
  json::value facts;  // what selectors see: attributes, capacity, allowMultipleAllocations
  bool shareable = false;
  std::map<std::string, device_capacity, std::less<>> capacities;
  std::vector<device_taint> taints;
  struct counters {
    std::string set;
    pod::amounts amounts;
  };
  std::vector<counters> consumes;
  reach from;
  bool binds_to_node = false;
  json::value binding_conditions, failure_conditions;  // lists, or null
};

struct slice {
  std::string name;
  pool_id pool;
  std::int64_t generation = 0, slices = 0;
  reach from;
  bool by_device = false;  // each device says from where it is reached
  std::vector<device> devices;
  struct counter_set {
    std::string name;
    pod::amounts amounts;
  };
  std::vector<counter_set> counters;
  bool has_groups = false;  // devices that go only with some others, which nobody here can check
};
using slice_ref = std::shared_ptr<const slice>;
slice_ref slice_of(const json::value& object);

struct device_class {
  std::string name;
  std::string resource;  // the extended resource that its devices are given for, too; empty: none of that name
  std::string created;   // RFC 3339
  std::vector<std::string> selectors;
  json::value config;  // a list
};
using class_ref = std::shared_ptr<const device_class>;
class_ref class_of(const json::value& object);

// A DeviceTaintRule.
struct taint_rule {
  std::optional<std::string> driver, pool, device;
  bool selects = false;  // without a selector it means no device
  device_taint taint;
  bool means(const device_id& d) const noexcept;
};
taint_rule rule_of(const json::value& object);

// One of a claim's requests, or one of its alternatives.
struct device_request {
  std::string name, of;  // of: the request whose alternative it is
  std::string class_name, mode;
  std::int64_t count = 0;
  bool admin = false;
  bool derives = false;                               // has derivedAttributes, which nobody here can compute
  std::vector<std::optional<std::string>> selectors;  // expressions; nothing: of another kind
  std::vector<device_toleration> tolerations;
  json::value tolerations_said;
  pod::amounts capacity;
  std::string full_name() const { return of.empty() ? name : of + "/" + name; }
};

struct request_group {
  std::string name;
  bool alternatives = false;  // one of them will do, the first that can be had
  std::vector<device_request> of;
};

struct device_constraint {
  enum class kind : unsigned char { unknown, match, distinct } what = kind::unknown;
  std::string attribute;
  std::vector<std::string> requests;  // none: all
};

// Who may use a device, and what it has given out.
struct allocated_device {
  device_id id;
  bool admin = false;
  bool shared = false;
  pod::amounts consumed;
  bool has_consumed = false;
  json::value binding_conditions, failure_conditions;
};

struct device_claim {
  std::string ns, name, uid, owner;  // owner: the controller's uid
  std::uint64_t version = 0;
  bool deleting = false;
  bool of_resources = false;  // made by the scheduler for its owner's extended resources
  std::vector<request_group> requests;
  std::vector<device_constraint> constraints;
  json::value config;                     // spec.devices.config
  std::vector<std::string> reserved_for;  // uids
  // status.allocation
  bool allocated = false;
  std::optional<node_selector> nodes;  // that its devices are reached from; none: all
  std::vector<allocated_device> devices;
  std::vector<std::string> requests_served;  // the results' names of requests
  std::string allocated_at;                  // allocationTimestamp
  json::value device_statuses;               // status.devices
  std::string key() const { return ns + "/" + name; }
  bool is_reserved_for(std::string_view pod_uid) const noexcept;
};
using device_claim_ref = std::shared_ptr<const device_claim>;
device_claim_ref device_claim_of(const json::value& object);
// The claim with `allocation` for its own.
device_claim_ref with_allocation(const device_claim& claim, const json::value& allocation);

}  // namespace kedge::control::scheduler
