// samples.h: what a kubelet's /metrics/resource says, read piece by piece: Prometheus' text, of which the families of
// processor time and memory count. A machine without I/O: the text is a node's, and nodes may lie.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::api {

// Counters of one node or container at one time.
struct usage_point {
  std::int64_t at_ms = 0;       // since the epoch, by the node's clock
  std::int64_t started_ms = 0;  // 0: not told
  std::uint64_t cpu_nanoseconds = 0, memory_bytes = 0;
  bool has_cpu = false, has_memory = false;
  bool complete() const noexcept { return has_cpu && has_memory && at_ms > 0; }
};

using container_points = std::map<std::string, usage_point, std::less<>>;  // by container's name

struct node_sample {
  usage_point node;
  std::map<std::string, container_points, std::less<>> pods;  // by "namespace/name"
};

class sample_reader {
 public:
  // `now_ms`: the time of samples that tell none.
  explicit sample_reader(std::int64_t now_ms) : now_ms_(now_ms) {}
  // errc::too_large: it is no answer about a node's pods any more.
  result<void> feed(std::string_view piece);
  // At the end of the text.
  result<node_sample> finish();

 private:
  result<void> take(std::string_view line);
  result<usage_point*> point_of(std::string_view labels);

  std::int64_t now_ms_;
  std::size_t bytes_ = 0, containers_ = 0;
  std::string line_;
  bool passing_ = false;  // over a line that is too long
  node_sample sample_;
};

}  // namespace kedge::api
