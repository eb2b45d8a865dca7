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
};

struct request_labels {
  std::string_view verb, group, version, resource, subresource, scope, dry_run;
};
request_labels labels_of(const counted_request& r);

class request_metrics {
 public:
  request_metrics(metrics& all, std::size_t core) : all_(all), core_(core) {}
  void observe(const counted_request& r, duration took);

 private:
  struct cells {
    metric_cell* total;
    histogram* seconds;
    histogram* served_seconds;  // null: of what may last as long as it likes
  };
  cells& find(int code, const request_labels& labels);
  metrics& all_;
  std::size_t core_;  // whose cells these are
  std::unordered_map<std::string, cells, string_hash, std::equal_to<>> known_;
  std::string key_;  // scratch
};

}  // namespace kedge::api
