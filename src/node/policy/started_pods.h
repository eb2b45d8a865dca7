// started_pods.h: pods that were started here: their addresses are known here before the API hears of them, and when a
// pod gets a new sandbox the API still has the old ones. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "node/policy/records.h"

namespace kedge::node {

class started_pods {
 public:
  // Keys of those who are others by that: this one, and whoever had its addresses before. None: it is known already.
  std::vector<std::string> start(const std::string& key, pod_record is, time_point now);
  // What holds for a pod of which the API says `known` (null: nothing): the API's word, but for addresses of what was
  // started here. Null: it is gone. Valid until the next call.
  const pod_record* find(const std::string& key, const pod_record* known, time_point now);
  // Those that the API never showed, and that find() would call gone.
  std::vector<std::string> forgotten(time_point now) const;

 private:
  struct pod {
    pod_record is;
    time_point since;
    bool seen = false;  // by the API
  };
  static bool is_forgotten(const pod& p, time_point now);
  std::map<std::string, pod> all_;
};

}  // namespace kedge::node
