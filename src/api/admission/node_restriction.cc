// node_restriction.cc: a node writes only what is its own: its Node, its Lease, its pods' status, its mirror pods.
//
// The Node authorizer divides by what a request names; this plugin divides by what its body says. As Kubernetes 1.37
// has it.
#include <algorithm>
#include <set>

#include "api/admission/plugin.h"
#include "api/authorization/node.h"
#include "api/registry/lookup.h"
#include "base/strings.h"
#include "crypto/request.h"
#include "pod/references.h"

namespace kedge::api {
namespace {

bool in_domain(std::string_view prefix, std::string_view domain) {
  return prefix == domain || (prefix.size() > domain.size() && prefix.ends_with(domain) &&
                              prefix[prefix.size() - domain.size() - 1] == '.');
}

bool kubelet_may_set(std::string_view label, std::string_view prefix) {
  static constexpr std::string_view listed[] = {"kubernetes.io/hostname",
                                                "kubernetes.io/os",
                                                "kubernetes.io/arch",
                                                "beta.kubernetes.io/os",
                                                "beta.kubernetes.io/arch",
                                                "beta.kubernetes.io/instance-type",
                                                "node.kubernetes.io/instance-type",
                                                "topology.kubernetes.io/zone",
                                                "topology.kubernetes.io/region",
                                                "failure-domain.beta.kubernetes.io/zone",
                                                "failure-domain.beta.kubernetes.io/region"};
  return std::find(std::begin(listed), std::end(listed), label) != std::end(listed) ||
         in_domain(prefix, "kubelet.kubernetes.io") || in_domain(prefix, "node.kubernetes.io");
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

// All other nodes lead what is for these addresses to the node that has them, so the controller alone gives them. No
// kubelet sets them; Kubernetes would let it.
bool has_pod_ranges(const json::value& node) {
  auto& spec = node["spec"];
  return !spec["podCIDR"].as_string().empty() || !spec["podCIDRs"].empty();
}

class restriction {
 public:
  restriction(admission_request& r, plugin_context& c, std::string_view node)
      : r_(r), c_(c), node_(node), quoted_("node " + quote(node)) {}

  api_result<void> check() {
    auto& a = r_.who;
    if (a.api_group.empty()) {
      if (a.resource == "nodes") return check_node();
      if (a.resource == "pods") return check_pod_request();
      if (a.resource == "serviceaccounts") return check_service_account();
      if (a.resource == "persistentvolumeclaims") return check_claim();
    } else if (a.api_group == "coordination.k8s.io" && a.resource == "leases") {
      return check_lease();
    } else if (a.api_group == "storage.k8s.io" && a.resource == "csinodes") {
      return check_csi_node();
    } else if (a.api_group == "resource.k8s.io" && a.resource == "resourceslices") {
      return check_slice();
    } else if (a.api_group == "certificates.k8s.io" && a.resource == "certificatesigningrequests") {
      return check_certificate_request();
    } else if (a.api_group == "certificates.k8s.io" && a.resource == "podcertificaterequests") {
      return check_pod_certificate_request();
    }
    return {};
  }

 private:
  api_result<void> no(std::string_view why) { return fail(refused(r_, why)); }
  api_result<void> unexpected() { return no("unexpected operation " + quote(operation_text(r_.what))); }

  api_result<void> check_node() {
    auto name = object_name(r_);
    if (name != node_) return no(quoted_ + " is not allowed to modify node " + quote(name));
    if (!r_.object) return {};
    auto& node = *r_.object;
    auto& source = node["spec"]["configSource"];
    if (r_.what == operation::create) {
      if (!source.is_null()) return no(quoted_ + " is not allowed to create pods with a non-nil configSource");
      if (has_pod_ranges(node)) return no(quoted_ + " is not allowed to set podCIDRs");
      auto wrong = forbidden_changes(node["metadata"]["labels"], {});
      if (!wrong.empty()) return no(quoted_ + " is not allowed to set the following labels: " + join(wrong, ", "));
      return {};
    }
    if (r_.what != operation::update || !r_.old) return {};
    auto& old = *r_.old;
    if (!source.is_null() && source != old["spec"]["configSource"])
      return no(quoted_ + " is not allowed to update configSource to a new non-nil configSource");
    if (has_pod_ranges(node) && !has_pod_ranges(old)) return no(quoted_ + " is not allowed to set podCIDRs");
    if (!same_list(node["spec"]["taints"], old["spec"]["taints"]))
      return no(quoted_ + " is not allowed to modify taints");
    if (!same_list(node["metadata"]["ownerReferences"], old["metadata"]["ownerReferences"]))
      return no(quoted_ + " is not allowed to modify ownerReferences");
    auto wrong = forbidden_changes(node["metadata"]["labels"], old["metadata"]["labels"]);
    if (!wrong.empty()) return no("is not allowed to modify labels: " + join(wrong, ", "));
    return {};
  }

  api_result<void> check_pod_request() {
    auto& sub = r_.who.subresource;
    if (sub.empty()) {
      if (r_.what == operation::create) return check_new_pod();
      if (r_.what == operation::remove)
        return check_own_pod(r_.old, "node " + quote(node_) + " can only delete pods with spec.nodeName set to itself");
      return no("unexpected operation " + quote(operation_text(r_.what)) + ", " + quoted_ +
                " can only create and delete mirror pods");
    }
    if (sub == "status") return check_pod_status();
    if (sub == "eviction") {
      if (r_.what != operation::create) return no("unexpected operation " + std::string(operation_text(r_.what)));
      return check_own_pod(nullptr,
                           "node " + std::string(node_) + " can only evict pods with spec.nodeName set to itself");
    }
    return no("unexpected pod subresource " + quote(sub) + ", only 'status' and 'eviction' are allowed");
  }

  // `pod`: null when it is still to be looked up by the request's name.
  api_result<void> check_own_pod(const json::value* pod, std::string_view otherwise) {
    std::optional<json::value> stored;
    if (!pod) {
      auto name = object_name(r_);
      if (name.empty()) return no("could not determine pod from request data");
      stored = read_object(c_.cluster, object_key("pods", r_.who.ns, name));
      if (!stored) return fail(not_found("", "pods", name));
      pod = &*stored;
    }
    if ((*pod)["spec"]["nodeName"].as_string() != node_) return no(otherwise);
    return {};
  }

  api_result<void> check_pod_status() {
    if (r_.what != operation::update) return unexpected();
    KEDGE_CHECK(
        check_own_pod(r_.old, quoted_ + " can only update pod status for pods with spec.nodeName set to itself"));
    if (!r_.object || !r_.old) return {};
    auto &now = (*r_.object)["status"], &before = (*r_.old)["status"];
    if (!same_list((*r_.object)["metadata"]["labels"], (*r_.old)["metadata"]["labels"]))
      return no(quoted_ + " cannot update labels through pod status");
    // A claim that the status names is one that the Node authorizer lets the node read (CVE-2025-4563).
    if (!same_list(now["resourceClaimStatuses"], before["resourceClaimStatuses"]))
      return no(quoted_ + " cannot update resource claim statues");
    if (now["extendedResourceClaimStatus"] != before["extendedResourceClaimStatus"])
      return no(quoted_ + " cannot update extended resource claim status");
    if (!same_list(now["nodeAllocatableResourceClaimStatuses"], before["nodeAllocatableResourceClaimStatuses"]))
      return no(quoted_ + " cannot update node allocatable resource claim statuses");
    return {};
  }

  api_result<void> check_new_pod() {
    auto& pod = *r_.object;
    if (!is_mirror_pod(pod))
      return no("pod does not have \"kubernetes.io/config.mirror\" annotation, " + quoted_ +
                " can only create mirror pods");
    if (pod["spec"]["nodeName"].as_string() != node_)
      return no(quoted_ + " can only create pods with spec.nodeName set to itself");
    KEDGE_CHECK(check_owner(pod["metadata"]["ownerReferences"]));
    auto found = first_reference(pod);
    if (!found.problem.empty()) return no("error checking mirror pod for API references: " + found.problem);
    if (!found.what.empty()) return no(quoted_ + " can not create pods that reference " + found.what);
    return {};
  }

  api_result<void> check_owner(const json::value& owners) {
    if (owners.size() > 1) return no(quoted_ + " can only create pods with a single owner reference set to itself");
    auto& owner = owners[std::size_t{0}];
    if (owner["apiVersion"].as_string() != "v1" || owner["kind"].as_string() != "Node" ||
        owner["name"].as_string() != node_)
      return no(quoted_ + " can only create pods with an owner reference set to itself");
    if (!owner["controller"].as_bool())
      return no(quoted_ + " can only create pods with a controller owner reference set to itself");
    if (owner["blockOwnerDeletion"].as_bool())
      return no(quoted_ + " must not set blockOwnerDeletion on an owner reference");
    auto node = read_object(c_.cluster, object_key("minions", {}, node_));
    if (!node) return fail(not_found("", "nodes", node_));
    if (uid_of(*node) != owner["uid"].as_string())
      return no("node " + std::string(node_) + " UID mismatch: expected " + std::string(owner["uid"].as_string()) +
                " got " + std::string(uid_of(*node)));
    return {};
  }

  api_result<void> check_claim() {
    if (r_.who.subresource != "status") return no("may only update PVC status");
    if (r_.what != operation::update) return unexpected();
    if (!r_.object || !r_.old) return {};
    auto rest_of = [](const json::value& claim) {
      auto out = claim;
      for (auto name : {"resourceVersion", "managedFields"}) out.member("metadata").erase(name);
      for (auto name : {"capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"})
        out.member("status").erase(name);
      return out;
    };
    if (rest_of(*r_.object) == rest_of(*r_.old)) return {};
    return no(quoted_ + " is not allowed to update fields other than status.quantity and status.conditions");
  }

  api_result<void> check_service_account() {
    if (r_.what != operation::create || r_.who.subresource != "token" || !r_.object) return {};
    auto& ref = (*r_.object)["spec"]["boundObjectRef"];
    auto name = ref["name"].as_string();
    if (ref["apiVersion"].as_string() != "v1" || ref["kind"].as_string() != "Pod" || name.empty())
      return no("node requested token not bound to a pod");
    auto uid = ref["uid"].as_string();
    if (uid.empty()) return no("node requested token with a pod binding without a uid");
    auto pod = read_object(c_.cluster, object_key("pods", r_.who.ns, name));
    if (!pod) return fail(not_found("", "pods", name));
    if (uid_of(*pod) != uid)
      return no("the UID in the bound object reference (" + std::string(uid) +
                ") does not match the UID in record. The object might have been deleted and then recreated");
    if ((*pod)["spec"]["nodeName"].as_string() != node_)
      return no("node requested token bound to a pod scheduled on a different node");
    return check_audience(*pod);
  }

  // A node gets tokens for the audience that one of its pod's volumes names ("": the API's own), or that a role grants.
  api_result<void> check_audience(const json::value& pod) {
    auto audiences = string_list((*r_.object)["spec"]["audiences"]);
    if (audiences.size() > 1) return no("node may only request 0 or 1 audiences");
    auto wanted = audiences.empty() ? std::string() : audiences.front();
    if (mounts_token_for(pod, wanted) || granted("request-serviceaccounts-token-audience", wanted, r_.who.name))
      return {};
    return no(r_.who.user->name + " is not authorized to request tokens for audience " + quote(wanted));
  }

  bool mounts_token_for(const json::value& pod, std::string_view audience) {
    auto volumes = pod["spec"]["volumes"].array();
    if (!volumes) return false;
    return std::any_of(volumes->begin(), volumes->end(), [&](const json::value& volume) {
      if (auto sources = volume["projected"]["sources"].array())
        for (auto& source : *sources)
          if (auto& token = source["serviceAccountToken"];
              token.is_object() && token["audience"].as_string() == audience)
            return true;
      auto driver_name = csi_driver_of(volume, pod);
      auto driver =
          driver_name.empty() ? std::nullopt : read_object(c_.cluster, object_key("csidrivers", {}, driver_name));
      auto tokens = driver ? (*driver)["spec"]["tokenRequests"].array() : nullptr;
      return tokens && std::any_of(tokens->begin(), tokens->end(),
                                   [&](const json::value& t) { return t["audience"].as_string() == audience; });
    });
  }

  // The CSI driver that mounts a volume, directly or by its claim; also of what drivers took over from the kubelet.
  std::string csi_driver_of(const json::value& volume, const json::value& pod) {
    auto claim = std::string(volume["persistentVolumeClaim"]["claimName"].as_string());
    if (volume["ephemeral"]["volumeClaimTemplate"].is_object())
      claim = std::string(name_of(pod)) + '-' + std::string(volume["name"].as_string());
    if (claim.empty()) return driver_in(volume);
    auto bound = read_object(c_.cluster, object_key("persistentvolumeclaims", r_.who.ns, claim));
    auto source =
        bound ? read_object(c_.cluster, object_key("persistentvolumes", {}, (*bound)["spec"]["volumeName"].as_string()))
              : std::nullopt;
    return source ? driver_in((*source)["spec"]) : std::string();
  }

  static std::string driver_in(const json::value& source) {
    if (source["csi"].is_object()) return std::string(source["csi"]["driver"].as_string());
    static constexpr std::pair<std::string_view, std::string_view> migrated[] = {
        {"awsElasticBlockStore", "ebs.csi.aws.com"}, {"gcePersistentDisk", "pd.csi.storage.gke.io"},
        {"azureDisk", "disk.csi.azure.com"},         {"azureFile", "file.csi.azure.com"},
        {"cinder", "cinder.csi.openstack.org"},      {"vsphereVolume", "csi.vsphere.vmware.com"},
        {"portworxVolume", "pxd.portworx.com"}};
    for (auto& [name, driver] : migrated)
      if (source[name].is_object()) return std::string(driver);
    return {};
  }

  // Whether a role grants the node itself a verb that only this plugin asks for.
  bool granted(std::string_view verb, std::string_view resource, std::string_view name) {
    attributes a;
    a.user = r_.who.user;
    a.verb = verb;
    a.is_resource = true;
    a.api_group = r_.who.api_group;
    a.api_version = r_.who.api_version;
    a.resource = resource;
    a.ns = r_.who.ns;
    a.name = name;
    return c_.authz.authorize(a, c_.cluster).what == decision::kind::allow;
  }

  api_result<void> check_lease() {
    if (r_.who.ns != "kube-node-lease") return no("can only access leases in the \"kube-node-lease\" system namespace");
    if (object_name(r_) != node_) return no("can only access node lease with the same name as the requesting node");
    return {};
  }

  api_result<void> check_csi_node() {
    if (object_name(r_) != node_) return no("can only access CSINode with the same name as the requesting node");
    if (r_.who.subresource == "status") return no("CSIVolumeHealth feature gate is disabled");
    return {};
  }

  api_result<void> check_slice() {
    // Which slice is updated is the Node authorizer's to judge; for which node it is never changes (storage's rules).
    auto slice = r_.what == operation::create ? r_.object : r_.what == operation::remove ? r_.old : nullptr;
    if (!slice || (*slice)["spec"]["nodeName"].as_string() == node_) return {};
    return no(r_.what == operation::create
                  ? "can only create ResourceSlice with the same NodeName as the requesting node"
                  : "can only delete ResourceSlice with the same NodeName as the requesting node");
  }

  api_result<void> check_certificate_request() {
    if (r_.what != operation::create || !r_.object) return {};
    auto signer = (*r_.object)["spec"]["signerName"].as_string();
    if (signer != "kubernetes.io/kube-apiserver-client-kubelet" && signer != "kubernetes.io/kubelet-serving") return {};
    auto pem = unbase64((*r_.object)["spec"]["request"].as_string());
    if (!pem) return no("unable to parse csr: " + pem.error().message);
    auto request = crypto::parse_request(*pem);
    if (!request) return no("unable to parse csr: " + request.error().message);
    if (request->subject.user != "system:node:" + std::string(node_))
      return no("can only create a node CSR with CN=system:node:" + std::string(node_));
    return {};
  }

  api_result<void> check_pod_certificate_request() {
    if (r_.what != operation::create) return no("unexpected operation " + std::string(operation_text(r_.what)));
    if (!r_.who.subresource.empty()) return no("unexpected subresource " + r_.who.subresource);
    if (!r_.object) return {};
    auto& spec = (*r_.object)["spec"];
    auto text = [&](const char* name) { return std::string(spec[name].as_string()); };
    // What may be old news, or a request for what was there a moment ago, is no refusal for ever.
    auto stale = [](std::string why) { return fail(internal_error(std::move(why))); };
    auto own = r_.who.ns + "/" + text("podName");
    if (spec["nodeName"].as_string() != node_)
      return no("PodCertificateRequest.Spec.NodeName=" + quote(text("nodeName")) +
                ", which is not the requesting node " + quote(node_));
    auto node = read_object(c_.cluster, object_key("minions", {}, node_));
    if (!node)
      return stale("while retrieving node " + quote(node_) + " named in the PodCertificateRequest: it isn't there");
    if (uid_of(*node) != spec["nodeUID"].as_string())
      return stale("PodCertificateRequest for pod " + quote(own) + " names node UID " + quote(text("nodeUID")) +
                   ", inconsistent with the running node (" + quote(uid_of(*node)) + ")");
    auto pod = read_object(c_.cluster, object_key("pods", r_.who.ns, text("podName")));
    if (!pod)
      return stale("while retrieving pod " + quote(own) + " named in the PodCertificateRequest: it isn't there");
    if (uid_of(*pod) != spec["podUID"].as_string())
      return stale("PodCertificateRequest for pod " + quote(own) + " contains pod UID (" + quote(text("podUID")) +
                   ") which differs from running pod " + quote(uid_of(*pod)));
    if ((*pod)["spec"]["nodeName"].as_string() != node_)
      return no("pod " + quote(own) + " is not running on node " + quote(node_) +
                " named in the PodCertificateRequest");
    if (is_mirror_pod(*pod)) return no("pod " + quote(own) + " is a mirror pod");
    auto account_name = (*pod)["spec"]["serviceAccountName"].as_string();
    if (account_name != spec["serviceAccountName"].as_string())
      return no("PodCertificateRequest for pod " + quote(own) + " contains serviceAccountName (" +
                quote(text("serviceAccountName")) + ") that differs from running pod (" + quote(account_name) + ")");
    auto account = read_object(c_.cluster, object_key("serviceaccounts", r_.who.ns, account_name));
    if (!account)
      return stale("while retrieving service account " + quote(r_.who.ns + "/" + std::string(account_name)) +
                   " named in the PodCertificateRequest: it isn't there");
    if (uid_of(*account) != spec["serviceAccountUID"].as_string())
      return stale("PodCertificateRequest for pod " + quote(own) + " names service account UID " +
                   quote(text("serviceAccountUID")) + ", which differs from the running service account (" +
                   quote(uid_of(*account)) + ")");
    return check_signer(*pod, text("signerName"), own, account_name);
  }

  api_result<void> check_signer(const json::value& pod, std::string signer, const std::string& own,
                                std::string_view account) {
    if (auto volumes = pod["spec"]["volumes"].array())
      for (auto& volume : *volumes)
        if (auto sources = volume["projected"]["sources"].array())
          for (auto& source : *sources)
            if (auto& certificate = source["podCertificate"];
                certificate.is_object() && certificate["signerName"].as_string() == signer)
              return {};
    auto as_resource = signer;  // resources have no slashes
    std::replace(as_resource.begin(), as_resource.end(), '/', ':');
    if (granted("request-serviceaccounts-podcertificate-signer", as_resource, account)) return {};
    return no("pod " + quote(own) + " does not mount a podCertificate projected volume for signer " + quote(signer));
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

const plugin plugins::node_restriction{
    .name = "NodeRestriction", .operations = on_create | on_update | on_remove, .mutate = check};

}  // namespace kedge::api
