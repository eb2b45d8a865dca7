// registries.h: K3s's registries.yaml: where images of a registry are pulled from, and as whom, as what containerd
// reads.
//
//   registries.yaml ─▶ parse_registries ─▶ registries ─┬─▶ hosts_files: certs.d/<host>/hosts.toml, mirrors and TLS
//                                                      └─▶ credentials, in containerd's own configuration
//
// Pure but for write_hosts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::node {

struct registry_credentials {
  std::string username, password, auth, identity_token;
};
struct registry_tls {
  std::string ca_file, cert_file, key_file;
  bool insecure_skip_verify = false;
};
struct registry_config {
  std::optional<registry_credentials> credentials;
  std::optional<registry_tls> tls;
};
struct registry_mirror {
  std::vector<std::string> endpoints;
  std::map<std::string, std::string> rewrites;  // pattern → replacement
};
// The mirror that the nodes are to each other.
struct node_mirror {
  std::string url;  // of this node's part of it: https://127.0.0.1:10250
  registry_config config;
};
// By host[:port]; "*" is every other one.
struct registries {
  std::map<std::string, registry_mirror, std::less<>> mirrors;
  std::map<std::string, registry_config, std::less<>> configs;
  // Asked first for each host among the mirrors, but for this machine's own; rewrites aren't for it.
  std::optional<node_mirror> nodes;
  // What has no effect, for the log.
  std::vector<std::string> warnings;
};

// errc::invalid names the member that can't be. Members that K3s doesn't know are warned of.
result<registries> parse_registries(std::string_view yaml);

// "localhost", "127.0.0.1:5000": not what other nodes know by that name.
bool is_of_this_machine(std::string_view host);
// As images' names have it: docker.io, not the host of its API.
std::string_view registry_name(std::string_view host);

// By folder below certs.d. `own_endpoint` false: where there are mirrors, the registry itself isn't asked.
std::map<std::string, std::string> hosts_files(const registries& r, bool own_endpoint);
// Writes them below `folder` in place of what was written before; folders of others stay. Blocking.
result<void> write_hosts(const std::string& folder, const std::map<std::string, std::string>& files);

}  // namespace kedge::node
