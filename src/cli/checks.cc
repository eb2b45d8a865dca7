#include "cli/checks.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "backup/folder.h"
#include "base/ip.h"
#include "base/strings.h"
#include "base/time.h"
#include "meta/cron.h"

namespace kedge::cli {
namespace {

using complaint = std::optional<std::string_view>;

constexpr std::size_t dns_subdomain_max_bytes = 253;  // RFC 1123, as Kubernetes checks names
constexpr std::size_t qualified_name_max_bytes = 63;  // the name part of a label's key, and a label's value

bool alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool is_subdomain(std::string_view name) {
  if (name.empty() || name.size() > dns_subdomain_max_bytes) return false;
  for (auto part : split(name, '.')) {
    if (part.empty() || part.front() == '-' || part.back() == '-') return false;
    if (!std::all_of(part.begin(), part.end(),
                     [](char c) { return (alphanumeric(c) && !(c >= 'A' && c <= 'Z')) || c == '-'; }))
      return false;
  }
  return true;
}

// The rule for the name part of a label's key; a label's value obeys it too, or is empty.
bool is_label_text(std::string_view text) {
  if (text.empty() || text.size() > qualified_name_max_bytes) return false;
  if (!alphanumeric(text.front()) || !alphanumeric(text.back())) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_qualified_name(std::string_view key) {
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return is_label_text(key);
  return is_subdomain(key.substr(0, slash)) && is_label_text(key.substr(slash + 1));
}

complaint one_of(std::string_view value, std::initializer_list<std::string_view> choices, std::string_view otherwise) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return {};
  return otherwise;
}

}  // namespace

complaint check_ip(std::string_view value) {
  if (ip_address::parse(value)) return {};
  return "is not an IP address";
}

complaint check_cidr(std::string_view value) {
  if (ip_range::parse(value)) return {};
  return "is not a CIDR such as 10.42.0.0/16 or fd00:42::/56";
}

complaint check_https_url(std::string_view value) {
  constexpr std::string_view scheme = "https://";
  if (!value.starts_with(scheme) || value.size() == scheme.size() || value[scheme.size()] == '/')
    return "is not a URL such as https://10.0.0.1:6443";
  return {};
}

complaint check_dns_name(std::string_view value) {
  if (is_subdomain(value)) return {};
  return "is not a lower-case DNS name (letters, digits, '-' and '.')";
}

complaint check_node_label(std::string_view value) {
  const auto equals = value.find('=');
  if (equals == std::string_view::npos) return "is not a label: key=value is wanted";
  const auto content = value.substr(equals + 1);
  if (!is_qualified_name(value.substr(0, equals))) return "has a key that no label may have";
  if (!content.empty() && !is_label_text(content)) return "has a value that no label may have";
  return {};
}

complaint check_node_taint(std::string_view value) {
  const auto colon = value.rfind(':');
  if (colon == std::string_view::npos) return "is not a taint: key=value:Effect is wanted";
  const auto left = value.substr(0, colon);
  const auto equals = left.find('=');
  const auto content = equals == std::string_view::npos ? std::string_view() : left.substr(equals + 1);
  if (!is_qualified_name(left.substr(0, equals))) return "has a key that no taint may have";
  if (!content.empty() && !is_label_text(content)) return "has a value that no taint may have";
  return one_of(value.substr(colon + 1), {"NoSchedule", "PreferNoSchedule", "NoExecute"},
                "has an effect other than NoSchedule, PreferNoSchedule and NoExecute");
}

complaint check_key_value(std::string_view value) {
  const auto equals = value.find('=');
  if (equals == std::string_view::npos || equals == 0) return "is not of the form key=value";
  return {};
}

complaint check_io_backend(std::string_view value) {
  return one_of(value, {"auto", "io_uring", "epoll"}, "is none of auto, io_uring and epoll");
}

complaint check_egress_mode(std::string_view value) {
  return one_of(value, {"agent", "cluster", "pod", "disabled"}, "is none of agent, cluster, pod and disabled");
}

complaint check_flannel_backend(std::string_view value) {
  if (value == "wireguard-native")
    return "is not supported yet, so nothing would be encrypted; with none, a network of your own can";
  return one_of(value, {"vxlan", "none", "host-gw"}, "is none of vxlan, host-gw and none");
}

complaint check_synchronous(std::string_view value) {
  return one_of(value, {"normal", "full"}, "is neither normal nor full");
}

complaint check_encryption_provider(std::string_view value) {
  return one_of(value, {"aescbc", "secretbox"}, "is neither aescbc nor secretbox");
}

complaint check_output_format(std::string_view value) {
  return one_of(value, {"text", "table", "json", "yaml"}, "is none of text, table, json and yaml");
}

complaint check_absolute_path(std::string_view value) {
  if (value.starts_with('/')) return {};
  return "is not an absolute path";
}

complaint check_snapshot_name(std::string_view value) {
  if (backup::check_name(std::string(value))) return {};
  return "is not a file's name: no path, no dot in front";
}

complaint check_cron(std::string_view value) {
  if (api::cron_schedule::parse(value)) return {};
  return "is not a schedule as cron has them, such as \"0 */12 * * *\"";
}

complaint check_extra_component(std::string_view value) {
  if (value == "traefik") return {};
  return "is no component that can be asked for; there is traefik";
}

complaint check_bucket_lookup(std::string_view value) {
  return one_of(value, {"auto", "dns", "path"}, "is none of auto, dns and path");
}

complaint check_duration(std::string_view value) {
  auto d = parse_duration(value);
  if (d && *d > duration::zero()) return {};
  return "is not a duration such as 1h30m";
}

}  // namespace kedge::cli
