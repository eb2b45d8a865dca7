// image_mirror.h: nodes give each other the images that they have (--embedded-registry): what one has needn't be pulled
// from outside by another.
//
//   containerd ─ hosts.toml ─▶ the own kubelet's port, /v2/… ─▶ who has it? ─▶ peers' ports, some at once ─▶ the first
//        ▲                                                                                                     │ bytes
//        └────────────── checked by their digest, the last of them only when it is right ◀──── its containerd ◀┘
//
// Nothing of it is waited for long, and no node is needed: what nobody has, or not whole, is answered with "not found",
// whereupon containerd asks the next mirror or the registry. Only what comes from a registry among the mirrors leaves
// a node, to nodes of the cluster alone.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/exposition.h"
#include "net/http/client.h"
#include "net/http/handler.h"
#include "node/informer/informer.h"
#include "node/mirror/content_store.h"
#include "node/mirror/peers.h"

namespace kedge::node {

struct image_mirror_parts {
  std::string node_name;
  shared_registries shared;
  bool shares_latest = false;           // tags that change, too
  std::function<std::string()> socket;  // containerd's; empty while it doesn't run
  informer& nodes;                      // as who may list them
  reactor::network* network = nullptr;
};

class image_mirror {
 public:
  explicit image_mirror(image_mirror_parts parts);

  // Who this node is to the others, and by what it knows them: for connections that are made from now on.
  result<void> use(const std::string& ca, const client_identity& identity);
  // Follows who else takes part. Never ends.
  task<void> run();
  // A request below /v2/ of `user`, who is one of the cluster's nodes: this one's own containerd is answered with what
  // others have, everybody else with what is here.
  task<void> serve(net::http::exchange& e, std::string user);
  void write_metrics(exposition& out) const;

 private:
  struct offer;
  struct search;
  task<void> serve_from_peers(net::http::exchange& e, mirror_request asked);
  task<void> serve_own(net::http::exchange& e, mirror_request asked);
  task<result<void>> send_own(net::http::exchange& e, content_store& store, std::string digest, std::uint64_t size);
  task<std::optional<offer>> who_has(mirror_request asked, std::vector<std::string> but);
  task<void> ask_one_after_another(search& s, mirror_request asked);
  task<result<void>> pass_on(net::http::exchange& e, offer from, mirror_request asked);
  task<result<void>> pass_on_manifest(net::http::exchange& e, offer from, mirror_request asked);
  task<result<void>> pass_on_blob(net::http::exchange& e, offer from, mirror_request asked);
  net::http::client_request to_peer(const mirror_peer& peer, const mirror_request& asked, std::string method) const;
  std::vector<std::string> resting();

  image_mirror_parts parts_;
  kind_cache<mirror_peer> peers_{decode_mirror_peer};
  net::http::client http_;
  std::shared_ptr<net::tls_client_context> tls_;
  std::map<std::string, time_point> rest_until_;  // peers that can't be reached, or gave what was wrong
  std::size_t streams_ = 0;                       // blobs on their way, in or out
  struct count {
    std::uint64_t hits = 0, misses = 0;
  };
  std::map<std::string, count, std::less<>> counts_;  // by shared_registries::label
  std::uint64_t bytes_received_ = 0, bytes_sent_ = 0;
};

}  // namespace kedge::node
