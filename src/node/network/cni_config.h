// cni_config.h: what the runtime finds: K3s's network configuration, and the plugins that it names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::node {

// K3s's name for the file, so that a data folder has one network configuration whoever wrote it last.
inline constexpr std::string_view cni_file_name = "10-flannel.conflist";

struct cni_settings {
  std::string subnet_file = "/run/flannel/subnet.env";
  std::string leases = "/var/lib/cni/networks";  // where host-local keeps which addresses are taken
};
// K3s's: bridge cni0 as subnet.env says, hairpin, hostPorts. The runtime says NetworkReady once it is there.
std::string cni_conflist(const cni_settings& s);

// Makes `folder` the place of plugins: links to kedge-cni beside this program (or to this one, where that is missing or
// of another release) under the names of its plugins, and to the machine's others
// (/opt/cni/bin, /usr/lib/cni, /usr/libexec/cni). `ours_first`: of a name that both have, ours; else the machine's.
// Blocks.
result<void> link_plugins(const std::string& folder, bool ours_first);

}  // namespace kedge::node
