// events.h: what happens to pods, as Events of core/v1: the kubelet's, and counted up when the same happens again.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "base/time.h"
#include "json/value.h"
#include "node/join/api_client.h"
#include "reactor/sync.h"

namespace kedge::node {

class pod_events {
 public:
  pod_events(api_client& api, std::string node_name) : api_(api), node_name_(std::move(node_name)) {}

  // At once; written in its time. `container` empty: about the pod as a whole.
  void tell(const json::value& pod, std::string_view container, bool warning, std::string reason, std::string message);
  // Writes what is told, until dropped.
  task<void> run();

 private:
  struct waiting {
    json::value about;
    bool warning = false;
    std::string reason, message;
    wall_time when;
  };
  struct told {
    std::string name;
    wall_time first;
    std::int64_t count = 0;
  };
  // Of one object, as client-go's spam filter: 25 at once, then one each five minutes.
  struct allowance {
    double left;
    wall_time filled;
  };
  bool may_pass(const std::string& object, wall_time now);
  task<void> write(waiting w);

  api_client& api_;
  std::string node_name_;
  std::deque<waiting> queue_;
  std::map<std::string, told> told_;
  std::map<std::string, allowance> allowances_;
  reactor::event changed_;
};

}  // namespace kedge::node
