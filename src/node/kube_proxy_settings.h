// kube_proxy_settings.h: what a node can be told of kube-proxy's own flags, by their meaning, with kube-proxy's
// defaults. cli reads them (cli/kube_proxy_arguments.cc).
#pragma once

#include <chrono>
#include <cstdint>

namespace kedge::node {

struct kube_proxy_settings {
  bool masquerade_all = false;
  // Connections that the kernel remembers. 0 a processor: the machine's limit stays.
  std::uint32_t conntrack_per_processor = 32'768, conntrack_min = 131'072;
  // How long, of each kind; 0: as the machine has it.
  std::chrono::seconds tcp_established{86'400}, tcp_close_wait{3'600}, udp{0}, udp_stream{0};
  bool tcp_be_liberal = false;
};

}  // namespace kedge::node
