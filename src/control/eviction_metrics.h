// eviction_metrics.h: what /metrics tells of the pods that a controller deletes for a taint, under
// kube-controller-manager's names.
#pragma once

#include <string_view>

#include "api/metrics/metrics.h"
#include "base/time.h"

namespace kedge::control {

class eviction_metrics {
 public:
  // `controller` as it calls itself: "TaintEvictionController", in names "taint_eviction_controller"; `span`: its words
  // for what is measured. Null: nothing is counted.
  eviction_metrics(api::metrics* all, std::string_view controller, std::string_view in_names, std::string_view span);

  // A pod went so long after its time had come.
  void deleted(duration late);

 private:
  api::metric_cell* deletions_ = nullptr;
  api::histogram* late_ = nullptr;
};

}  // namespace kedge::control
