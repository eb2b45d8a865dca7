#include "api/authorization/node.h"

#include <algorithm>

#include "api/authorization/limits.h"
#include "api/authorization/rules.h"
#include "api/registry/indexes.h"
#include "api/registry/lookup.h"
#include "store/text.h"

namespace kedge::api {
namespace {

constexpr std::string_view user_prefix = "system:node:";

decision allow() { return {decision::kind::allow, {}}; }
decision pass(std::string reason = {}) { return {decision::kind::no_opinion, std::move(reason)}; }

bool one_of(std::string_view what, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

bool names(const std::vector<std::string>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// What every node may do; resources that are divided by object are decided before this table is asked.
const std::vector<policy_rule>& node_rules() {
  static const std::vector<policy_rule> rules = {
      {{"create"}, {"authentication.k8s.io"}, {"tokenreviews"}, {}, {}},
      {{"create"}, {"authorization.k8s.io"}, {"localsubjectaccessreviews", "subjectaccessreviews"}, {}, {}},
      {{"get", "list", "watch"}, {""}, {"services"}, {}, {}},
      {{"create", "patch", "update"}, {"", "events.k8s.io"}, {"events"}, {}, {}},
      {{"get"}, {""}, {"endpoints"}, {}, {}},
      {{"create", "get", "list", "watch"}, {"certificates.k8s.io"}, {"certificatesigningrequests"}, {}, {}},
      {{"get", "list", "watch"}, {"certificates.k8s.io"}, {"clustertrustbundles"}, {}, {}},
      {{"get", "list", "watch"}, {"storage.k8s.io"}, {"csidrivers"}, {}, {}},
      {{"get", "list", "watch"}, {"node.k8s.io"}, {"runtimeclasses"}, {}, {}},
  };
  return rules;
}

std::string no_relationship(std::string_view node) {
  return "no relationship found between node '" + std::string(node) + "' and this object";
}

decision lease(std::string_view node, const attributes& a) {
  if (!one_of(a.verb, {"get", "create", "update", "patch", "delete"}))
    return pass("can only get, create, update, patch, or delete a node lease");
  if (a.ns != "kube-node-lease") return pass("can only access leases in the \"kube-node-lease\" system namespace");
  // The name of a new lease is in its body, which NodeRestriction looks at.
  if (a.verb != "create" && a.name != node)
    return pass("can only access node lease with the same name as the requesting node");
  return allow();
}

decision csi_node(std::string_view node, const attributes& a) {
  if (!one_of(a.verb, {"get", "create", "update", "patch", "delete"}))
    return pass("can only get, create, update, patch, or delete a CSINode");
  if (!a.subresource.empty()) return pass("cannot authorize CSINode subresources");
  if (a.verb != "create" && a.name != node)
    return pass("can only access CSINode with the same name as the requesting node");
  return allow();
}

decision node_object(std::string_view node, const attributes& a) {
  if (a.subresource == "status") return one_of(a.verb, {"update", "patch"}) ? allow() : pass();
  if (!a.subresource.empty()) return pass();
  if (one_of(a.verb, {"create", "update", "patch"})) return allow();  // whose: NodeRestriction's business
  if (!one_of(a.verb, {"get", "list", "watch"})) return pass();
  if (a.name == node) return allow();
  auto whom = a.name.empty() ? std::string("all nodes") : "'" + a.name + "'";
  return pass("node '" + std::string(node) + "' cannot read " + whom + ", only its own Node object");
}

// The volume that a claim is bound to, if both say so.
std::optional<json::value> volume_of(std::string_view ns, std::string_view claim, const store::snapshot& cluster) {
  auto stored = cluster.find(object_key("persistentvolumeclaims", ns, claim));
  if (!stored) return std::nullopt;
  std::string buffer;
  auto name = store::string_in(store::member_at(stored->bytes(), "spec.volumeName"), buffer);
  auto volume = name.empty() ? std::nullopt : read_object(cluster, object_key("persistentvolumes", {}, name));
  if (!volume) return std::nullopt;
  auto& bound = (*volume)["spec"]["claimRef"];
  if (bound["namespace"].as_string() != ns || bound["name"].as_string() != claim) return std::nullopt;
  return volume;
}

// Whether a volume names the secret for mounting.
bool mounts_with(const json::value& volume, std::string_view ns, std::string_view name) {
  auto claim_ns = volume["claimRef"]["namespace"].as_string();
  auto is_it = [&](const json::value& ref) {
    auto ref_ns = ref["namespace"].as_string();
    auto ref_name = ref["name"].as_string();
    if (ref_name.empty()) ref_name = ref["secretName"].as_string(), ref_ns = ref["secretNamespace"].as_string();
    return ref_name == name && (ref_ns.empty() ? claim_ns : ref_ns) == ns;
  };
  bool found = is_it(volume["azureFile"]);
  for (auto kind : {"cephfs", "rbd", "flexVolume", "iscsi", "scaleIO", "storageos", "cinder"})
    found |= is_it(volume[kind]["secretRef"]);
  for (auto ref : {"nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"})
    found |= is_it(volume["csi"][ref]);
  return found;
}

}  // namespace

bool is_node(const user_info& user) noexcept {
  return user.name.starts_with(user_prefix) && user.in_group("system:nodes");
}

std::string_view node_name_of(const user_info& user) noexcept {
  return is_node(user) ? std::string_view(user.name).substr(user_prefix.size()) : std::string_view{};
}

node_authorizer::node_authorizer() = default;
node_authorizer::~node_authorizer() = default;

const pod_references& node_authorizer::names_of(const store::object_ref& pod) {
  auto found = pods_.find(pod->key());
  if (found == pods_.end()) {
    if (pods_.size() >= pod_references_kept_max) pods_.clear();
    found = pods_.emplace(std::string(pod->key()), known_pod{}).first;
  }
  auto& known = found->second;
  if (known.mod != pod->mod()) {
    auto object = read_object(pod);
    known = {pod->mod(), object ? references_of(*object) : pod_references{}};
  }
  return known.refers;
}

template <typename Test>
bool node_authorizer::any_pod(std::string_view node, std::string_view ns, const store::snapshot& cluster, Test test) {
  bool found = false;
  const auto pods = directory_prefix("pods");
  cluster.scan(pods_by_node, node, ns.empty() ? pods : directory_prefix("pods", ns), {},
               [&](const store::object_ref& pod) {
                 auto& refers = names_of(pod);
                 auto key = pod->key().substr(pods.size());
                 // A mirror pod is made by the node itself: it gives the node nothing.
                 found = !refers.mirror && test(refers, key.substr(0, key.find('/')));
                 return !found;
               });
  return found;
}

bool node_authorizer::reaches_volume(std::string_view node, const json::value& volume, const store::snapshot& cluster) {
  auto& claim = volume["spec"]["claimRef"];
  auto ns = claim["namespace"].as_string(), name = claim["name"].as_string();
  return !ns.empty() && !name.empty() && any_pod(node, ns, cluster, [&](const pod_references& p, std::string_view) {
    return names(p.volume_claims, name);
  });
}

bool node_authorizer::reaches_secret(std::string_view node, std::string_view ns, std::string_view name,
                                     const store::snapshot& cluster) {
  if (any_pod(node, ns, cluster, [&](const pod_references& p, std::string_view) { return names(p.secrets, name); }))
    return true;
  // A volume may name a secret for mounting; the node that mounts it reads the secret.
  if (cluster.count(directory_prefix("persistentvolumes")) == 0) return false;
  return any_pod(node, {}, cluster, [&](const pod_references& p, std::string_view home) {
    return std::ranges::any_of(p.volume_claims, [&](const std::string& claim) {
      auto volume = volume_of(home, claim, cluster);
      return volume && mounts_with((*volume)["spec"], ns, name);
    });
  });
}

bool node_authorizer::related(std::string_view node, const attributes& a, const store::snapshot& cluster) {
  auto name = std::string_view(a.name);
  auto named_in = [&](std::vector<std::string> pod_references::* list) {
    return any_pod(node, a.ns, cluster,
                   [&](const pod_references& p, std::string_view) { return names(p.*list, name); });
  };
  if (a.resource == "secrets") return reaches_secret(node, a.ns, name, cluster);
  if (a.resource == "configmaps") return named_in(&pod_references::config_maps);
  if (a.resource == "persistentvolumeclaims") return named_in(&pod_references::volume_claims);
  if (a.resource == "resourceclaims") return named_in(&pod_references::resource_claims);
  if (a.resource == "serviceaccounts")
    return any_pod(node, a.ns, cluster,
                   [&](const pod_references& p, std::string_view) { return p.service_account == name; });
  if (a.resource == "persistentvolumes") {
    auto volume = read_object(cluster, object_key("persistentvolumes", {}, name));
    return volume && reaches_volume(node, *volume, cluster);
  }
  if (a.resource == "volumeattachments") {
    auto attachment = read_object(cluster, object_key("volumeattachments", {}, name));
    return attachment && (*attachment)["spec"]["nodeName"].as_string() == node;
  }
  if (a.resource == "resourceslices") {
    auto slice = read_object(cluster, object_key("resourceslices", {}, name));
    return slice && (*slice)["spec"]["nodeName"].as_string() == node;
  }
  if (a.resource == "podcertificaterequests") {
    auto request = read_object(cluster, object_key("podcertificaterequests", a.ns, name));
    return request && (*request)["spec"]["nodeName"].as_string() == node;
  }
  if (a.resource == "pods") {
    auto stored = read_object(cluster, object_key("pods", a.ns, name));
    return stored && (*stored)["spec"]["nodeName"].as_string() == node;
  }
  return false;
}

decision node_authorizer::get_one(std::string_view node, const attributes& a, const store::snapshot& cluster) {
  if (a.verb != "get") return pass("can only get individual resources of this type");
  if (!a.subresource.empty()) return pass("cannot get subresource");
  if (a.name.empty()) return pass("No Object name found");
  return related(node, a, cluster) ? allow() : pass(no_relationship(node));
}

decision node_authorizer::read_namespaced(std::string_view node, const attributes& a, const store::snapshot& cluster) {
  if (!one_of(a.verb, {"get", "list", "watch"})) return pass("can only read resources of this type");
  if (!a.subresource.empty()) return pass("cannot read subresource");
  if (a.ns.empty()) return pass("can only read namespaced object of this type");
  if (a.name.empty()) return pass("No Object name found");
  return related(node, a, cluster) ? allow() : pass(no_relationship(node));
}

decision node_authorizer::claim_status(std::string_view node, const attributes& a, const store::snapshot& cluster) {
  if (!one_of(a.verb, {"update", "patch"})) return pass("can only get/update/patch this type");
  if (a.name.empty()) return pass("No Object name found");
  return related(node, a, cluster) ? allow() : pass(no_relationship(node));
}

decision node_authorizer::service_account(std::string_view node, const attributes& a, const store::snapshot& cluster) {
  if (a.verb == "get" && a.subresource.empty()) return read_namespaced(node, a, cluster);
  if (a.verb != "create" || a.name.empty()) return pass("can only create tokens for individual service accounts");
  if (a.subresource != "token") return pass("can only create token subresource of serviceaccount");
  return related(node, a, cluster) ? allow() : pass(no_relationship(node));
}

decision node_authorizer::pod(std::string_view node, const attributes& a, const store::snapshot& cluster) {
  // Whose pod is written: NodeRestriction's business.
  if (a.subresource == "status") return one_of(a.verb, {"update", "patch"}) ? allow() : pass();
  if (a.subresource == "eviction") return a.verb == "create" ? allow() : pass();
  if (!a.subresource.empty()) return pass();
  if (one_of(a.verb, {"create", "delete"})) return allow();
  if (a.verb == "get") return get_one(node, a, cluster);
  if (a.verb != "list" && a.verb != "watch") return pass();
  if (a.fields.demands("spec.nodeName", node)) return allow();
  if (!a.name.empty() && !a.ns.empty() && related(node, a, cluster)) return allow();
  return pass("can only list/watch pods with spec.nodeName field selector");
}

decision node_authorizer::resource_slice(std::string_view node, const attributes& a, const store::snapshot& cluster) {
  if (!a.subresource.empty()) return pass("cannot authorize ResourceSlice subresources");
  if (a.verb == "create") return allow();  // for which node: NodeRestriction's business
  if (one_of(a.verb, {"get", "update", "patch", "delete"}))
    return !a.name.empty() && related(node, a, cluster) ? allow() : pass(no_relationship(node));
  if (one_of(a.verb, {"list", "watch", "deletecollection"}))
    return a.fields.demands("spec.nodeName", node)
               ? allow()
               : pass("can only list/watch/deletecollection resourceslices with nodeName field selector");
  return pass(
      "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, "
      "deletecollection");
}

decision node_authorizer::pod_certificate_request(std::string_view node, const attributes& a,
                                                  const store::snapshot& cluster) {
  if (!a.subresource.empty()) return pass("nodes may not access the status subresource of PodCertificateRequests");
  if (a.verb == "create") return allow();  // for which pod: NodeRestriction's business
  if (a.verb == "get") return get_one(node, a, cluster);
  if (a.verb == "list" || a.verb == "watch")
    return a.fields.demands("spec.nodeName", node)
               ? allow()
               : pass("can only list/watch podcertificaterequests with nodeName field selector");
  return pass("nodes may not " + a.verb + " podcertificaterequests");
}

decision node_authorizer::authorize(const attributes& a, const store::snapshot& cluster) {
  if (!is_node(a.user)) return pass();
  auto node = node_name_of(a.user);
  if (node.empty()) return pass("unknown node for user " + quote(a.user->name));
  if (!a.is_resource) return pass();
  if (a.api_group.empty()) {
    if (a.resource == "secrets" || a.resource == "configmaps") return read_namespaced(node, a, cluster);
    if (a.resource == "persistentvolumeclaims")
      return a.subresource == "status" ? claim_status(node, a, cluster) : get_one(node, a, cluster);
    if (a.resource == "persistentvolumes") return get_one(node, a, cluster);
    if (a.resource == "serviceaccounts") return service_account(node, a, cluster);
    if (a.resource == "nodes") return node_object(node, a);
    if (a.resource == "pods") return pod(node, a, cluster);
  } else if (a.api_group == "resource.k8s.io") {
    if (a.resource == "resourceclaims") return get_one(node, a, cluster);
    if (a.resource == "resourceslices") return resource_slice(node, a, cluster);
  } else if (a.api_group == "storage.k8s.io") {
    if (a.resource == "volumeattachments") return get_one(node, a, cluster);
    if (a.resource == "csinodes") return csi_node(node, a);
  } else if (a.api_group == "coordination.k8s.io") {
    if (a.resource == "leases") return lease(node, a);
  } else if (a.api_group == "certificates.k8s.io") {
    if (a.resource == "podcertificaterequests") return pod_certificate_request(node, a, cluster);
  }
  return any_allows(node_rules(), a) ? allow() : pass();
}

}  // namespace kedge::api
