#include "node/image_sharing.h"

#include <utility>

#include "base/log.h"
#include "node/mirror/peers.h"
#include "reactor/offload.h"

namespace kedge::node {

task<result<std::unique_ptr<image_mirror>>> share_images(agent_config& config, const registration& joined,
                                                         containerd* runtime, informer* nodes,
                                                         reactor::network* network) {
  if (!joined.cluster.embedded_registry) co_return nullptr;
  if (!runtime || !nodes) {
    log::warning("this node shares no images: its container runtime or its network is another's");
    co_return nullptr;
  }
  KEDGE_CO_TRY(auto read, co_await reactor::offload([file = config.registries_file] { return read_registries(file); }));
  KEDGE_CO_TRY(auto known, std::move(read));
  shared_registries shared(known);
  if (shared.empty()) {
    log::warning("this node shares no images: {} names no registries among its mirrors", config.registries_file);
    co_return nullptr;
  }
  auto mirror = std::make_unique<image_mirror>(
      image_mirror_parts{.node_name = config.node_name,
                         .shared = std::move(shared),
                         .shares_latest = config.mirror_latest,
                         .socket = [runtime] { return runtime->running() ? runtime->socket() : std::string(); },
                         .nodes = *nodes,
                         .network = network});
  KEDGE_CO_CHECK(mirror->use(joined.server_ca, joined.kubelet));
  config.node_labels.push_back(std::string(mirror_label) + "=true");
  const bool any = config.bind_address.empty() || config.bind_address == "0.0.0.0" || config.bind_address == "::";
  const reactor::endpoint own{any ? "127.0.0.1" : config.bind_address, static_cast<std::uint16_t>(config.kubelet.port)};
  config.own_mirror_url = "https://" + own.text();
  KEDGE_CO_CHECK(co_await runtime->use_mirror(config.own_mirror_url));
  log::info("this node shares images with others, at {}/v2", config.own_mirror_url);
  co_return std::move(mirror);
}

}  // namespace kedge::node
