// core/v1: pkg/apis/core/v1/defaults.go
#include <algorithm>

#include "schema/defaults/image_name.h"
#include "schema/defaults/rules.h"

namespace kedge::schema::defaults {

namespace {

// An image named without tag and digest, or with the tag "latest", may change under its name: it is always pulled.
std::string_view pull_policy(std::string_view image) {
  return image_tag(image) == "latest" ? "Always" : "IfNotPresent";
}

void container(const target& t) {
  t.fill("imagePullPolicy", pull_policy(t["image"].as_string()));
  t.fill("terminationMessagePath", "/dev/termination-log");
  t.fill("terminationMessagePolicy", "File");
}

void requests_from_limits(const target& pod_spec, std::string_view list) {
  auto containers = pod_spec.v.find(list);
  if (!containers || !containers->is_array()) return;
  for (auto& c : *containers->array()) {
    auto limits = c["resources"]["limits"];  // a copy: requests may be made beside it
    if (!limits.is_object()) continue;
    target requests = target{c, pod_spec.changed}.inside("resources").inside("requests");
    for (auto& m : *limits.object()) requests.fill(m.name, m.value);
  }
}

void host_ports(const target& pod_spec, std::string_view list) {
  auto containers = pod_spec.v.find(list);
  if (!containers || !containers->is_array()) return;
  for (auto& c : *containers->array()) {
    auto ports = c.find("ports");
    if (!ports || !ports->is_array()) continue;
    for (auto& p : *ports->array()) target{p, pod_spec.changed}.fill_zero("hostPort", p["containerPort"]);
  }
}

void pod(const target& t) {
  auto spec = t.inside("spec");
  if (spec["terminationGracePeriodSeconds"].as_integer() < 0) spec.set("terminationGracePeriodSeconds", 1);
  requests_from_limits(spec, "containers");
  requests_from_limits(spec, "initContainers");
  spec.fill("enableServiceLinks", true);
  if (spec["hostNetwork"].as_bool()) {
    host_ports(spec, "containers");
    host_ports(spec, "initContainers");
  }
}

void pod_spec(const target& t) {
  t.fill("dnsPolicy", "ClusterFirst");
  t.fill("restartPolicy", "Always");
  t.fill("securityContext", json::object());
  t.fill("terminationGracePeriodSeconds", 30);
  t.fill("schedulerName", "default-scheduler");
  // The deprecated name of the same field is kept in step.
  if (t["serviceAccountName"].as_string().empty()) {
    if (!t["serviceAccount"].as_string().empty()) t.set("serviceAccountName", t["serviceAccount"]);
  } else if (!(t["serviceAccount"] == t["serviceAccountName"])) {
    t.set("serviceAccount", t["serviceAccountName"]);
  }
}

void probe(const target& t) {
  t.fill("timeoutSeconds", 1);
  t.fill("periodSeconds", 10);
  t.fill("successThreshold", 1);
  t.fill("failureThreshold", 3);
}

void http_get(const target& t) {
  t.fill("path", "/");
  t.fill("scheme", "HTTP");
}

// A volume that names no source is an empty directory.
void volume(const target& t) {
  bool has_source = std::ranges::any_of(*t.v.object(), [](auto& m) { return m.name != "name" && !m.value.is_null(); });
  if (!has_source) t.set("emptyDir", json::object());
  if (auto image = t.v.find("image"); image && image->is_object())
    target{*image, t.changed}.fill("pullPolicy", pull_policy((*image)["reference"].as_string()));
}

void readable_files(const target& t) { t.fill("defaultMode", 0644); }

void service(const target& t) {
  auto spec = t.inside("spec");
  spec.fill("sessionAffinity", "None");
  if (spec["sessionAffinity"].as_string() == "None" && spec.v.erase("sessionAffinityConfig")) t.changed = true;
  if (spec["sessionAffinity"].as_string() == "ClientIP")
    spec.inside("sessionAffinityConfig").inside("clientIP").fill("timeoutSeconds", 10'800);
  spec.fill("type", "ClusterIP");
  auto type = std::string(spec["type"].as_string());
  if (auto ports = spec.v.find("ports"); ports && ports->is_array())
    for (auto& p : *ports->array()) {
      target port{p, t.changed};
      port.fill("protocol", "TCP");
      port.fill_zero("targetPort", p["port"]);
    }
  bool balanced = type == "LoadBalancer";
  bool outside = balanced || type == "NodePort" || (type == "ClusterIP" && !spec["externalIPs"].empty());
  if (outside) spec.fill("externalTrafficPolicy", "Cluster");
  if (balanced || type == "NodePort" || type == "ClusterIP") spec.fill("internalTrafficPolicy", "Cluster");
  if (!balanced) return;
  spec.fill("allocateLoadBalancerNodePorts", true);
  auto ingress = t.inside("status").inside("loadBalancer").v.find("ingress");
  if (ingress && ingress->is_array())
    for (auto& i : *ingress->array())
      if (!i["ip"].as_string().empty()) target{i, t.changed}.fill("ipMode", "VIP");
}

void replication_controller(const target& t) {
  auto labels = t["spec"]["template"]["metadata"]["labels"];
  if (!labels.is_object()) return;
  if (t["spec"]["selector"].empty()) t.inside("spec").set("selector", labels);
  if (t["metadata"]["labels"].empty()) t.inside("metadata").set("labels", labels);
}

void name_space(const target& t) {
  auto name = std::string(t["metadata"]["name"].as_string());
  auto label = "kubernetes.io/metadata.name";
  if (!name.empty() && t["metadata"]["labels"][label].as_string() != name)
    t.inside("metadata").inside("labels").set(label, name);
}

void persistent_volume(const target& t) {
  t.inside("status").fill("phase", "Pending");
  auto spec = t.inside("spec");
  spec.fill("persistentVolumeReclaimPolicy", "Retain");
  spec.fill("volumeMode", "Filesystem");
}

void endpoint_subset(const target& t) {
  if (auto ports = t.v.find("ports"); ports && ports->is_array())
    for (auto& p : *ports->array()) target{p, t.changed}.fill("protocol", "TCP");
}

void node_status(const target& t) {
  if (t.has("capacity")) t.fill("allocatable", t["capacity"]);
}

void limit_range_item(const target& t) {
  if (t["type"].as_string() != "Container") return;
  auto fill_from = [&](std::string_view into, const json::value& from) {
    if (!from.is_object() || from.empty()) return;
    auto list = t.inside(into);
    for (auto& m : *from.object()) list.fill(m.name, m.value);
  };
  fill_from("default", json::value(t["max"]));
  fill_from("defaultRequest", json::value(t["default"]));
  fill_from("defaultRequest", json::value(t["min"]));
}

constexpr rule rules[] = {
    {"core/v1.Container", container},
    {"core/v1.EphemeralContainer", container},
    {"core/v1.Pod", pod},
    {"core/v1.PodSpec", pod_spec},
    {"core/v1.Probe", probe},
    {"core/v1.HTTPGetAction", http_get},
    {"core/v1.Volume", volume},
    {"core/v1.SecretVolumeSource", readable_files},
    {"core/v1.ConfigMapVolumeSource", readable_files},
    {"core/v1.DownwardAPIVolumeSource", readable_files},
    {"core/v1.ProjectedVolumeSource", readable_files},
    {"core/v1.ServiceAccountTokenProjection", [](const target& t) { t.fill("expirationSeconds", 3600); }},
    {"core/v1.HostPathVolumeSource", [](const target& t) { t.fill("type", ""); }},
    {"core/v1.ObjectFieldSelector", [](const target& t) { t.fill("apiVersion", "v1"); }},
    {"core/v1.Secret", [](const target& t) { t.fill("type", "Opaque"); }},
    {"core/v1.Service", service},
    {"core/v1.ReplicationController", replication_controller},
    {"core/v1.Namespace", name_space},
    {"core/v1.NamespaceStatus", [](const target& t) { t.fill("phase", "Active"); }},
    {"core/v1.PersistentVolume", persistent_volume},
    {"core/v1.PersistentVolumeClaim", [](const target& t) { t.inside("status").fill("phase", "Pending"); }},
    {"core/v1.PersistentVolumeClaimSpec", [](const target& t) { t.fill("volumeMode", "Filesystem"); }},
    {"core/v1.EndpointSubset", endpoint_subset},
    {"core/v1.NodeStatus", node_status},
    {"core/v1.LimitRangeItem", limit_range_item},
};

}  // namespace

std::span<const rule> core_rules() { return rules; }

}  // namespace kedge::schema::defaults
