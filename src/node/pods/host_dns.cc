#include "node/pods/host_dns.h"

#include <algorithm>

#include "base/ip.h"
#include "base/log.h"
#include "crypto/files.h"
#include "node/limits.h"
#include "node/pods/configs.h"

namespace kedge::node {

dns_settings usable_dns(const std::string& told) {
  auto usable = [](const dns_settings& d) {
    return !d.servers.empty() && std::all_of(d.servers.begin(), d.servers.end(), [](auto& s) {
      auto address = ip_address::parse(s);
      return address && (address->is_global_unicast() || s == "169.254.169.254");
    });
  };
  if (!told.empty()) {
    if (auto text = crypto::read_file(told, host_file_max)) return parse_resolv_conf(*text);
    log::warning("{} can't be read; pods get the resolvers that the machine has", told);
  }
  for (auto* file : {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"})
    if (auto text = crypto::read_file(file, host_file_max))
      if (auto d = parse_resolv_conf(*text); usable(d)) return d;
  return {.servers = {"8.8.8.8", "2001:4860:4860::8888"}, .searches = {}, .options = {}};
}

}  // namespace kedge::node
