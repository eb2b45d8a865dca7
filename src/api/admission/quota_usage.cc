#include "api/admission/quota_usage.h"

#include <algorithm>
#include <map>
#include <string>

#include "api/registry/indexes.h"
#include "api/registry/lookup.h"
#include "pod/references.h"

namespace kedge::api {
namespace {

using pod::amount_of;
using pod::amounts;
using pod::amounts_of_pod;
using schema::quantity;

bool is_pods(std::string_view group, std::string_view resource) { return group.empty() && resource == "pods"; }

bool finished(const json::value& pod) {
  auto phase = pod["status"]["phase"].as_string();
  return phase == "Succeeded" || phase == "Failed";
}

// cpu, memory, ephemeral-storage and hugepages count without prefix too; extended resources only as requests.<name>.
bool has_plain_name(std::string_view name) {
  return name == "cpu" || name == "memory" || name == "ephemeral-storage" || name.starts_with("hugepages-");
}

void add_pod(amounts& out, const json::value& pod) {
  if (finished(pod)) return;
  out["pods"] = quantity::of(1);
  // While it is resized, what its containers still have counts beside what they are to have.
  for (auto& [name, amount] : amounts_of_pod(pod, "requests", {.use_status = true})) {
    if (has_plain_name(name)) out[name] = amount;
    out["requests." + name] = amount;
  }
  for (auto& [name, amount] : amounts_of_pod(pod, "limits", {.use_status = true})) out["limits." + name] = amount;
}

void add_service(amounts& out, const json::value& service) {
  auto& spec = service["spec"];
  auto type = spec["type"].as_string();
  auto ports = static_cast<std::int64_t>(spec["ports"].size());
  out["services"] = quantity::of(1);
  bool balanced = type == "LoadBalancer";
  out["services.loadbalancers"] = quantity::of(balanced ? 1 : 0);
  bool node_ports = type == "NodePort" || (balanced && spec["allocateLoadBalancerNodePorts"].as_bool(true));
  out["services.nodeports"] = quantity::of(node_ports ? ports : 0);
}

void add_claim(amounts& out, const json::value& claim) {
  auto size = amount_of(claim["spec"]["resources"]["requests"]["storage"]);
  out["persistentvolumeclaims"] = quantity::of(1);
  out["requests.storage"] = size;
  auto storage_class = annotation_of(claim, "volume.beta.kubernetes.io/storage-class");
  if (storage_class.empty()) storage_class = claim["spec"]["storageClassName"].as_string();
  if (storage_class.empty()) return;
  auto prefix = std::string(storage_class) + ".storageclass.storage.k8s.io/";
  out[prefix + "persistentvolumeclaims"] = quantity::of(1);
  out[prefix + "requests.storage"] = size;
}

// How many devices of each class a claim may get: of alternatives the most of each, and as many as there can be where
// it asks for all.
void add_device_claim(amounts& out, const json::value& claim) {
  auto devices = [](const json::value& request) {
    constexpr std::int64_t of_claim_max = 32;
    auto mode = request["allocationMode"].as_string();
    return mode == "All" ? of_claim_max : mode == "ExactCount" ? request["count"].as_integer() : 0;
  };
  auto name = [](const json::value& request) {
    return std::string(request["deviceClassName"].as_string()) + std::string(devices_of_class);
  };
  auto& requests = claim["spec"]["devices"]["requests"];
  for (std::size_t i = 0; i < requests.size(); ++i) {
    std::map<std::string, std::int64_t> most;
    auto& alternatives = requests[i]["firstAvailable"];
    for (std::size_t j = 0; j < alternatives.size(); ++j) {
      auto& n = most[name(alternatives[j])];
      n = std::max(n, devices(alternatives[j]));
    }
    if (auto& exactly = requests[i]["exactly"]; exactly.is_object()) most[name(exactly)] = devices(exactly);
    for (auto& [of_class, n] : most) out[of_class] += quantity::of(n);
  }
}

const json::value& pod_that_owns(const json::value& claim) {
  static const json::value none;
  auto& owners = claim["metadata"]["ownerReferences"];
  for (std::size_t i = 0; i < owners.size(); ++i)
    if (owners[i]["controller"].as_bool())
      return owners[i]["kind"].as_string() == "Pod" && owners[i]["apiVersion"].as_string() == "v1" ? owners[i] : none;
  return none;
}

bool is_for_resources(const json::value& claim) {
  return annotation_of(claim, "resource.kubernetes.io/extended-resource-claim") == "true";
}

// Of the claims that were made for the pod's extended resources: the pod doesn't tell yet which is its own. Among more
// than a scheduler leaves, which a user made to be looked through, none is.
bool is_first_of(const json::value& pod, const json::value& claim, const store::snapshot& cluster) {
  // One that is just being created has no time yet.
  auto age = [](const json::value& c) {
    auto created = c["metadata"]["creationTimestamp"].as_string();
    return std::pair(created.empty() ? "~" : created, c["metadata"]["name"].as_string());
  };
  constexpr int looks_max = 16;
  bool first = true;
  int looks = 0;
  auto prefix = directory_prefix("resourceclaims", claim["metadata"]["namespace"].as_string());
  auto uid = pod["metadata"]["uid"].as_string();
  cluster.scan(objects_by_owner, uid, prefix, {}, [&](const store::object_ref& o) {
    if (++looks > looks_max) return first = false;
    auto other = read_object(o);
    first = !other || !is_for_resources(*other) || pod_that_owns(*other)["uid"].as_string() != uid ||
            age(*other) >= age(claim);
    return first;
  });
  return first;
}

// What the pod counts for that the claim was made for.
amounts counted_by_pod(const json::value& claim, const store::snapshot& cluster) {
  amounts out;
  auto& owner = pod_that_owns(claim);
  if (owner.is_null() || !is_for_resources(claim)) return out;
  auto& m = claim["metadata"];
  auto pod = read_object(cluster, object_key("pods", m["namespace"].as_string(), owner["name"].as_string()));
  if (!pod || (*pod)["metadata"]["uid"].as_string() != owner["uid"].as_string()) return out;
  auto& told = (*pod)["status"]["extendedResourceClaimStatus"];
  if (told.is_object() ? told["resourceClaimName"] == m["name"] : is_first_of(*pod, claim, cluster)) add_pod(out, *pod);
  return out;
}

// Devices of a class that stands for an extended resource count as that, too, but for those that a pod counts for
// already which asks for the resource.
void add_for_resources(amounts& out, const json::value& claim, const store::snapshot& cluster) {
  amounts more;
  for (auto& [name, n] : out) {
    if (!name.ends_with(devices_of_class)) continue;
    auto of_class = std::string_view(name).substr(0, name.size() - devices_of_class.size());
    auto found = read_object(cluster, object_key("deviceclasses", {}, of_class));
    auto resource = found ? (*found)["spec"]["extendedResourceName"].as_string() : std::string_view();
    if (resource.empty()) continue;
    more["requests.deviceclass.resource.kubernetes.io/" + std::string(of_class)] = n;
    more["requests." + std::string(resource)] = n;
  }
  if (more.empty()) return;
  const auto counted = counted_by_pod(claim, cluster);
  for (auto& [name, n] : more) {
    if (auto at = counted.find(name); at != counted.end()) n -= at->second;
    if (n.sign() > 0) out[name] = n;
  }
}

bool best_effort(const json::value& pod) {
  bool none = true;
  each_container(pod["spec"], [&](const json::value& container, std::string_view list) {
    if (list == "ephemeralContainers") return;
    for (auto which : {"requests", "limits"})
      for (auto name : {"cpu", "memory"}) none &= amount_of(container["resources"][which][name]).is_zero();
  });
  return none;
}

bool affine_across_namespaces(const json::value& pod) {
  auto term_crosses = [](const json::value& term) {
    return !term["namespaces"].empty() || term["namespaceSelector"].is_object();
  };
  auto any = [&](const json::value& affinity) {
    if (auto terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"].array())
      if (std::any_of(terms->begin(), terms->end(), term_crosses)) return true;
    if (auto terms = affinity["preferredDuringSchedulingIgnoredDuringExecution"].array())
      return std::any_of(terms->begin(), terms->end(),
                         [&](const json::value& t) { return term_crosses(t["podAffinityTerm"]); });
    return false;
  };
  auto& affinity = pod["spec"]["affinity"];
  return any(affinity["podAffinity"]) || any(affinity["podAntiAffinity"]);
}

bool in_scope(std::string_view scope, std::string_view op, const json::value& values, const json::value& pod) {
  if (scope == "PriorityClass") {
    auto name = pod["spec"]["priorityClassName"].as_string();
    auto list = values.array();
    bool listed =
        list && std::any_of(list->begin(), list->end(), [&](const json::value& v) { return v.as_string() == name; });
    if (op == "In") return listed;
    if (op == "NotIn") return !listed;
    return op == "DoesNotExist" ? name.empty() : !name.empty();
  }
  bool deadline = pod["spec"]["activeDeadlineSeconds"].as_integer(-1) >= 0;
  if (scope == "Terminating") return deadline;
  if (scope == "NotTerminating") return !deadline;
  if (scope == "BestEffort") return best_effort(pod);
  if (scope == "NotBestEffort") return !best_effort(pod);
  if (scope == "CrossNamespacePodAffinity") return affine_across_namespaces(pod);
  return false;
}

}  // namespace

amounts quota_usage(std::string_view group, std::string_view resource, const json::value& object) {
  amounts out;
  auto name = std::string(resource);
  out["count/" + (group.empty() ? name : name + '.' + std::string(group))] = quantity::of(1);
  if (group == "resource.k8s.io" && resource == "resourceclaims") add_device_claim(out, object);
  if (!group.empty()) return out;
  if (resource == "pods") {
    add_pod(out, object);
  } else if (resource == "services") {
    add_service(out, object);
  } else if (resource == "persistentvolumeclaims") {
    add_claim(out, object);
  } else if (resource == "configmaps" || resource == "secrets" || resource == "replicationcontrollers" ||
             resource == "resourcequotas") {
    out[name] = quantity::of(1);
  }
  return out;
}

amounts quota_usage(std::string_view group, std::string_view resource, const json::value& object,
                    const store::snapshot& cluster) {
  auto out = quota_usage(group, resource, object);
  if (group == "resource.k8s.io" && resource == "resourceclaims") add_for_resources(out, object, cluster);
  return out;
}

bool quota_counts_claims(const json::value& hard) {
  auto* names = hard.object();
  return names && std::any_of(names->begin(), names->end(), [](auto& m) {
           return m.name.ends_with(devices_of_class) ||
                  (m.name.starts_with("requests.") && m.name.find('/') != std::string_view::npos);
         });
}

bool quota_covers(const json::value& quota, std::string_view group, std::string_view resource,
                  const json::value& object) {
  auto& spec = quota["spec"];
  auto scopes = spec["scopes"].array();
  auto expressions = spec["scopeSelector"]["matchExpressions"].array();
  bool scoped = (scopes && !scopes->empty()) || (expressions && !expressions->empty());
  if (!scoped) return true;
  if (!is_pods(group, resource)) return false;
  if (scopes && !std::all_of(scopes->begin(), scopes->end(),
                             [&](const json::value& s) { return in_scope(s.as_string(), "Exists", {}, object); }))
    return false;
  return !expressions || std::all_of(expressions->begin(), expressions->end(), [&](const json::value& e) {
    return in_scope(e["scopeName"].as_string(), e["operator"].as_string(), e["values"], object);
  });
}

bool quota_scope_fits(std::string_view scope, std::string_view op, const json::value& values, std::string_view group,
                      std::string_view resource, const json::value& object) {
  return is_pods(group, resource) && in_scope(scope, op, values, object);
}

std::string quota_missing(const json::value& quota, const json::value& pod) {
  std::string out;
  for (auto name : {"cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"}) {
    if (!quota["spec"]["hard"].find(std::string_view(name))) continue;
    std::string_view text = name;
    auto which = text.starts_with("limits.") ? "limits" : "requests";
    auto plain = text.substr(text.find('.') == text.npos ? 0 : text.find('.') + 1);
    if (pod["spec"]["resources"][which].find(plain)) continue;
    std::string containers;
    each_container(pod["spec"], [&](const json::value& container, std::string_view list) {
      if (list == "ephemeralContainers" || container["resources"][which].find(plain)) return;
      if (!containers.empty()) containers += ',';
      containers += container["name"].as_string();
    });
    if (containers.empty()) continue;
    if (!out.empty()) out += "; ";
    out += std::string(text) + " for: " + containers;
  }
  return out;
}

}  // namespace kedge::api
