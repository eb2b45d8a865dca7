#include "api/read/fields.h"

#include <fmt/format.h>

#include "api/custom/codec.h"
#include "api/registry/field_text.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

struct selectable {
  std::string_view group, resource, field;
  std::string_view path;            // where its value stands; dotted
  std::string_view otherwise = {};  // the text when it is absent
};

// Paths are those of the stored version.
constexpr selectable fields[] = {
    {"", "pods", "spec.nodeName", "spec.nodeName"},
    {"", "pods", "spec.restartPolicy", "spec.restartPolicy"},
    {"", "pods", "spec.schedulerName", "spec.schedulerName"},
    {"", "pods", "spec.serviceAccountName", "spec.serviceAccountName"},
    {"", "pods", "spec.hostNetwork", "spec.hostNetwork", "false"},
    {"", "pods", "status.phase", "status.phase"},
    {"", "pods", "status.podIP", "status.podIP"},
    {"", "pods", "status.podIPs", "status.podIP"},
    {"", "pods", "status.nominatedNodeName", "status.nominatedNodeName"},
    {"", "events", "involvedObject.kind", "involvedObject.kind"},
    {"", "events", "involvedObject.namespace", "involvedObject.namespace"},
    {"", "events", "involvedObject.name", "involvedObject.name"},
    {"", "events", "involvedObject.uid", "involvedObject.uid"},
    {"", "events", "involvedObject.apiVersion", "involvedObject.apiVersion"},
    {"", "events", "involvedObject.resourceVersion", "involvedObject.resourceVersion"},
    {"", "events", "involvedObject.fieldPath", "involvedObject.fieldPath"},
    {"", "events", "reason", "reason"},
    {"", "events", "reportingComponent", "reportingComponent"},
    {"", "events", "source", "source.component"},
    {"", "events", "type", "type"},
    {"events.k8s.io", "events", "regarding.kind", "involvedObject.kind"},
    {"events.k8s.io", "events", "regarding.namespace", "involvedObject.namespace"},
    {"events.k8s.io", "events", "regarding.name", "involvedObject.name"},
    {"events.k8s.io", "events", "regarding.uid", "involvedObject.uid"},
    {"events.k8s.io", "events", "regarding.apiVersion", "involvedObject.apiVersion"},
    {"events.k8s.io", "events", "regarding.resourceVersion", "involvedObject.resourceVersion"},
    {"events.k8s.io", "events", "regarding.fieldPath", "involvedObject.fieldPath"},
    {"events.k8s.io", "events", "reason", "reason"},
    {"events.k8s.io", "events", "reportingController", "reportingComponent"},
    {"events.k8s.io", "events", "type", "type"},
    {"", "nodes", "spec.unschedulable", "spec.unschedulable", "false"},
    {"", "namespaces", "status.phase", "status.phase"},
    {"", "secrets", "type", "type"},
    {"", "services", "spec.clusterIP", "spec.clusterIP"},
    {"", "services", "spec.type", "spec.type"},
    {"", "replicationcontrollers", "status.replicas", "status.replicas", "0"},
    {"apps", "replicasets", "status.replicas", "status.replicas", "0"},
    {"batch", "jobs", "status.successful", "status.succeeded", "0"},
    {"certificates.k8s.io", "certificatesigningrequests", "spec.signerName", "spec.signerName"},
    {"certificates.k8s.io", "podcertificaterequests", "spec.signerName", "spec.signerName"},
    {"certificates.k8s.io", "podcertificaterequests", "spec.podName", "spec.podName"},
    {"certificates.k8s.io", "podcertificaterequests", "spec.nodeName", "spec.nodeName"},
    {"certificates.k8s.io", "clustertrustbundles", "spec.signerName", "spec.signerName"},
    {"resource.k8s.io", "resourceslices", "spec.nodeName", "spec.nodeName"},
    {"resource.k8s.io", "resourceslices", "spec.driver", "spec.driver"},
};

const selectable* find_field(const served& s, std::string_view field) {
  for (auto& f : fields)
    if (f.group == s.group && f.resource == s.resource && f.field == field) return &f;
  return nullptr;
}

bool has_own_fields(const served& s) {
  for (auto& f : fields)
    if (f.group == s.group && f.resource == s.resource) return true;
  return false;
}

bool is_metadata(std::string_view field) { return field == "metadata.name" || field == "metadata.namespace"; }

}  // namespace

namespace {
const custom::selectable_field* find_custom(const served& s, std::string_view field) {
  if (s.custom)
    for (auto& f : s.custom->fields)
      if (f.name == field) return &f;
  return nullptr;
}
}  // namespace

api_result<void> check_fields(const served& s, field_selector& selector) {
  for (auto& r : selector.requirements()) {
    if (s.group.empty() && s.resource == "pods" && r.field == "spec.host") r.field = "spec.nodeName";
    if (r.field == "metadata.name" || r.field == "metadata.namespace" || find_field(s, r.field) ||
        find_custom(s, r.field))
      continue;
    if (has_own_fields(s) || s.custom) return fail(bad_request(fmt::format("field label not supported: {}", r.field)));
    return fail(bad_request(fmt::format(
        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", quote(r.field))));
  }
  return {};
}

std::vector<field_place> places_of(const served& s, const field_selector& selector) {
  std::vector<field_place> out;
  for (auto& r : selector.requirements()) {
    field_place p;
    if (is_metadata(r.field)) {
      p.path = r.field;
    } else if (auto own = find_custom(s, r.field)) {
      p.own = own;
      p.index = own->index;
    } else if (auto f = find_field(s, r.field)) {
      p.path = f->path;
      p.otherwise = f->otherwise;
      p.index = s.stored->key_prefix + p.path;
      if (f->field == "source") p.second = "reportingComponent";
    }
    out.push_back(std::move(p));
  }
  return out;
}

bool matches_fields(const served& s, const field_selector& selector, const std::vector<field_place>& places,
                    const store::object& o) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    auto& r = selector.requirements()[i];
    auto& p = places[i];
    std::string buffer;
    auto value = p.own ? custom::field_text(s, *p.own, o, buffer) : field_text(o.bytes(), p.path, buffer);
    if (value.empty() && !p.second.empty()) value = field_text(o.bytes(), p.second, buffer);
    if (value.empty()) value = p.otherwise;
    if ((value == r.value) != r.equal) return false;
  }
  return true;
}

bool key_decides(const field_selector& selector) noexcept {
  for (auto& r : selector.requirements())
    if (!is_metadata(r.field)) return false;
  return true;
}

bool matches_key(const served& s, const field_selector& selector, std::string_view key) noexcept {
  auto rest = key.substr(s.key_prefix.size());
  std::string_view ns, name = rest;
  if (s.namespaced()) {
    auto slash = rest.find('/');
    ns = rest.substr(0, slash);
    name = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  }
  for (auto& r : selector.requirements())
    if (((r.field == "metadata.name" ? name : ns) == r.value) != r.equal) return false;
  return true;
}

}  // namespace kedge::api
