// hostports.h: ports of the node that lead to its pods' (hostPort), in a table of their own. Blocks (netlink.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "node/network/netlink.h"

namespace kedge::node::nft {

struct hostport {
  std::uint8_t protocol = 0;     // IPPROTO_TCP …
  std::optional<ip_address> on;  // nullopt: every address of the node
  std::uint16_t port = 0;
  ip_address to;
  std::uint16_t to_port = 0;
  friend bool operator==(const hostport&, const hostport&) noexcept = default;
};

// The table is made when it isn't there. A port that leads elsewhere already is refused: errc::already_exists.
result<void> add_hostports(const std::vector<hostport>& ports);
// Of those that lead where they say; others' stay. Their not being there is fine.
result<void> remove_hostports(const std::vector<hostport>& ports);
// What the files of `folder` say, each of a pod, is there; where the table was taken away or emptied it is made again.
// `seen`: whether it was there before, and is then; without that an absent one is nobody's loss. Whether it was made.
result<bool> restore_hostports(const std::string& folder, bool& seen);
result<void> check_hostports(const std::vector<hostport>& ports);  // errc::not_found

inline constexpr const char* hostports_folder = "/run/kedge/hostports";  // which goes at a reboot, as the rules do
// As lines of text, to be kept.
std::string write_hostports(const std::vector<hostport>& ports);
std::vector<hostport> parse_hostports(std::string_view text);  // what is no such line is left out

}  // namespace kedge::node::nft
