#include "supervisor/server_names.h"

#include <algorithm>
#include <set>

#include "base/ip.h"
#include "base/strings.h"

namespace kedge::supervisor {
namespace {

bool is_server_node(const config& settings, api::objects& objects, std::string_view node) {
  if (node == settings.node_name) return true;
  auto known = objects.get({"", "v1", "nodes"}, "", node);
  return known && (*known)["metadata"]["labels"].find("node-role.kubernetes.io/control-plane");
}

}  // namespace

bool is_server_name(const config& settings, api::objects& objects, std::string_view node) {
  for (auto name : {"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"})
    if (node == name) return true;
  if (node == "kubernetes.default.svc." + settings.cluster_domain) return true;
  auto same = [&](const std::string& san) { return iequals(san, node); };
  return std::any_of(settings.tls_sans.begin(), settings.tls_sans.end(), same) &&
         !is_server_node(settings, objects, node);
}

std::vector<std::string> certified_addresses(const config& settings, api::objects& objects,
                                             const std::vector<std::string>& asked, std::string_view peer) {
  std::set<ip_address> servers;
  auto add = [&](std::string_view text) {
    if (auto a = ip_address::parse(text)) servers.insert(*a);
  };
  add(settings.advertise_address);
  for (auto& san : settings.tls_sans) add(san);
  for (auto& range : settings.service_cidrs) add(first_address(range, 1));
  for (auto& slice : objects.list({"discovery.k8s.io", "v1", "endpointslices"}, "default")) {
    if (slice["metadata"]["labels"]["kubernetes.io/service-name"].as_string() != "kubernetes") continue;
    for (std::size_t i = 0; i < slice["endpoints"].size(); ++i)
      for (std::size_t a = 0; a < slice["endpoints"][i]["addresses"].size(); ++a)
        add(slice["endpoints"][i]["addresses"][a].as_string());
  }
  auto from = ip_address::parse(peer);
  std::vector<std::string> out;
  for (auto& text : asked) {
    auto a = ip_address::parse(text);
    if (!a) continue;
    const bool is_there = from && (from->is_loopback() || *from == *a);
    if (!servers.contains(*a) || is_there) out.push_back(text);
  }
  return out;
}

}  // namespace kedge::supervisor
