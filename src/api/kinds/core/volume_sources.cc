// volume_sources.cc: what pods and PersistentVolumes may both take a volume from.
#include <fmt/format.h>

#include "api/kinds/core/volumes.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

bool is_alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool all_alnum(std::string_view s) {
  for (char c : s)
    if (!is_alnum(c)) return false;
  return true;
}

bool is_digits(std::string_view s) {
  for (char c : s)
    if (c < '0' || c > '9') return false;
  return true;
}

// "iqn.2026-01.com.example:storage", anywhere at the text's end.
bool is_iqn(std::string_view s) {
  auto at = s.find("iqn.");
  if (at == s.npos) return false;
  s.remove_prefix(at + 4);
  if (s.size() < 8 || !is_digits(s.substr(0, 4)) || s[4] != '-' || !is_digits(s.substr(5, 2)) || s[7] != '.')
    return false;
  s.remove_prefix(8);
  auto colon = s.find(':');
  if (colon == 0 || colon == s.npos || colon + 1 == s.size()) return false;
  for (char c : s.substr(0, colon))
    if (!is_alnum(c) && c != '-' && c != '.') return false;
  return s.substr(colon + 1).find_first_of(",;*&$| \t\n\f\r") == s.npos;
}

// The name of an iSCSI initiator or target: how it begins decides what may follow. Empty: good.
std::string_view wrong_iscsi_name(std::string_view s, std::string_view wrong_beginning) {
  if (s.starts_with("iqn")) return is_iqn(s) ? "" : "must be valid format";
  if (s.starts_with("eui")) return s.size() == 20 && all_alnum(s.substr(4)) ? "" : "must be valid format";
  if (s.starts_with("naa")) return s.size() == 36 && all_alnum(s.substr(4)) ? "" : "must be valid format";
  return wrong_beginning;
}

void in_range(causes& out, const json::value& source, const place& at, std::string_view member, std::int64_t last,
              std::string_view text) {
  auto& v = source[member];
  if (v.as_integer() < 0 || v.as_integer() > last) out.push_back(invalid_value(place(at, member), v, text));
}

// Go's net.SplitHostPort takes it.
bool is_host_and_port(std::string_view s) {
  auto colon = s.rfind(':');
  if (colon == s.npos) return false;
  auto host = s.substr(0, colon);
  if (host.starts_with('['))
    return host.ends_with(']') && host.substr(1, host.size() - 2).find_first_of("[]") == s.npos;
  return host.find_first_of(":[]") == s.npos && s.substr(colon + 1).find_first_of("[]") == s.npos;
}

}  // namespace

void check_no_steps_back(causes& out, std::string_view path, const place& at) {
  for (std::size_t begin = 0; begin <= path.size();) {
    auto end = std::min(path.find('/', begin), path.size());
    if (path.substr(begin, end - begin) == "..") return out.push_back(invalid_value(at, path, "must not contain '..'"));
    begin = end + 1;
  }
}

void check_descending_path(causes& out, std::string_view path, const place& at) {
  if (path.starts_with('/')) out.push_back(invalid_value(at, path, "must be a relative path"));
  check_no_steps_back(out, path, at);
}

void check_plain_path(causes& out, std::string_view path, const place& at) {
  check_descending_path(out, path, at);
  if (path.starts_with("..") && !path.starts_with("../"))
    out.push_back(invalid_value(at, path, "must not start with '..'"));
}

void check_host_path(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "path");
  check_no_steps_back(out, s["path"].as_string(), place(at, "path"));
  one_of(out, s, at, "type",
         {"", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"});
}

void check_gce_disk(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "pdName");
  in_range(out, s, at, "partition", 255, "must be between 1 and 255, inclusive");
}

void check_aws_disk(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "volumeID");
  in_range(out, s, at, "partition", 255, "must be between 1 and 255, inclusive");
}

void check_nfs(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "server");
  need(out, s, at, "path");
  if (auto path = s["path"].as_string(); !path.starts_with('/'))
    out.push_back(invalid_value(place(at, "path"), path, "must be an absolute path"));
}

std::string_view wrong_iscsi_session(std::string_view volume_name, const json::value& source) {
  constexpr std::size_t session_max = 64;
  if (!source["initiatorName"].is_string() ||
      volume_name.size() + 1 + source["targetPortal"].as_string().size() <= session_max)
    return {};
  return "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
         "specified.";
}

void check_iscsi(causes& out, const json::value& s, const place& at, const std::string_view* volume_name) {
  const bool persistent = volume_name;
  auto begin_text = persistent ? "must be valid format" : "must be valid format starting with iqn, eui, or naa";
  need(out, s, at, "targetPortal");
  if (auto wrong = persistent ? wrong_iscsi_session(*volume_name, s) : ""; !wrong.empty())
    out.push_back(invalid_value(place(at, "targetportal"), s["targetPortal"].as_string(), wrong));
  if (need(out, s, at, "iqn"))
    if (auto wrong = wrong_iscsi_name(s["iqn"].as_string(), begin_text); !wrong.empty())
      out.push_back(invalid_value(place(at, "iqn"), s["iqn"], wrong));
  in_range(out, s, at, "lun", 255, "must be between 0 and 255, inclusive");
  if ((s["chapAuthDiscovery"].as_bool() || s["chapAuthSession"].as_bool()) && !s["secretRef"].is_object())
    out.push_back(required(place(at, "secretRef")));
  if (persistent && s["secretRef"].is_object()) need(out, s["secretRef"], place(at, "secretRef"), "name");
  if (auto& name = s["initiatorName"]; name.is_string())
    if (auto wrong = wrong_iscsi_name(name.as_string(), begin_text); !wrong.empty())
      out.push_back(invalid_value(place(at, "initiatorname"), name, wrong));
}

void check_fibre_channel(causes& out, const json::value& s, const place& at) {
  auto& names = s["targetWWNs"];
  if (names.empty() && s["wwids"].empty())
    out.push_back(required(place(at, "targetWWNs"), "must specify either targetWWNs or wwids, but not both"));
  if (names.empty()) return;
  if (!s["wwids"].empty())
    out.push_back(
        invalid_value(place(at, "targetWWNs"), names, "targetWWNs and wwids can not be specified simultaneously"));
  if (s["lun"].is_null())
    out.push_back(required(place(at, "lun"), "lun is required if targetWWNs is specified"));
  else
    in_range(out, s, at, "lun", 255, "must be between 0 and 255, inclusive");
}

void check_flocker(causes& out, const json::value& s, const place& at) {
  auto name = s["datasetName"].as_string(), id = s["datasetUUID"].as_string();
  if (name.empty() && id.empty()) out.push_back(required(at, "one of datasetName and datasetUUID is required"));
  if (!name.empty() && !id.empty())
    out.push_back(invalid_value(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"));
  if (name.find('/') != name.npos) out.push_back(invalid_value(place(at, "datasetName"), name, "must not contain '/'"));
}

void check_quobyte(causes& out, const json::value& s, const place& at) {
  constexpr std::string_view pairs = "must be a host:port pair or multiple pairs separated by commas";
  constexpr std::size_t tenant_max = 64;
  if (need(out, s, at, "registry", pairs)) {
    if (s["tenant"].as_string().size() > tenant_max)
      out.push_back(required(place(at, "tenant"), "must be a UUID and may not exceed a length of 64 characters"));
    else
      for (auto pair : split(s["registry"].as_string(), ','))
        if (!is_host_and_port(pair)) out.push_back(invalid_value(place(at, "registry"), s["registry"], pairs));
  }
  need(out, s, at, "volume");
}

void check_glusterfs(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "endpoints");
  need(out, s, at, "path");
}

void check_ceph(causes& out, const json::value& s, const place& at) { need(out, s, at, "monitors"); }

void check_rbd(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "monitors");
  need(out, s, at, "image");
}

void check_cinder(causes& out, const json::value& s, const place& at, bool persistent) {
  need(out, s, at, "volumeID");
  if (!s["secretRef"].is_object()) return;
  need(out, s["secretRef"], place(at, "secretRef"), "name");
  if (persistent) need(out, s["secretRef"], place(at, "secretRef"), "namespace");
}

void check_flex(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "driver");
  auto options = s["options"].object();
  if (!options) return;
  for (auto& m : *options) {
    auto domain = "." + lower(std::string_view(m.name).substr(0, m.name.find('/')));
    if (domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io"))
      out.push_back(invalid_value(place::of_key(at, "options", m.name), m.name,
                                  "kubernetes.io and k8s.io namespaces are reserved"));
  }
}

void check_azure_file(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "secretName");
  need(out, s, at, "shareName");
}

void check_azure_disk(causes& out, const json::value& s, const place& at) {
  need(out, s, at, "diskName");
  need(out, s, at, "diskURI");
  one_of(out, s, at, "cachingMode", {"None", "ReadOnly", "ReadWrite"});
  one_of(out, s, at, "kind", {"Dedicated", "Managed", "Shared"});
  auto kind = s["kind"].as_string(), uri = s["diskURI"].as_string();
  if (kind == "Managed" && !uri.starts_with("/subscriptions/"))
    out.push_back(not_supported(
        place(at, "diskURI"), uri,
        {"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"}));
  if (s["kind"].is_string() && kind != "Managed" && !uri.starts_with("https://"))
    out.push_back(not_supported(place(at, "diskURI"), uri,
                                {"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"}));
}

void check_vsphere(causes& out, const json::value& s, const place& at) { need(out, s, at, "volumePath"); }
void check_photon(causes& out, const json::value& s, const place& at) { need(out, s, at, "pdID"); }
void check_portworx(causes& out, const json::value& s, const place& at) { need(out, s, at, "volumeID"); }

void check_scale_io(causes& out, const json::value& s, const place& at) {
  for (auto member : {"gateway", "system", "volumeName"}) need(out, s, at, member);
}

void check_storage_os(causes& out, const json::value& s, const place& at, bool persistent) {
  if (need(out, s, at, "volumeName"))
    add_problems(out, place(at, "volumeName"), s["volumeName"], check_dns1123_label(s["volumeName"].as_string()));
  if (auto ns = s["volumeNamespace"].as_string(); !ns.empty())
    add_problems(out, place(at, "volumeNamespace"), ns, check_dns1123_label(ns));
  if (!s["secretRef"].is_object()) return;
  need(out, s["secretRef"], place(at, "secretRef"), "name");
  if (persistent) need(out, s["secretRef"], place(at, "secretRef"), "namespace");
}

void check_csi_driver_name(causes& out, std::string_view name, const place& at) {
  constexpr std::size_t name_max = 63;
  if (name.empty()) return out.push_back(required(at));
  if (name.size() > name_max) out.push_back(too_long(at, name_max));
  add_problems(out, at, name, check_dns1123_subdomain(lower(name)));
}

void check_template_metadata(causes& out, const json::value& metadata, const place& at) {
  check_annotations(out, metadata["annotations"], place(at, "annotations"));
  check_labels(out, metadata["labels"], place(at, "labels"));
  auto members = metadata.object();
  if (!members) return;
  for (auto& m : *members)
    // The real server makes a path of the member's Go name.
    if (m.name != "annotations" && m.name != "labels")
      out.push_back(forbidden_value(place(at, m.name == "uid" ? "uID" : m.name), "cannot be set"));
}

}  // namespace kedge::api
