// metrics.h: how long admission takes, by plugin and as a whole, under kube-apiserver's names. One object a core.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>

#include "api/admission/admission.h"
#include "api/metrics/metrics.h"
#include "base/time.h"

namespace kedge::api {

class admission_metrics {
 public:
  admission_metrics(metrics& all, std::size_t core) : all_(all), core_(core) {}

  // `name` empty: all of the half. `admits`: the half that may change the object.
  void took(std::string_view name, bool admits, operation what, bool rejected, duration time);

 private:
  using cells = std::array<histogram*, 16>;  // by half, operation and outcome
  metrics& all_;
  std::size_t core_;
  std::map<std::string, cells, std::less<>> known_;
};

// One half of one request, plugin by plugin.
class measured_half {
 public:
  // Null `to`: nothing is measured.
  measured_half(admission_metrics* to, bool admits, operation what);
  // What came since the last one was this plugin's.
  void passed(std::string_view plugin, bool rejected = false);
  void ended(bool rejected);

 private:
  admission_metrics* to_;
  bool admits_;
  operation what_;
  time_point began_{}, last_{};
};

}  // namespace kedge::api
