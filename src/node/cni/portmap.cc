// portmap.cc: hostPort: a port of the node's that leads to a pod's. Rules of their own table (hostports), whose maps
// the plugin changes:
//
//   address of the node . protocol . port ─▶ hostports-on ─▶ pod's address . port        (hostIP given)
//   protocol . port, to any address of the node ─▶ hostports ─▶ pod's address . port
//
// What each pod was given lies in a file of /run, which goes at a reboot as the rules do.

#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/ip.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "node/cni/plugin.h"
#include "node/network/sysctl.h"
#include "node/nft/hostports.h"
#include "node/nft/node_guard.h"

namespace kedge::node::cni {

namespace {

namespace fs = std::filesystem;

std::string folder_of(const request& r) { return std::string(r.config["dataDir"].as_string(nft::hostports_folder)); }
std::string file_of(const request& r) {
  return folder_of(r) + "/" + r.network() + "-" + r.container_id + "-" + r.interface;
}

result<std::vector<nft::hostport>> wanted(const request& r) {
  std::vector<nft::hostport> all;
  auto* mappings = r.config["runtimeConfig"]["portMappings"].array();
  auto* ips = r.previous()["ips"].array();
  if (!mappings) return all;
  for (auto& m : *mappings) {
    auto host_port = m["hostPort"].as_integer(), container_port = m["containerPort"].as_integer();
    if (host_port == 0) continue;
    if (host_port < 0 || host_port > 65535 || container_port < 1 || container_port > 65535)
      return fail(errc::invalid, "a port mapping is out of range");
    auto protocol = lower(m["protocol"].as_string("tcp"));
    std::uint8_t number = protocol == "tcp"    ? IPPROTO_TCP
                          : protocol == "udp"  ? IPPROTO_UDP
                          : protocol == "sctp" ? IPPROTO_SCTP
                                               : 0;
    if (number == 0) return fail(errc::invalid, "\"" + protocol + "\" is no protocol of a port mapping");
    std::optional<ip_address> on;
    if (auto text = m["hostIP"].as_string(); !text.empty()) {
      on = ip_address::parse(text);
      if (!on) return fail(errc::invalid, "\"" + std::string(text) + "\" is no address of a port mapping");
      if (on->is_unspecified()) on.reset();
    }
    // One pod address of each family.
    bool done4 = false, done6 = false;
    for (std::size_t i = 0; ips && i < ips->size(); ++i) {
      auto text = (*ips)[i]["address"].as_string();
      auto to = ip_address::parse(text.substr(0, text.find('/')));
      if (!to || (on && on->is_v4() != to->is_v4())) continue;
      if (std::exchange(to->is_v4() ? done4 : done6, true)) continue;
      all.push_back(
          {number, on, static_cast<std::uint16_t>(host_port), *to, static_cast<std::uint16_t>(container_port)});
    }
  }
  return all;
}

// What an agent or server listens at on this node is no pod's.
result<void> refuse_own_ports(const std::vector<nft::hostport>& ports) {
  KEDGE_TRY(auto own, nft::guarded_ports());
  for (auto& p : ports)
    if (p.protocol == IPPROTO_TCP && std::ranges::find(own, p.port) != own.end())
      return fail(errc::invalid, "hostPort " + std::to_string(p.port) + " is taken by the node itself");
  return {};
}

result<void> forget(const std::string& file) {
  auto text = crypto::read_file(file);
  if (!text && text.error().code == errc::not_found) return {};
  if (!text) return fail(std::move(text).error());
  auto stored = nft::parse_hostports(*text);
  KEDGE_CHECK(nft::remove_hostports(stored));
  ::unlink(file.c_str());
  return {};
}

}  // namespace

result<json::value> portmap_add(const request& r) {
  if (r.previous().is_null())
    return fail(errc::invalid, "portmap must be called as a chained plugin: prevResult is missing");
  KEDGE_TRY(auto ports, wanted(r));
  if (ports.empty()) return r.previous();
  KEDGE_CHECK(forget(file_of(r)));
  KEDGE_CHECK(refuse_own_ports(ports));
  // So that 127.0.0.1:port of the node works too; whoever isn't the node itself is kept from there.
  KEDGE_CHECK(nft::guard_node({}));
  if (auto bridge = r.previous()["interfaces"][0]["name"].as_string(); !bridge.empty())
    KEDGE_CHECK(write_sysctl("ipv4/conf/" + std::string(bridge) + "/route_localnet", "1"));
  std::error_code failed;
  fs::create_directories(folder_of(r), failed);
  if (failed) return fail(os_error(failed.value(), folder_of(r)));
  KEDGE_CHECK(crypto::write_file(file_of(r), nft::write_hostports(ports), {.mode = 0644}));
  auto added = nft::add_hostports(ports);
  if (!added) {
    ::unlink(file_of(r).c_str());
    return fail(std::move(added).error());
  }
  return r.previous();
}

result<void> portmap_del(const request& r) { return forget(file_of(r)); }

result<void> portmap_check(const request& r) {
  KEDGE_TRY(auto ports, wanted(r));
  return nft::check_hostports(ports);
}

result<void> portmap_gc(const request& r) {
  auto valid = valid_attachments(r.config);
  auto begin = r.network() + "-";
  std::error_code failed;
  std::vector<std::string> gone;
  for (fs::directory_iterator at(folder_of(r), failed), end; !failed && at != end; at.increment(failed)) {
    auto name = at->path().filename().string();
    if (!name.starts_with(begin)) continue;
    if (!std::ranges::any_of(valid, [&](auto& a) { return name == begin + a.first + "-" + a.second; }))
      gone.push_back(at->path().string());
  }
  for (auto& file : gone) KEDGE_CHECK(forget(file));
  return {};
}

}  // namespace kedge::node::cni
