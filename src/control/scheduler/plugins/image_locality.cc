// image_locality.cc: ImageLocality: nodes that have the pod's images already score higher, by size and by how many have
// them.
#include <algorithm>

#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {
namespace {

constexpr std::int64_t mb = 1024 * 1024, least = 23 * mb, most_a_container = 1000 * mb;

struct state final : plugin_state {
  std::vector<std::pair<const image_view*, std::int64_t>> images;  // known ones, with their scaled size
  std::int64_t count = 0;
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<state>(*this); }
};

class image_locality final : public plugin {
 public:
  std::string_view name() const noexcept override { return "ImageLocality"; }
  bool scores() const noexcept override { return true; }
  std::unique_ptr<plugin_state> prescore(const pod_view& pod, std::span<const node_view* const>,
                                         const cluster_view& cluster) const override {
    auto out = std::make_unique<state>();
    out->count = static_cast<std::int64_t>(pod.is->image_count);
    for (auto& name : pod.is->images)
      if (auto image = cluster.find_image(name)) {
        auto spread = static_cast<double>(image->nodes) / static_cast<double>(cluster.nodes().size());
        out->images.emplace_back(image, static_cast<std::int64_t>(static_cast<double>(image->size) * spread));
      }
    if (out->images.empty()) return nullptr;
    return out;
  }
  std::int64_t score(const pod_view&, const node_view& node, const plugin_state& s,
                     const cluster_view&) const override {
    auto& own = static_cast<const state&>(s);
    std::int64_t sum = 0;
    for (auto& [image, size] : own.images)
      if (std::binary_search(node.images.begin(), node.images.end(), image)) sum += size;
    const auto most = most_a_container * own.count;
    sum = std::clamp(sum, least, std::max(least, most));
    return most == least ? 0 : score_max * (sum - least) / (most - least);
  }
};

}  // namespace

plugin_result make_image_locality(const json::value&) { return std::make_unique<image_locality>(); }

}  // namespace kedge::control::scheduler
