// request_metrics.h: how many requests there were, and how long they took, by kube-apiserver's labels. One object a
// core.
//
// No client chooses a label. Each comes from a fixed list or from what is served; whoever is refused before it is known
// what may be told of them (401, 403, 429) counts by code and verb alone. So strangers can neither make series nor use
// up the room for them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "api/metrics/metrics.h"
#include "api/registry/registry.h"
#include "api/request/request.h"
#include "base/time.h"

namespace kedge::api {

struct counted_request {
  int code = 200;
  const request_info& info;
  const served* what = nullptr;  // null: a path, or nothing that is served
  bool admitted = true;          // past authentication, authorization and the limits
  bool applies = false;          // a PATCH that is a server-side apply
  bool dry_run = false;
  double waited_seconds = 0;  // for a seat
  std::uint64_t bytes = 0;    // of the answer
};

struct request_labels {
  std::string_view verb, group, version, resource, subresource, scope, dry_run;
};
request_labels labels_of(const counted_request& r);

// What is told of the events that watches of a resource are sent. Those of a core's own cells.
struct watch_counts {
  metric_cell* events = nullptr;
  histogram* sizes = nullptr;
  void sent(std::size_t bytes) const noexcept {
    if (!events) return;
    events->count();
    sizes->observe_own(static_cast<double>(bytes));
  }
};

class request_metrics {
 public:
  request_metrics(metrics& all, std::size_t core) : all_(all), core_(core) {}
  void observe(const counted_request& r, duration took);
  // Requests that last as long as they are wanted, of these labels: how many there are now.
  metric_cell& standing(const request_labels& labels);
  watch_counts watch(const request_labels& labels);
  // How long a watch took to send what there was.
  void listed(const request_labels& labels, duration took);

 private:
  struct cells {
    metric_cell* total;
    histogram* seconds;
    histogram* served_seconds;  // null: of what may last as long as it likes
    histogram* sizes;           // null: of what isn't read
  };
  cells& find(int code, const request_labels& labels);
  metrics& all_;
  std::size_t core_;  // whose cells these are
  std::unordered_map<std::string, cells, string_hash, std::equal_to<>> known_;
  // The rest is looked up as long as a watch begins; these are the resources that have series.
  bool has_room(const request_labels& labels);
  std::unordered_set<std::string> watched_;
  std::string key_;  // scratch
};

}  // namespace kedge::api
