// node_restriction.cc: a node writes only what is its own: its Node, its Lease, its pods' status, its mirror pods.
//
// The Node authorizer divides by what a request names; this plugin divides by what its body says.
#include <algorithm>
#include <set>

#include "api/access/admission/plugin.h"
#include "api/access/cluster.h"
#include "api/access/node_authorizer.h"
#include "api/access/pod_references.h"
#include "base/strings.h"
#include "crypto/request.h"

namespace kedge::api {
namespace {

bool in_domain(std::string_view prefix, std::string_view domain) {
  return prefix == domain || (prefix.size() > domain.size() && prefix.ends_with(domain) && prefix[prefix.size() - domain.size() - 1] == '.');
}

bool kubelet_may_set(std::string_view label, std::string_view prefix) {
  static constexpr std::string_view listed[] = {
      "kubernetes.io/hostname",           "kubernetes.io/os",
      "kubernetes.io/arch",               "beta.kubernetes.io/os",
      "beta.kubernetes.io/arch",          "beta.kubernetes.io/instance-type",
      "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone",
      "topology.kubernetes.io/region",    "failure-domain.beta.kubernetes.io/zone",
      "failure-domain.beta.kubernetes.io/region"};
  return std::find(std::begin(listed), std::end(listed), label) != std::end(listed) || in_domain(prefix, "kubelet.kubernetes.io") ||
         in_domain(prefix, "node.kubernetes.io");
}

bool label_forbidden(std::string_view label) {
  auto slash = label.find('/');
  if (slash == label.npos) return false;
  auto prefix = label.substr(0, slash);
  if (in_domain(prefix, "node-restriction.kubernetes.io")) return true;
  bool of_kubernetes = in_domain(prefix, "kubernetes.io") || in_domain(prefix, "k8s.io");
  return of_kubernetes && !kubelet_may_set(label, prefix);
}

// Labels that differ and that a kubelet may not set, in order.
std::vector<std::string> forbidden_changes(const json::value& now, const json::value& before) {
  std::set<std::string> found;
  auto compare = [&](const json::value& a, const json::value& b) {
    if (auto members = a.object())
      for (auto& [name, value] : *members) {
        auto other = b.find(name);
        if ((!other || *other != value) && label_forbidden(name)) found.insert(name);
      }
  };
  compare(now, before);
  compare(before, now);
  return {found.begin(), found.end()};
}

// An absent list and an empty one are the same.
bool same_list(const json::value& a, const json::value& b) { return a == b || (a.empty() && b.empty()); }

class restriction {
 public:
  restriction(admission_request& r, plugin_context& c, std::string_view node) : r_(r), c_(c), node_(node), quoted_("node " + quote(node)) {}

  api_result<void> check() {
    auto& a = r_.who;
    if (a.api_group.empty()) {
      if (a.resource == "nodes") return check_node();
      if (a.resource == "pods") return check_pod_request();
      if (a.resource == "serviceaccounts" && a.subresource == "token") return check_token();
      if (a.resource == "persistentvolumeclaims") {
        if (r_.what == operation::update && a.subresource == "status") return {};
        return no("node " + quote(node_) + " may only update PVC status");
      }
    } else if (a.api_group == "coordination.k8s.io" && a.resource == "leases") {
      return check_lease();
    } else if (a.api_group == "storage.k8s.io" && a.resource == "csinodes") {
      if (object_name(r_) != node_) return no("can only access CSINode with the same name as the requesting node");
    } else if (a.api_group == "resource.k8s.io" && a.resource == "resourceslices") {
      if (r_.what == operation::create && r_.object && (*r_.object)["spec"]["nodeName"].as_string() != node_)
        return no("can only create ResourceSlice with the same NodeName as the requesting node");
    } else if (a.api_group == "certificates.k8s.io" && a.resource == "certificatesigningrequests") {
      return check_certificate_request();
    }
    return {};
  }

 private:
  api_result<void> no(std::string_view why) { return fail(refused(r_, why)); }

  api_result<void> check_node() {
    auto name = object_name(r_);
    if (r_.what == operation::remove) return no(quoted_ + " is not allowed to delete itself");
    if (name != node_) return no(quoted_ + " is not allowed to modify node " + quote(name));
    if (!r_.object) return {};
    auto& labels = (*r_.object)["metadata"]["labels"];
    if (r_.what == operation::create) {
      if (!(*r_.object)["metadata"]["ownerReferences"].empty()) return no(quoted_ + " is not allowed to set ownerReferences");
      auto wrong = forbidden_changes(labels, {});
      if (!wrong.empty()) return no(quoted_ + " is not allowed to set the following labels: " + join(wrong, ", "));
      return {};
    }
    if (r_.what != operation::update || !r_.old) return {};
    if (!same_list((*r_.object)["metadata"]["ownerReferences"], (*r_.old)["metadata"]["ownerReferences"]))
      return no(quoted_ + " is not allowed to modify ownerReferences");
    if (!same_list((*r_.object)["spec"]["taints"], (*r_.old)["spec"]["taints"])) return no(quoted_ + " is not allowed to modify taints");
    auto wrong = forbidden_changes(labels, (*r_.old)["metadata"]["labels"]);
    if (!wrong.empty()) return no(quoted_ + " is not allowed to modify labels: " + join(wrong, ", "));
    return {};
  }

  api_result<void> check_pod_request() {
    auto& sub = r_.who.subresource;
    if (sub.empty()) {
      if (r_.what == operation::create) return check_new_pod();
      if (r_.what == operation::remove) return check_own_pod(r_.old, " can only delete pods with spec.nodeName set to itself");
      return no("unexpected operation \"UPDATE\", node " + quote(node_) + " can only create and delete mirror pods");
    }
    if (sub == "status") {
      if (auto own = check_own_pod(r_.old, " can only update pod status for pods with spec.nodeName set to itself"); !own) return own;
      if (r_.object && r_.old && !same_list((*r_.object)["metadata"]["labels"], (*r_.old)["metadata"]["labels"]))
        return no(quoted_ + " cannot update labels through pod status");
      return {};
    }
    if (sub == "eviction") return check_own_pod(nullptr, " can only evict pods with spec.nodeName set to itself");
    return no("unexpected pod subresource " + quote(sub) + ", only 'status' and 'eviction' are allowed");
  }

  api_result<void> check_own_pod(const json::value* pod, std::string_view otherwise) {
    std::optional<json::value> stored;
    if (!pod) {
      auto name = object_name(r_);
      stored = read_object(c_.cluster, object_key("pods", r_.who.ns, name));
      if (!stored) return fail(not_found("", "pods", name));
      pod = &*stored;
    }
    if ((*pod)["spec"]["nodeName"].as_string() != node_) return no(quoted_ + std::string(otherwise));
    return {};
  }

  api_result<void> check_new_pod() {
    auto& pod = *r_.object;
    if (!is_mirror_pod(pod)) return no("pod does not have \"kubernetes.io/config.mirror\" annotation, " + quoted_ + " can only create mirror pods");
    if (pod["spec"]["nodeName"].as_string() != node_) return no(quoted_ + " can only create pods with spec.nodeName set to itself");
    if (auto owned = check_owner(pod["metadata"]["ownerReferences"]); !owned) return owned;
    auto refers = references_of(pod);
    if (!refers.service_account.empty()) return no(quoted_ + " can not create pods that reference a service account");
    if (!refers.secrets.empty()) return no(quoted_ + " can not create pods that reference secrets");
    if (!refers.config_maps.empty()) return no(quoted_ + " can not create pods that reference configmaps");
    if (!refers.volume_claims.empty()) return no(quoted_ + " can not create pods that reference persistentvolumeclaims");
    if (!refers.resource_claims.empty()) return no(quoted_ + " can not create pods that reference resourceclaims");
    return {};
  }

  api_result<void> check_owner(const json::value& owners) {
    if (owners.size() > 1) return no(quoted_ + " can only create pods with a single owner reference set to itself");
    auto& owner = owners[std::size_t{0}];
    if (owner["apiVersion"].as_string() != "v1" || owner["kind"].as_string() != "Node" || owner["name"].as_string() != node_)
      return no(quoted_ + " can only create pods with an owner reference set to itself");
    if (!owner["controller"].as_bool()) return no(quoted_ + " can only create pods with a controller owner reference set to itself");
    if (owner["blockOwnerDeletion"].as_bool()) return no(quoted_ + " must not set blockOwnerDeletion on an owner reference");
    auto node = read_object(c_.cluster, object_key("minions", {}, node_));
    if (!node) return fail(not_found("", "nodes", node_));
    if (uid_of(*node) != owner["uid"].as_string())
      return no("node " + std::string(node_) + " UID mismatch: expected " + std::string(owner["uid"].as_string()) + " got " + std::string(uid_of(*node)));
    return {};
  }

  api_result<void> check_token() {
    if (!r_.object) return {};
    auto& ref = (*r_.object)["spec"]["boundObjectRef"];
    auto name = ref["name"].as_string();
    if (ref["apiVersion"].as_string() != "v1" || ref["kind"].as_string() != "Pod" || name.empty()) return no("node requested token not bound to a pod");
    auto uid = ref["uid"].as_string();
    if (uid.empty()) return no("node requested token with a pod binding without a uid");
    auto pod = read_object(c_.cluster, object_key("pods", r_.who.ns, name));
    if (!pod) return fail(not_found("", "pods", name));
    if (uid_of(*pod) != uid)
      return no("the UID in the bound object reference (" + std::string(uid) + ") does not match the UID in record. The object might have been deleted and then recreated");
    if ((*pod)["spec"]["nodeName"].as_string() != node_) return no("node requested token bound to a pod scheduled on a different node");
    return check_audiences(*pod);
  }

  // A node gets tokens for the audiences that its pods' volumes name, and for the API.
  api_result<void> check_audiences(const json::value& pod) {
    std::set<std::string, std::less<>> known{""};
    if (auto volumes = pod["spec"]["volumes"].array())
      for (auto& volume : *volumes) {
        if (auto sources = volume["projected"]["sources"].array())
          for (auto& source : *sources) known.emplace(source["serviceAccountToken"]["audience"].as_string());
        auto driver_name = volume["csi"]["driver"].as_string();
        if (driver_name.empty()) continue;
        auto driver = read_object(c_.cluster, object_key("csidrivers", {}, driver_name));
        if (driver && (*driver)["spec"]["tokenRequests"].array())
          for (auto& wanted : *(*driver)["spec"]["tokenRequests"].array()) known.emplace(wanted["audience"].as_string());
      }
    for (auto& audience : string_list((*r_.object)["spec"]["audiences"]))
      if (!known.contains(audience)) return no("audience " + quote(audience) + " not found in pod spec volume, system:node:" + std::string(node_) + " is not authorized to request tokens for this audience");
    return {};
  }

  api_result<void> check_lease() {
    if (r_.who.ns != "kube-node-lease") return no("can only access leases in the \"kube-node-lease\" system namespace");
    if (object_name(r_) != node_) return no("can only access node lease with the same name as the requesting node");
    return {};
  }

  api_result<void> check_certificate_request() {
    if (r_.what != operation::create || !r_.who.subresource.empty() || !r_.object) return {};
    auto signer = (*r_.object)["spec"]["signerName"].as_string();
    if (signer != "kubernetes.io/kube-apiserver-client-kubelet" && signer != "kubernetes.io/kubelet-serving") return {};
    auto pem = unbase64((*r_.object)["spec"]["request"].as_string());
    if (!pem) return no("unable to parse csr: " + pem.error().message);
    auto request = crypto::parse_request(*pem);
    if (!request) return no("unable to parse csr: " + request.error().message);
    if (request->subject.user != r_.who.user->name) return no("can only create a node CSR with CN=" + r_.who.user->name);
    return {};
  }

  admission_request& r_;
  plugin_context& c_;
  std::string_view node_;
  std::string quoted_;
};

api_result<void> check(admission_request& r, plugin_context& c) {
  if (!is_node(r.who.user)) return {};
  auto node = node_name_of(r.who.user);
  if (node.empty()) return fail(refused(r, "could not determine node from user " + quote(r.who.user->name)));
  return restriction(r, c, node).check();
}

}  // namespace

const plugin plugins::node_restriction{.name = "NodeRestriction", .mutate = check};

}  // namespace kedge::api
