// worker.h: one pod on this node, from its sandbox to the last thing that is left of it.
//
//   API, static files ─▶ update(), gone() ─┐                         ┌▶ status ─▶ API (the newest, one in flight)
//   runtime ─▶ look() ─────────────────────┼▶ run(): look ─▶ steps ──┴▶ CRI, images, volumes ─▶ look again …
//   probes ────────────────────────────────┘
//
// Level-triggered: whatever happened, the pod and what is really there decide what is done next (steps.h), so that a
// step may be done twice, and a worker that starts anew goes on where another stopped. Only it starts and stops its
// pod's containers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "node/pods/allocations.h"
#include "node/pods/cluster.h"
#include "node/pods/configs.h"
#include "node/pods/images.h"
#include "node/pods/needs.h"
#include "node/pods/probing.h"
#include "node/pods/resize.h"
#include "node/pods/status.h"
#include "node/pods/steps.h"
#include "node/pods/volumes.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::node {

struct worker_parts {
  pod_runtime& runtime;
  pod_cluster& cluster;
  image_puller& images;
  const pod_settings& settings;
  volume_mounter* mounter = nullptr;    // null: volumes that others serve can't be had
  reactor::network* network = nullptr;  // for probes; null: this machine's
  std::int64_t agent_started_at = 0;    // nanoseconds since the epoch
  // Why pods get no network now; empty when they do.
  std::function<std::string()> network_problem;
  // Returns when what runs in the pod may use its addresses.
  std::function<task<void>(json::value pod, std::vector<std::string> addresses)> admit_to_network;
  pod_needs* needs = nullptr;  // null: none
};

// What a worker has of its manager.
struct worker_shares : worker_parts {
  pod_allocations& allocations;
};

class pod_worker {
 public:
  // `pod` as the API has it; of a pod that the API doesn't know (any more), what its sandbox says, and `gone` is true.
  pod_worker(worker_shares parts, json::value pod, bool gone);
  pod_worker(const pod_worker&) = delete;
  pod_worker& operator=(const pod_worker&) = delete;

  // Until nothing is left of the pod here, and the API doesn't have it. Run once, in a scope that ends before this.
  task<void> run();

  void update(json::value pod);  // a newer one of the same uid
  // Of a static pod: what stands for it at the API, and gets its status; null: nothing does.
  void mirror(std::shared_ptr<const json::value> m);
  void gone();  // the API doesn't have it any more
  void look() { changed_.set(); }
  // It has to go: it ends as Failed.
  void fail_pod(waiting_reason why);
  // The same, with `grace_seconds` for its containers, whatever they say. For the node's sake: its status tells of the
  // disruption.
  void evict(waiting_reason why, std::int64_t grace_seconds, bool for_node);
  // Before run(): it was never admitted, and is when it has been given what it needs.
  void not_yet_admitted() { admitted_ = false; }
  // It never begins: it isn't admitted.
  void reject(waiting_reason why);
  // Whether it runs and asks for resources that were not allocated to it yet.
  bool waits_for_resize() const;
  // It is allocated what it asks for, or isn't.
  void resize(std::optional<waiting_reason> why);

  // With what was allocated to it; and as the API has it.
  const std::shared_ptr<const json::value>& pod() const { return pod_; }
  const std::shared_ptr<const json::value>& asked() const { return asked_; }
  const json::value& status() const { return wanted_; }
  const pod_seen& seen() const { return seen_; }
  const probe_totals& probes() const { return probing_.totals(); }
  // Whether it takes nothing of the node any more.
  bool has_ended() const { return ended_; }

 private:
  bool shall_end() const { return ends_.is_set(); }
  void end();
  bool is_gone() const { return gone_; }
  std::string uid() const { return std::string((*pod_)["metadata"]["uid"].as_string()); }
  wall_time wall_now() const { return reactor::loop::current().wall_now(); }
  void tell(std::string container, bool warning, std::string reason, std::string message);

  task<result<void>> refresh();
  task<result<container_seen>> describe(container_info info);
  void say_status(bool terminal = false);
  task<void> write_statuses();
  task<void> status_is_told();

  // One turn of a pod that shall run. When to look again, at the latest.
  task<time_point> sync();
  task<time_point> act(pod_steps steps);
  task<bool> reset(std::vector<container_to_kill> all);
  void check_deadline();
  task<void> forget(std::string id);
  std::string log_link(std::string_view container, std::string_view id) const;
  task<bool> make_volumes_ready();
  task<bool> mount_others(pod_volumes& volumes);
  using image_failure = image_puller::failed;
  task<std::expected<void, image_failure>> ensure_image_volumes(std::string container);
  task<std::expected<void, image_failure>> ensure_image_volume(std::string volume);
  task<void> mount_one(pod_volume& v, bool& fine);
  task<result<void>> unmount_others(std::string folder);
  task<bool> make_sandbox(std::uint32_t attempt);
  task<result<std::string>> runtime_handler();
  task<void> find_mount_abilities();
  task<bool> start_all(const pod_steps& steps);
  task<bool> start(std::string name);
  task<std::expected<std::string, waiting_reason>> create(json::value container, image_info image);
  task<result<pod_objects>> objects_for(json::value container);
  std::string process_target_of(const json::value& container) const;
  bool waits_after_crash(const std::string& name);
  void wait_for(const std::string& container, waiting_reason why, wall_time until);
  task<void> run_post_start(std::string id, json::value container, bool& fine);

  using resources_part = container_resources (*)(const container_resources& all);
  void take(json::value pod);
  void remember_resize();
  void find_allocation();
  void look_at_resize();
  std::vector<resize_condition> resize_conditions() const;
  task<bool> apply_resize(const pod_steps& steps);
  task<result<void>> carry_out(resize_plan plan);
  // What the runtime knows of the pod as a whole.
  struct told_sandbox {
    std::string id;
    container_resources has, overhead;
  };
  told_sandbox sandbox_before(const group_limits& wanted, const group_reading& now) const;
  task<result<void>> limit_group(told_sandbox& sandbox, group_limits limits);
  task<void> note_whole(const char* amount);
  task<result<void>> check_memory(const resize_plan& plan, std::int64_t pod_limit, std::int64_t pod_uses);
  task<result<void>> update_containers(std::shared_ptr<const json::value> pod, std::vector<container_update> all,
                                       resources_part part);

  task<void> kill(container_to_kill k, std::optional<std::int64_t> grace);
  task<void> kill_all(std::optional<std::int64_t> grace);
  task<void> kill_in_turn(container_to_kill k, std::int64_t grace);
  std::int64_t grace_seconds(const json::value& container, kill_reason why) const;
  task<void> admit();
  task<void> terminate();
  task<void> leave_nothing();

  worker_shares parts_;
  // As the API has it; and with what was allocated to it, which is the same object unless a resize waits.
  std::shared_ptr<const json::value> asked_, pod_;
  time_point heard_at_;  // of it, from who says what it is
  std::shared_ptr<const json::value> mirror_;
  const bool is_static_;
  bool gone_, ended_ = false;
  std::optional<waiting_reason> failure_;
  bool rejected_ = false, admitted_ = true;
  std::optional<std::int64_t> eviction_grace_;  // set: it was evicted
  bool disrupted_ = false;                      // for the node's sake

  std::optional<resize_condition> pending_, under_way_;
  bool is_infeasible_ = false;  // nothing is asked again until the API has another

  pod_seen seen_;
  std::map<std::string, container_seen> described_;  // by container id: what doesn't change while its state doesn't
  std::string addresses_of_;                         // the sandbox that seen_.ips are of
  std::vector<std::string> addresses_;

  waiting_reasons waiting_;
  std::map<std::string, growing_pause> restarts_;     // by container name
  std::map<std::string, std::string> back_off_told_;  // by container name: the id of the one whose end was told
  std::optional<wall_time> wake_at_;                  // when something that waits may be tried again
  duration retry_{0};
  pod_volumes volumes_;
  std::optional<bool> recursive_read_only_;  // whether the pod's runtime can; nullopt: nobody asks, or not known yet
  issued_credentials issued_;
  time_point volumes_at_{};
  bool volumes_ready_ = false;
  std::optional<time_point> awaits_volumes_since_;  // that servers have to attach
  std::string unmount_told_;

  json::value wanted_, told_;  // statuses: made last, and known to be at the API
  std::int64_t grace_told_ = -1;

  reactor::event changed_, ends_, hurried_, gone_event_, status_changed_, status_told_;
  pod_probing probing_;
  reactor::scope tasks_;  // last: ends first
};

}  // namespace kedge::node
