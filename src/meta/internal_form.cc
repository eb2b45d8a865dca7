#include "meta/internal_form.h"

#include <algorithm>
#include <string>
#include <utility>

#include "schema/types.h"

namespace kedge::api {
namespace {

// Where a Go name is not the JSON name with another first letter.
constexpr std::pair<std::string_view, std::string_view> go_names[] = {
    {"apiGroup", "APIGroup"},
    {"apiGroups", "APIGroups"},
    {"apiVersion", "APIVersion"},
    {"apiVersions", "APIVersions"},
    {"awsElasticBlockStore", "AWSElasticBlockStore"},
    {"bool", "BoolValue"},
    {"bools", "BoolValues"},
    {"caBundle", "CABundle"},
    {"cel", "CEL"},
    {"cephfs", "CephFS"},
    {"chapAuthDiscovery", "DiscoveryCHAPAuth"},
    {"chapAuthSession", "SessionCHAPAuth"},
    {"cidr", "CIDR"},
    {"cidrs", "CIDRs"},
    {"csi", "CSI"},
    {"diskURI", "DataDiskURI"},
    {"dnsConfig", "DNSConfig"},
    {"dnsPolicy", "DNSPolicy"},
    {"externalID", "DoNotUseExternalID"},
    {"fc", "FC"},
    {"fsGroup", "FSGroup"},
    {"fsGroupChangePolicy", "FSGroupChangePolicy"},
    {"fsGroupPolicy", "FSGroupPolicy"},
    {"fsType", "FSType"},
    {"gcePersistentDisk", "GCEPersistentDisk"},
    {"gid", "GID"},
    {"gmsaCredentialSpec", "GMSACredentialSpec"},
    {"gmsaCredentialSpecName", "GMSACredentialSpecName"},
    {"grpc", "GRPC"},
    {"http", "HTTP"},
    {"httpGet", "HTTPGet"},
    {"httpHeaders", "HTTPHeaders"},
    {"int", "IntValue"},
    {"ints", "IntValues"},
    {"ip", "IP"},
    {"ipBlock", "IPBlock"},
    {"ipFamilies", "IPFamilies"},
    {"ipFamilyPolicy", "IPFamilyPolicy"},
    {"ipMode", "IPMode"},
    {"ips", "IPs"},
    {"iqn", "IQN"},
    {"iscsi", "ISCSI"},
    {"iscsiInterface", "ISCSIInterface"},
    {"jsonPatch", "JSONPatch"},
    {"lastState", "LastTerminationState"},
    {"nfs", "NFS"},
    {"os", "OS"},
    {"osImage", "OSImage"},
    {"pdName", "PDName"},
    {"qosClass", "QOSClass"},
    {"rbd", "RBD"},
    {"reportingComponent", "ReportingController"},
    {"seLinuxChangePolicy", "SELinuxChangePolicy"},
    {"seLinuxMount", "SELinuxMount"},
    {"seLinuxOptions", "SELinuxOptions"},
    {"sslEnabled", "SSLEnabled"},
    {"storageos", "StorageOS"},
    {"string", "StringValue"},
    {"strings", "StringValues"},
    {"tcpSocket", "TCPSocket"},
    {"tls", "TLS"},
    {"ttlSecondsAfterFinished", "TTLSecondsAfterFinished"},
    {"tty", "TTY"},
    {"uid", "UID"},
    {"url", "URL"},
    {"versions", "VersionValues"},
    {"wwids", "WWIDs"},
};

struct own_name {
  std::string_view type, json_name, go_name;
};
// … in one type alone.
// clang-format off: a row is a line or two
constexpr own_name own_names[] = {
    {"core/v1.GlusterfsPersistentVolumeSource", "endpoints", "EndpointsName"},
    {"core/v1.GlusterfsVolumeSource", "endpoints", "EndpointsName"},
    {"core/v1.RBDPersistentVolumeSource", "image", "RBDImage"}, {"core/v1.RBDVolumeSource", "image", "RBDImage"},
    {"core/v1.RBDPersistentVolumeSource", "monitors", "CephMonitors"},
    {"core/v1.RBDVolumeSource", "monitors", "CephMonitors"}, {"core/v1.RBDPersistentVolumeSource", "pool", "RBDPool"},
    {"core/v1.RBDVolumeSource", "pool", "RBDPool"}, {"core/v1.PodSpec", "serviceAccount", "DeprecatedServiceAccount"},
    {"core/v1.RBDPersistentVolumeSource", "user", "RadosUser"}, {"core/v1.RBDVolumeSource", "user", "RadosUser"},
    {"resource/v1.DeviceAttribute", "version", "VersionValue"},
};
// clang-format on

std::string go_name(std::string_view type, std::string_view json_name) {
  for (auto& own : own_names)
    if (own.type == type && own.json_name == json_name) return std::string(own.go_name);
  for (auto& [json, go] : go_names)
    if (json == json_name) return std::string(go);
  std::string out(json_name);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z') out[0] = static_cast<char>(out[0] - 'a' + 'A');
  return out;
}

// Pointers that are none in there.
constexpr std::pair<std::string_view, std::string_view> plain_values[] = {
    {"apps/v1.RollingUpdateDaemonSet", "maxUnavailable"},      {"apps/v1.RollingUpdateDaemonSet", "maxSurge"},
    {"apps/v1.RollingUpdateDeployment", "maxUnavailable"},     {"apps/v1.RollingUpdateDeployment", "maxSurge"},
    {"apps/v1.RollingUpdateStatefulSetStrategy", "partition"},
};

bool is_plain_value(std::string_view type, std::string_view json_name) {
  return std::find(std::begin(plain_values), std::end(plain_values), std::pair(type, json_name)) !=
         std::end(plain_values);
}

// Types of the API machinery, which have no internal form.
bool is_shared(std::string_view type) { return type.starts_with("meta/"); }

json::value form_of(const schema::type_info& type, const json::value& v);

json::value single(const schema::field_info& f, const json::value& v, bool plain) {
  using enum schema::base_type;
  if (v.is_null() && f.pointer() && !plain) return nullptr;
  switch (f.base()) {
    case structure: return is_shared(f.type()->name()) && v.is_null() ? json::object() : form_of(*f.type(), v);
    case boolean: return v.as_bool();
    case int32:
    case int64: return v.as_integer();
    case string: return v.as_string();
    case quantity: return v.as_string("0");
    case int_or_string: return v.is_null() ? json::value(0) : v;
    default: return v;
  }
}

json::value member(std::string_view type, const schema::field_info& f, const json::value& v) {
  if (f.is_single()) return single(f, v, is_plain_value(type, f.name()));
  if (auto a = v.array()) {
    json::array out;
    for (auto& e : *a) out.push_back(f.base() == schema::base_type::structure ? form_of(*f.type(), e) : e);
    return out;
  }
  return v.is_object() ? v : json::value();
}

json::value form_of(const schema::type_info& type, const json::value& v) {
  if (is_shared(type.name())) return v;
  json::object out;
  bool whole = false;  // an object of its own, whose kind Go keeps elsewhere
  for (std::size_t i = 0; i < type.size(); ++i) whole = whole || type.field(i).name() == "metadata";
  for (std::size_t i = 0; i < type.size(); ++i) {
    auto& f = type.field(i);
    if (f.name() == "metadata") {
      if (auto m = v[f.name()].object())
        for (auto& inner : *m) out.set(inner.name, inner.value);
    } else if (!whole || (f.name() != "kind" && f.name() != "apiVersion")) {
      out.set(go_name(type.name(), f.name()), member(type.name(), f, v[f.name()]));
    }
  }
  return out;
}

}  // namespace

json::value internal_form(std::string_view type, const json::value& v) {
  auto t = v.is_null() ? nullptr : schema::find_type(type);
  return t ? form_of(*t, v) : v;
}

}  // namespace kedge::api
