// image_sharing.h: this node's part of the mirror that the nodes are to each other (mirror/image_mirror.h), where the
// servers (--embedded-registry) and the mirrors of its registries.yaml ask for it.
#pragma once

#include <memory>

#include "node/config.h"
#include "node/informer/informer.h"
#include "node/join/registration.h"
#include "node/mirror/image_mirror.h"
#include "node/runtime/containerd.h"

namespace kedge::node {

// Null: it takes no part, and says why where somebody asked for it. Else its containerd asks it from the next pull on,
// `config` has its address and the Node's label, and run() is its caller's. `runtime`, `nodes` (a view of the cluster
// as who may list Nodes): null where they are another's; they outlive it.
task<result<std::unique_ptr<image_mirror>>> share_images(agent_config& config, const registration& joined,
                                                         containerd* runtime, informer* nodes,
                                                         reactor::network* network);

}  // namespace kedge::node
