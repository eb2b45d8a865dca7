// collector.h: images that nothing uses go when the disk fills up: the least recently used first, never one that is
// pinned, that a container is of, or that has just come. The kubelet's rules (pkg/kubelet/images/image_gc_manager.go).
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "node/kubelet_settings.h"
#include "node/runtime/pod_runtime.h"

namespace kedge::node {

struct image_use {
  stored_image image;
  bool in_use = false;
  time_point first_seen{}, last_used{};  // last_used: time_point() when it never was
};

// Those to remove, in that order, so that `bytes` become free: of no use, not pinned, there for `age_min`.
std::vector<image_use> images_to_remove(std::vector<image_use> all, std::uint64_t bytes, duration age_min,
                                        time_point now);

class image_collector {
 public:
  struct parts {
    pod_runtime& runtime;
    const kubelet_settings& settings;
    std::string folder;       // on the file system of images
    std::string pause_image;  // the sandboxes' own
    // A warning about the node.
    std::function<void(std::string reason, std::string message)> tell;
  };
  explicit image_collector(parts p) : parts_(std::move(p)) {}

  // Until dropped: looks at the disk every five minutes.
  task<void> run();
  // All that nothing uses, whatever the disk has: what is done before a pod has to go. How many bytes that gave.
  task<std::uint64_t> remove_unused();

 private:
  task<result<std::vector<image_use>>> look();
  task<void> keep_disk();
  task<std::uint64_t> remove(std::vector<image_use> some);

  parts parts_;
  std::map<std::string, image_use> known_;  // by id
};

}  // namespace kedge::node
