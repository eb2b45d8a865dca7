// peers.h: the other nodes that give images away, out of their Node objects, and whom to ask first. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "json/value.h"
#include "node/informer/kind_cache.h"
#include "node/mirror/request.h"
#include "reactor/stream.h"

namespace kedge::node {

// K3s's mark of nodes that take part.
inline constexpr std::string_view mirror_label = "p2p.k3s.cattle.io/enabled";

struct mirror_peer {
  std::string name;
  reactor::endpoint at;                     // the kubelet's port
  std::vector<std::uint64_t> repositories;  // of its images as far as its Node lists them: hashes, sorted
  friend bool operator==(const mirror_peer&, const mirror_peer&) noexcept = default;
};
// nullopt: it takes no part, isn't ready, or can't be reached by what it says of itself.
std::optional<mirror_peer> decode_mirror_peer(const json::value& node);

// Everybody but `own_name` and those who `rest`: first those whose Nodes list the repository, each group in an order of
// its own each time, so that nobody bears all the load; mirror_peers_asked_max at most.
std::vector<mirror_peer> peers_to_ask(const kind_cache<mirror_peer>& all, const mirror_request& asked,
                                      std::string_view own_name, const std::vector<std::string>& rest,
                                      random_source& random);

}  // namespace kedge::node
