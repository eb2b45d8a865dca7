// images.h: the images of containers: there already, or pulled, with the kubelet's policies, pauses and words.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "node/pods/cluster.h"
#include "node/pods/configs.h"
#include "node/pods/status.h"
#include "node/runtime/pod_runtime.h"
#include "reactor/sync.h"
#include "reactor/turn.h"

namespace kedge::node {

// A pause that doubles from `first` to `most`, and is forgotten when twice `most` has passed since it was last taken.
class growing_pause {
 public:
  // Whether something that ended at `since` may begin again only later than `now`; then `until` says when.
  bool lasts(wall_time since, wall_time now) const {
    return pause_ > duration(0) && !is_old(since) && now < since + pause_;
  }
  wall_time until(wall_time since) const { return since + pause_; }
  duration length() const { return pause_; }
  // It begins again; the next time there is a longer pause.
  void take(wall_time since, duration first, duration most) {
    most_ = most;
    pause_ = pause_ == duration(0) || is_old(since) ? first : std::min(pause_ * 2, most);
    taken_ = since;
  }
  bool is_old(wall_time now) const { return now - taken_ > most_ * 2; }

 private:
  duration pause_{0}, most_{0};
  wall_time taken_{};
};

// "busybox" → "busybox:latest".
std::string with_tag(std::string_view image);
// An image that names no registry of its own is of `registry`, where that isn't empty.
std::string in_registry(const std::string& image, const std::string& registry);
// What a registry of `image` is asked with, of a Secret of type dockerconfigjson or dockercfg; those that fit best
// first.
std::vector<image_credentials> credentials_for(std::string_view image, const std::vector<json::value>& secrets);

class image_puller {
 public:
  using teller = std::function<void(bool warning, std::string reason, std::string message)>;
  image_puller(pod_runtime& runtime, pod_cluster& cluster, const pod_settings& settings)
      : runtime_(runtime),
        cluster_(cluster),
        settings_(settings),
        turns_(settings.pulls_at_once > 0 ? static_cast<std::size_t>(settings.pulls_at_once) : SIZE_MAX) {}

  // The container's image, pulled if its policy says so. `retry_at`: when it may be tried again.
  struct failed {
    waiting_reason why;
    wall_time retry_at{};
  };
  task<std::expected<image_info, failed>> ensure(json::value pod, json::value container, teller tell);

 private:
  task<std::expected<image_info, failed>> pull(const json::value& pod, std::string image, teller& tell);
  task<std::vector<json::value>> secrets_of(const json::value& pod);
  task<result<std::string>> pull_once(std::string name, const image_credentials* credentials,
                                      const sandbox_config& sandbox);
  bool may_pull();  // registryPullQPS

  struct attempt {
    growing_pause pause;
    wall_time failed_at{};
    std::string error;
  };
  pod_runtime& runtime_;
  pod_cluster& cluster_;
  const pod_settings& settings_;
  std::map<std::string, attempt> attempts_;  // by pod and image, of those that failed
  reactor::semaphore turns_;
  std::optional<double> left_;  // of pulls_burst, at `left_at_`
  time_point left_at_{};
};

}  // namespace kedge::node
