#include "node/cni.h"

#include <unistd.h>

#include "json/value.h"
#include "json/write.h"

namespace kedge::node {

std::string cni_conflist(const std::vector<std::string>& pod_cidrs, const std::string& leases) {
  using json::array;
  using json::object;
  array ranges, routes;
  for (auto& cidr : pod_cidrs) {
    ranges.emplace_back(array{object{{"subnet", cidr}}});
    routes.emplace_back(object{{"dst", cidr.contains(':') ? "::/0" : "0.0.0.0/0"}});
  }
  json::value bridge(object{
      {"type", "bridge"},
      {"bridge", "cni0"},
      {"isGateway", true},
      {"isDefaultGateway", false},
      {"hairpinMode", true},
      {"forceAddress", true},  // a node that came back with another podCIDR
      {"ipMasq", true},
      {"ipam", object{{"type", "host-local"}, {"ranges", std::move(ranges)}, {"routes", std::move(routes)}, {"dataDir", leases}}},
  });
  json::value portmap(object{{"type", "portmap"}, {"capabilities", object{{"portMappings", true}}}});
  json::value list(object{{"cniVersion", "0.4.0"}, {"name", "cbr0"}, {"plugins", array{std::move(bridge), std::move(portmap)}}});
  return json::write_indented(list, 2) + "\n";
}

std::string find_cni_bin_folder(const std::string& configured) {
  if (!configured.empty()) return configured;
  for (auto* folder : {"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"})
    if (::access((std::string(folder) + "/bridge").c_str(), X_OK) == 0) return folder;
  return {};
}

}  // namespace kedge::node
