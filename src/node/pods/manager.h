// manager.h: all pods of this node: a worker each, woken when the API or the runtime has news of its pod.
//
//   API's list and watch ─▶ listed, changed, removed ─┐
//   runtime, each second  ─▶ what differs ────────────┴▶ workers, by uid ─▶ (worker.h)
//
// What the runtime has and nobody wants any more is ended by a worker too, once the API's list is known.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "node/pods/worker.h"

namespace kedge::node {

using shared_pods = std::vector<std::shared_ptr<const json::value>>;

class pod_manager {
 public:
  explicit pod_manager(worker_parts parts)
      : allocations_(parts.settings.root), parts_{std::move(parts), allocations_} {}
  pod_manager(const pod_manager&) = delete;
  pod_manager& operator=(const pod_manager&) = delete;

  // What pods have of the node beside their containers. Before there is any; lives as long as this.
  void use(pod_needs& needs) { parts_.needs = &needs; }

  // Reads what pods were given before. Once, before any is told.
  task<void> begin() { return allocations_.begin(); }
  void listed(std::vector<json::value> pods);
  void changed(json::value pod);
  void removed(const json::value& pod);
  // The pods of the manifests, all of them; each gets a mirror owned by `node` while that is known.
  void static_pods(std::vector<json::value> pods);
  task<void> keep_mirrors(std::function<json::value()> node);

  // Looks at the runtime until dropped. Once.
  task<void> run();

  // The pod of that name that the API knows, or else any that is left of it; null: none.
  const pod_worker* find(std::string_view ns, std::string_view name, std::string_view uid = {}) const;
  std::vector<const pod_worker*> all() const;
  // How often the runtime is looked at, and how long that takes.
  void write_metrics(exposition& out) const;
  shared_pods active() const;                              // that take something of the node
  void look(std::string_view uid);                         // something of the pod has changed that only others see
  const pod_worker* find_uid(std::string_view uid) const;  // null: there is none
  // The pod ends as Evicted within `grace_seconds`, for the node's sake or its own doing. False: it isn't here, or ends
  // already.
  bool evict(std::string_view uid, std::string message, std::int64_t grace_seconds, bool for_node);
  // The pod ends as Failed within `grace_seconds`, because the machine goes down.
  void shut_down(std::string_view uid, std::int64_t grace_seconds);
  const pod_settings& settings() const { return parts_.settings; }
  // Whether the API's list has been seen.
  bool is_listed() const { return listed_; }
  // Whether all pods that shall be here are known.
  bool knows_all() const { return listed_ && static_read_; }

 private:
  struct entry {
    std::unique_ptr<pod_worker> worker;
    std::string seen;  // the runtime's part of it, in short
    bool is_done = false;
    reactor::scope task;
  };
  entry& add(json::value pod, bool gone);
  task<void> run_one(entry& e);
  task<void> look_at_runtime();
  void sweep();
  void begin_static();
  task<void> remove_leftovers();
  bool was_admitted(const json::value& pod) const;
  std::vector<std::string> waiting_resizes() const;
  task<void> decide_resizes();

  pod_allocations allocations_;
  worker_shares parts_;
  histogram relist_took_, relist_interval_;
  bool listed_ = false, static_read_ = false, leftovers_removed_ = false;
  time_point leftovers_at_{};
  std::map<std::string, std::unique_ptr<entry>, std::less<>> entries_;              // by uid
  std::map<std::string, json::value, std::less<>> wanted_static_;                   // by uid
  std::map<std::string, std::shared_ptr<const json::value>, std::less<>> mirrors_;  // by namespace/name
  reactor::event done_, mirrors_changed_, resizes_wait_;
  reactor::scope beside_, leftovers_;  // last: end first
};

}  // namespace kedge::node
