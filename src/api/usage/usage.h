// usage.h: what nodes and pods use now, from what the nodes told last and before that.
//
//   node_sample ─▶ usage_record (two of them) ─▶ told_usage ─▶ NodeMetrics, PodMetrics of metrics.k8s.io
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/usage/samples.h"
#include "json/value.h"
#include "reactor/task.h"
#include "store/store.h"

namespace kedge::api {

struct usage {
  std::uint64_t nanocores = 0;  // over the window
  std::uint64_t memory_bytes = 0;
  std::int64_t at_ms = 0, window_ms = 0;
};
// By container's name; never empty.
using container_usages = std::vector<std::pair<std::string, usage>>;

// What one node tells of itself and of pods that it says are its own.
struct told_usage {
  std::optional<usage> node;
  std::map<std::string, container_usages, std::less<>> pods;  // by "namespace/name"
};

// By node's name; who doesn't answer isn't there. Immutable, for any core.
using usage_by_node = std::map<std::string, std::shared_ptr<const told_usage>, std::less<>>;
// Gives the newest. From any core.
using usage_source = std::function<task<std::shared_ptr<const usage_by_node>>()>;

// The last two samples of a node.
class usage_record {
 public:
  // Older ones than the last, by the node's clock, change nothing.
  void take(node_sample now);
  // Whether the next sample gives rates.
  bool is_empty() const noexcept { return !last_.node.complete() && last_.pods.empty(); }
  told_usage told() const;

 private:
  node_sample last_, before_;
};

// The containers of a pod, by the node that has it; null: it is not known. `pod` is as it is stored.
const container_usages* usage_of_pod(const usage_by_node& all, const store::object& pod, std::string_view ns,
                                     std::string_view name);

// Objects of metrics.k8s.io/v1beta1. `labels`: JSON text of the Node's or Pod's; empty: none.
json::value node_metrics(std::string_view name, std::string_view labels, const usage& u, wall_time now);
json::value pod_metrics(std::string_view ns, std::string_view name, std::string_view labels,
                        const container_usages& containers, wall_time now);

struct served;
// "nodes" and "pods" of metrics.k8s.io/v1beta1, as the registry has them.
const std::vector<const served*>& usage_resources();
inline constexpr std::string_view usage_group = "metrics.k8s.io", usage_version = "v1beta1";
// metrics-server's API service.
inline constexpr int usage_group_priority = 100, usage_version_priority = 100;

}  // namespace kedge::api
