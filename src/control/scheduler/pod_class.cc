#include "control/scheduler/pod_class.h"

#include <algorithm>

#include "crypto/short_digest.h"
#include "json/write.h"

namespace kedge::control::scheduler {
namespace {

// kube-scheduler's defaults for scores (pkg/scheduler/util).
constexpr std::int64_t default_milli_cpu = 100, default_memory = 200 * 1024 * 1024;

affinity_term term_of(const json::value& t, std::string_view pod_namespace) {
  affinity_term out;
  out.topology_key = t["topologyKey"].as_string();
  out.selector = api::label_selector::from_object(t["labelSelector"]);
  out.namespace_selector = api::label_selector::from_object(t["namespaceSelector"]);
  for (std::size_t i = 0; i < t["namespaces"].size(); ++i) out.namespaces.emplace_back(t["namespaces"][i].as_string());
  if (out.namespaces.empty() && !t["namespaceSelector"].is_object()) out.namespaces.emplace_back(pod_namespace);
  return out;
}

std::vector<affinity_term> required_terms(const json::value& affinity, std::string_view ns) {
  std::vector<affinity_term> out;
  auto& list = affinity["requiredDuringSchedulingIgnoredDuringExecution"];
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(term_of(list[i], ns));
  return out;
}

std::vector<affinity_term> preferred_terms(const json::value& affinity, std::string_view ns) {
  std::vector<affinity_term> out;
  auto& list = affinity["preferredDuringSchedulingIgnoredDuringExecution"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    out.push_back(term_of(list[i]["podAffinityTerm"], ns));
    out.back().weight = list[i]["weight"].as_integer();
  }
  return out;
}

spread_constraint constraint_of(const json::value& c, const json::value& labels) {
  spread_constraint out;
  out.max_skew = c["maxSkew"].as_integer();
  out.min_domains = c["minDomains"].as_integer(1);
  out.topology_key = c["topologyKey"].as_string();
  out.honor_affinity = c["nodeAffinityPolicy"].as_string("Honor") == "Honor";
  out.honor_taints = c["nodeTaintsPolicy"].as_string("Ignore") == "Honor";
  auto selector = c["labelSelector"];
  for (std::size_t i = 0; selector.is_object() && i < c["matchLabelKeys"].size(); ++i) {
    auto key = c["matchLabelKeys"][i].as_string();
    auto value = labels.find(key);
    if (!value) continue;
    selector.member("matchExpressions")
        .push_back(json::object{{"key", key}, {"operator", "In"}, {"values", json::array{*value}}});
  }
  out.selector = api::label_selector::from_object(selector);
  return out;
}

void read_ports(pod_class& out, const json::value& spec) {
  const bool host_network = spec["hostNetwork"].as_bool();
  auto read = [&](const json::value& container) {
    for (std::size_t i = 0; i < container["ports"].size(); ++i) {
      auto& p = container["ports"][i];
      auto port = p["hostPort"].as_integer();
      if (port == 0 && host_network) port = p["containerPort"].as_integer();
      if (port <= 0) continue;
      out.ports.push_back(
          {std::string(p["hostIP"].as_string("0.0.0.0")), std::string(p["protocol"].as_string("TCP")), port});
      if (out.ports.back().ip.empty()) out.ports.back().ip = "0.0.0.0";
    }
  };
  for (std::size_t i = 0; i < spec["containers"].size(); ++i) read(spec["containers"][i]);
  for (std::size_t i = 0; i < spec["initContainers"].size(); ++i)
    if (spec["initContainers"][i]["restartPolicy"].as_string() == "Always") read(spec["initContainers"][i]);
}

void read_volumes(pod_class& out, const json::value& pod) {
  auto& list = pod["spec"]["volumes"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto& v = list[i];
    if (v["persistentVolumeClaim"].is_object())
      out.claims.push_back({std::string(v["persistentVolumeClaim"]["claimName"].as_string()), false});
    else if (v["ephemeral"].is_object())
      out.claims.push_back(
          {std::string(pod["metadata"]["name"].as_string()) + "-" + std::string(v["name"].as_string()), true});
    else if (v["csi"].is_object())
      out.inline_drivers.emplace_back(v["csi"]["driver"].as_string());
    else if (v["image"].is_object())
      out.images.push_back(image_with_tag(v["image"]["reference"].as_string()));
    else if (auto& gce = v["gcePersistentDisk"]; gce.is_object())
      out.disks.push_back({"gcePersistentDisk", std::string(gce["pdName"].as_string()), gce["readOnly"].as_bool()});
    else if (auto& aws = v["awsElasticBlockStore"]; aws.is_object())
      out.disks.push_back(
          {"awsElasticBlockStore", std::string(aws["volumeID"].as_string()), aws["readOnly"].as_bool()});
    else if (auto& iscsi = v["iscsi"]; iscsi.is_object())
      out.disks.push_back({"iscsi", std::string(iscsi["iqn"].as_string()), iscsi["readOnly"].as_bool()});
    else if (auto& rbd = v["rbd"]; rbd.is_object())
      for (std::size_t m = 0; m < rbd["monitors"].size(); ++m)
        out.disks.push_back({"rbd",
                             std::string(rbd["monitors"][m].as_string()) + "|" +
                                 std::string(rbd["pool"].as_string("rbd")) + "|" +
                                 std::string(rbd["image"].as_string()),
                             rbd["readOnly"].as_bool()});
  }
}

// How the scheduler reads what a pod asks for.
struct counted {
  resources requests, nonzero, scored;
};

counted count(const json::value& pod) {
  static const pod::amounts both{{"cpu", schema::quantity::of_milli(default_milli_cpu)},
                                 {"memory", schema::quantity::of(default_memory)}};
  counted out;
  auto asked = pod::amounts_of_pod(pod, "requests", {.use_status = true, .use_status_of_whole = true});
  out.requests = resources::of(asked);
  // kube-scheduler's NodeResourcesFit scores what the containers ask for, not what the pod does as a whole.
  out.scored = resources::of(
      pod::amounts_of_pod(pod, "requests", {.missing = &both, .use_status = true, .of_containers_alone = true}));
  out.nonzero = out.scored;
  if (!pod["spec"]["resources"]["requests"].empty()) {
    pod::amounts missing;
    for (auto& [name, amount] : both)
      if (!asked.contains(name)) missing.emplace(name, amount);
    out.nonzero = resources::of(
        pod::amounts_of_pod(pod, "requests", {.missing = &missing, .use_status = true, .use_status_of_whole = true}));
  }
  return out;
}

resource_container container_of(const json::value& c, bool is_init) {
  resource_container out;
  out.name = c["name"].as_string();
  out.passes = is_init && c["restartPolicy"].as_string() != "Always";
  for (auto& [name, amount] : pod::amounts_of(c["resources"]["requests"])) {
    out.requests.push_back(name);
    if (may_be_devices(name) && amount.is_whole() && amount.value() > 0)
      out.extended.emplace_back(name, amount.value());
  }
  return out;
}

std::vector<resource_container> containers_of(const json::value& spec) {
  std::vector<resource_container> out;
  for (auto list : {"initContainers", "containers"})
    for (std::size_t i = 0; i < spec[list].size(); ++i)
      out.push_back(container_of(spec[list][i], list == std::string_view("initContainers")));
  if (std::ranges::all_of(out, [](auto& c) { return c.extended.empty(); })) out.clear();
  return out;
}

// What pods of one class have in common of it.
json::value text_of(const std::vector<resource_container>& containers) {
  json::array out;
  for (auto& c : containers) {
    json::array one{c.name, c.passes};
    for (auto& name : c.requests) one.emplace_back(name);
    for (auto& [name, count] : c.extended) {
      one.emplace_back(name);
      one.emplace_back(count);
    }
    out.emplace_back(std::move(one));
  }
  return out;
}

// The controllers by whose selectors pods are spread when they don't say how.
void read_owner(pod_class& out, const json::value& pod) {
  auto& owners = pod["metadata"]["ownerReferences"];
  for (std::size_t i = 0; i < owners.size(); ++i) {
    auto& o = owners[i];
    if (!o["controller"].as_bool()) continue;
    auto version = o["apiVersion"].as_string(), kind = o["kind"].as_string();
    if ((version == "v1" && kind == "ReplicationController") ||
        (version == "apps/v1" && (kind == "ReplicaSet" || kind == "StatefulSet"))) {
      out.owner_kind = kind;
      out.owner_name = o["name"].as_string();
    }
  }
}

void keep(json::object& into, const json::value& from, std::initializer_list<const char*> names) {
  for (auto name : names)
    if (auto v = from.find(name)) into.append(name, *v);
}

// The text that pods of one class have in common, and others not.
std::string key_of(const json::value& pod, const counted& amounts) {
  auto& spec = pod["spec"];
  json::object out;
  out.append("ns", pod["metadata"]["namespace"]);
  out.append("labels", pod["metadata"]["labels"]);
  keep(out, spec,
       {"nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "priority", "preemptionPolicy",
        "schedulerName", "schedulingGates", "hostNetwork", "hostUsers", "resourceClaims"});
  json::array numbers;
  for (auto* r : {&amounts.requests, &amounts.nonzero, &amounts.scored}) {
    numbers.emplace_back(r->milli_cpu);
    numbers.emplace_back(r->memory);
    numbers.emplace_back(r->ephemeral_storage);
    for (auto& [name, n] : r->scalars) {
      numbers.emplace_back(name);
      numbers.emplace_back(n);
    }
  }
  out.append("amounts", std::move(numbers));
  for (auto list : {"containers", "initContainers"}) {
    json::array kept;
    for (std::size_t i = 0; i < spec[list].size(); ++i) {
      json::object c;
      keep(c, spec[list][i], {"image", "ports", "restartPolicy", "restartPolicyRules", "resizePolicy"});
      kept.emplace_back(std::move(c));
    }
    out.append(list, std::move(kept));
  }
  if (auto extended = containers_of(spec); !extended.empty()) out.append("extended", text_of(extended));
  pod_class owner;
  read_owner(owner, pod);
  out.append("owner", owner.owner_kind + "/" + owner.owner_name);
  json::array volumes;
  bool own_claims = false;
  for (std::size_t i = 0; i < spec["volumes"].size(); ++i) {
    json::object v;
    keep(v, spec["volumes"][i],
         {"persistentVolumeClaim", "ephemeral", "csi", "image", "gcePersistentDisk", "awsElasticBlockStore", "iscsi",
          "rbd"});
    if (v.empty()) continue;
    if (v.find("ephemeral")) {
      own_claims = true;
      v.append("name", spec["volumes"][i]["name"]);
    }
    volumes.emplace_back(std::move(v));
  }
  out.append("volumes", std::move(volumes));
  if (own_claims) out.append("name", pod["metadata"]["name"]);
  return json::write(json::value(std::move(out)));
}

// What a node must say that it can for the pod to run there (KEP-5328): of kube-scheduler's features those that a pod
// asks for from its start.
std::vector<std::string> features_of(const json::value& spec) {
  std::vector<std::string> out;
  auto restarts_all = [&](const json::value& container) {
    auto& rules = container["restartPolicyRules"];
    for (std::size_t i = 0; i < rules.size(); ++i)
      if (rules[i]["action"].as_string() == "RestartAllContainers") return true;
    return false;
  };
  bool restarts = false;
  for (auto list : {"containers", "initContainers"})
    for (std::size_t i = 0; i < spec[list].size(); ++i) restarts |= restarts_all(spec[list][i]);
  if (restarts) out.emplace_back("RestartAllContainersOnContainerExits");
  if (spec["hostNetwork"].as_bool() && !spec["hostUsers"].as_bool(true))
    out.emplace_back("UserNamespacesHostNetworkSupport");
  return out;
}

pod_class parse(const json::value& pod, counted amounts) {
  auto& spec = pod["spec"];
  pod_class out;
  out.ns = pod["metadata"]["namespace"].as_string();
  out.labels = label_set::of(pod["metadata"]["labels"]);
  out.scheduler_name = spec["schedulerName"].as_string();
  out.priority = spec["priority"].as_integer();
  out.never_preempts = spec["preemptionPolicy"].as_string() == "Never";
  out.requests = std::move(amounts.requests);
  out.nonzero_cpu = amounts.nonzero.milli_cpu;
  out.nonzero_memory = amounts.nonzero.memory;
  out.scored_cpu = amounts.scored.milli_cpu;
  out.scored_memory = amounts.scored.memory;
  out.nodes = node_demand::of(spec);
  auto& affinity = spec["affinity"];
  out.preferred_nodes = preferred_of(affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]);
  out.tolerations = tolerations_of(spec["tolerations"]);
  out.affinity = required_terms(affinity["podAffinity"], out.ns);
  out.anti_affinity = required_terms(affinity["podAntiAffinity"], out.ns);
  out.preferred_affinity = preferred_terms(affinity["podAffinity"], out.ns);
  out.preferred_anti_affinity = preferred_terms(affinity["podAntiAffinity"], out.ns);
  auto& spread = spec["topologySpreadConstraints"];
  out.has_spread = !spread.empty();
  for (std::size_t i = 0; i < spread.size(); ++i)
    (spread[i]["whenUnsatisfiable"].as_string() == "DoNotSchedule" ? out.spread : out.soft_spread)
        .push_back(constraint_of(spread[i], pod["metadata"]["labels"]));
  for (auto list : {"initContainers", "containers"})
    for (std::size_t i = 0; i < spec[list].size(); ++i)
      out.images.push_back(image_with_tag(spec[list][i]["image"].as_string()));
  for (std::size_t i = 0; i < spec["schedulingGates"].size(); ++i)
    out.gates.emplace_back(spec["schedulingGates"][i]["name"].as_string());
  out.features = features_of(spec);
  for (std::size_t i = 0; i < spec["resourceClaims"].size(); ++i) {
    auto& c = spec["resourceClaims"][i];
    out.device_claims.push_back({std::string(c["name"].as_string()), std::string(c["resourceClaimName"].as_string()),
                                 c["resourceClaimTemplateName"].is_string()});
  }
  out.containers = containers_of(spec);
  read_owner(out, pod);
  read_ports(out, spec);
  read_volumes(out, pod);
  out.image_count = out.images.size();
  return out;
}

}  // namespace

std::int64_t resource_container::asks_for(std::string_view resource) const noexcept {
  auto at = std::ranges::find(extended, resource, &std::pair<std::string, std::int64_t>::first);
  return at == extended.end() ? 0 : at->second;
}

bool host_port::clashes(const host_port& o) const noexcept {
  constexpr std::string_view any = "0.0.0.0";
  return port == o.port && protocol == o.protocol && (ip == o.ip || ip == any || o.ip == any);
}

bool means(const affinity_term& term, const pod_class& other, const label_set& namespace_labels) noexcept {
  const bool there = std::find(term.namespaces.begin(), term.namespaces.end(), other.ns) != term.namespaces.end() ||
                     matches(term.namespace_selector, namespace_labels);
  return there && matches(term.selector, other.labels);
}

bool means_all(const std::vector<affinity_term>& terms, const pod_class& other,
               const label_set& namespace_labels) noexcept {
  return !terms.empty() &&
         std::all_of(terms.begin(), terms.end(), [&](auto& t) { return means(t, other, namespace_labels); });
}

std::string image_with_tag(std::string_view image) {
  auto colon = image.rfind(':'), slash = image.rfind('/');
  const bool tagged = colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash);
  return std::string(image) + (tagged ? "" : ":latest");
}

pod_class_ref class_table::of(const json::value& pod) {
  auto amounts = count(pod);
  auto key = crypto::short_sha256(key_of(pod, amounts));
  if (auto it = known_.find(key); it != known_.end())
    if (auto same = it->second.lock()) return same;
  if (known_.size() >= sweep_at_) sweep();
  auto made = std::make_shared<const pod_class>(parse(pod, std::move(amounts)));
  known_.insert_or_assign(std::move(key), made);
  return made;
}

// Forgets the classes of which no pod is left; the work is spread over as many new ones.
void class_table::sweep() {
  std::erase_if(known_, [](auto& entry) { return entry.second.expired(); });
  sweep_at_ = std::max<std::size_t>(64, 2 * known_.size());
}

}  // namespace kedge::control::scheduler
