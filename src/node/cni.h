// cni.h: the network configuration that the runtime reads. Until pods have a network across nodes, each node gives its
// pods addresses of its own podCIDR behind a bridge; the runtime says NetworkReady once the file is there.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace kedge::node {

// K3s's name for the file, so that a data folder has one network configuration whoever wrote it last.
inline constexpr std::string_view cni_file_name = "10-flannel.conflist";

// bridge + host-local + portmap over these ranges (the Node's podCIDRs). `leases` is where host-local keeps addresses.
std::string cni_conflist(const std::vector<std::string>& pod_cidrs, const std::string& leases);

// Where the CNI plugins are: `configured`, or the first of the usual folders that has `bridge`; empty when none has.
std::string find_cni_bin_folder(const std::string& configured);

}  // namespace kedge::node
