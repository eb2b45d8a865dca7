#include "node/mirror/peers.h"

#include <algorithm>
#include <functional>

#include "node/images/archive.h"
#include "node/mirror/limits.h"

namespace kedge::node {

namespace {

std::uint64_t hash_of(std::string_view repository) { return std::hash<std::string_view>{}(repository); }

void shuffle(std::vector<mirror_peer>::iterator first, std::vector<mirror_peer>::iterator last, random_source& random) {
  for (auto n = last - first; n > 1; --n)
    std::iter_swap(first + (n - 1), first + static_cast<std::ptrdiff_t>(random.below(static_cast<std::uint64_t>(n))));
}

}  // namespace

std::optional<mirror_peer> decode_mirror_peer(const json::value& node) {
  if (node["metadata"]["labels"][mirror_label].as_string() != "true") return std::nullopt;
  mirror_peer p{.name = std::string(node["metadata"]["name"].as_string())};
  auto& status = node["status"];
  bool ready = false;
  if (auto* all = status["conditions"].array())
    for (auto& c : *all)
      if (c["type"].as_string() == "Ready") ready = c["status"].as_string() == "True";
  if (auto* all = status["addresses"].array())
    for (auto& a : *all)
      if (p.at.address.empty() && a["type"].as_string() == "InternalIP") p.at.address = a["address"].as_string();
  auto port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_integer();
  if (!ready || p.at.address.empty() || port <= 0 || port > 65535) return std::nullopt;
  p.at.port = static_cast<std::uint16_t>(port);
  if (auto* images = status["images"].array())
    for (auto& image : *images)
      if (auto* names = image["names"].array())
        for (auto& name : *names) p.repositories.push_back(hash_of(repository_of(name.as_string())));
  std::ranges::sort(p.repositories);
  auto same = std::ranges::unique(p.repositories);
  p.repositories.erase(same.begin(), same.end());
  return p;
}

std::vector<mirror_peer> peers_to_ask(const kind_cache<mirror_peer>& all, const mirror_request& asked,
                                      std::string_view own_name, const std::vector<std::string>& rest,
                                      random_source& random) {
  std::vector<mirror_peer> out;
  all.each([&](const std::string& name, const mirror_peer& p) {
    if (name != own_name && std::ranges::find(rest, name) == rest.end()) out.push_back(p);
  });
  auto wanted = hash_of(asked.registry + "/" + asked.repository);
  auto others = std::partition(out.begin(), out.end(),
                               [&](auto& p) { return std::ranges::binary_search(p.repositories, wanted); });
  shuffle(out.begin(), others, random);
  shuffle(others, out.end(), random);
  if (out.size() > mirror_peers_asked_max) out.resize(mirror_peers_asked_max);
  return out;
}

}  // namespace kedge::node
