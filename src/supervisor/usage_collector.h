// usage_collector.h: what all nodes and their pods use, read of the nodes' kubelets while somebody asks for it.
//
//   who asks ─▶ now() ─▶ rounds, each 15 s: every node's /metrics/resource, through its tunnel ─▶ api::usage_by_node
//
// Each server reads for itself, whoever leads, and none while nobody asks: the first to ask waits for a second reading,
// a second after the first. A node that doesn't answer, or not sensibly, isn't told of. On one loop.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/objects.h"
#include "api/usage/limits.h"
#include "api/usage/usage.h"
#include "reactor/scope.h"
#include "reactor/sync.h"
#include "supervisor/node_proxy.h"

namespace kedge::supervisor {

class usage_collector {
 public:
  // Of one node; what node_proxy's read_kubelet does.
  using reader =
      std::function<task<result<void>>(std::string node, std::function<result<void>(std::string_view)> take)>;
  usage_collector(reader read, api::objects& objects) : read_(std::move(read)), objects_(objects) {}
  usage_collector(const usage_collector&) = delete;
  usage_collector& operator=(const usage_collector&) = delete;

  task<std::shared_ptr<const api::usage_by_node>> now();
  // Asks no node any more; who waits is let go. Before what the reader needs ends.
  void stop();

 private:
  struct node {
    api::usage_record record;
    bool failed = false;
    duration pause{};  // after failures
    time_point next{};
  };
  task<void> collect();
  task<void> read_round();
  task<void> read_node(std::string name);
  task<result<api::node_sample>> sample(const std::string& name, reactor::semaphore& places);
  void told_nothing(const std::string& name, node& n, const error& why);

  reader read_;
  api::objects& objects_;
  std::map<std::string, node, std::less<>> nodes_;
  api::usage_by_node told_;
  std::shared_ptr<const api::usage_by_node> shown_;  // a copy of told_; null: it changed since
  bool collecting_ = false, stopped_ = false;
  time_point asked_at_{};
  reactor::event settled_;  // the first round is over
  reactor::semaphore places_{api::usage_nodes_at_once}, places_of_failed_{api::usage_failed_nodes_at_once};
  reactor::scope running_;  // last
};

}  // namespace kedge::supervisor
