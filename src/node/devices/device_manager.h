// device_manager.h: device plugins (k8s.io/kubelet deviceplugin/v1beta1) and what containers get of their devices.
//
//   plugin ─ Register ─▶ device-plugins/kubelet.sock ─┬▶ connect ─▶ ListAndWatch ─▶ ledger ─▶ Node's capacity
//   plugin's own socket in plugins_registry/ ─────────┘
//   pod that is admitted ─▶ hints, give ─▶ GetPreferredAllocation, Allocate ─▶ ledger, kubelet_internal_checkpoint
//   container that is made ─▶ options_for ─▶ PreStartContainer; environment, mounts, devices, annotations, CDI names
//
// A plugin that ends is missed; one that comes back, as all do when the socket is made anew, goes on with what was
// given.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/grpc.h"
#include "net/grpc_server.h"
#include "node/devices/ledger.h"
#include "node/limits.h"
#include "node/offline/checkpoint_file.h"
#include "node/plugins/plugin_watcher.h"
#include "reactor/scope.h"
#include "reactor/sync.h"
#include "reactor/turn.h"

namespace kedge::node {

class device_manager final : public plugin_handler, public hint_provider, private net::grpc::service {
 public:
  struct parts {
    std::string folder;  // "/var/lib/kubelet/device-plugins"
    reactor::network* network = nullptr;
    // The uids of pods that take something of the node; nullopt: not all are known yet.
    std::function<std::optional<std::set<std::string, std::less<>>>()> active;
    // The Node's devices are others now; and these pods' statuses are.
    std::function<void(const std::set<std::string>& uids)> changed;
  };
  explicit device_manager(parts p)
      : parts_(std::move(p)),
        file_(parts_.folder + "/" + std::string(device_checkpoint), device_checkpoint_bytes_max) {}
  device_manager(const device_manager&) = delete;
  device_manager& operator=(const device_manager&) = delete;

  // Reads what was given before, then serves registrations until dropped. Once.
  task<void> run();

  // A pod's turn with the resources that it asks for: from the look at what can be had until all is given. What isn't a
  // plugin's when it begins isn't given in it.
  class turn;
  using turns = std::vector<std::unique_ptr<turn>>;
  task<turns> turns_for(json::value pod);
  hints_by_resource hints(const json::value& pod, const json::value& container) const override;
  hints_by_resource pod_hints(const json::value& pod) const override;
  result<void> can_give(const json::value& pod, const json::value& container) const override;
  // What the container's limits name; who has it keeps it. In the pod's turn.
  task<result<void>> give(json::value pod, json::value container, numa_hint near) override;
  void on_nodes(numa_mask nodes) noexcept { numa_ = nodes; }  // those that the machine has
  // The pod has all that it asks for, or isn't admitted.
  task<void> given_all() { return save(); }
  // What a container gets for its devices, right before it is made.
  task<result<device_options>> options_for(json::value pod, json::value container);

  // Those that the plugin watcher finds; their names are their resources'.
  std::string_view type() const override { return "DevicePlugin"; }
  result<void> check(const plugin_info& plugin) const override;
  task<result<void>> add(plugin_info plugin) override;
  task<void> remove(plugin_info plugin) override;

  const device_ledger& ledger() const noexcept { return ledger_; }
  // Frees what pods had that have gone.
  void free_unused();

 private:
  struct plugin {
    std::string resource, socket;
    net::grpc::channel channel;
    plugin_options options;
    reactor::event gone;  // set when another takes its place, or its socket went
    plugin(std::string r, std::string s, reactor::network* n)
        : resource(std::move(r)),
          socket(std::move(s)),
          channel({.at = reactor::endpoint::unix_path(socket)}, net::grpc_message_max_bytes, n) {}
  };
  using shared_plugin = std::shared_ptr<plugin>;

  task<result<std::string>> answer(std::string method, std::string message) override;
  task<void> restore();
  // A plugin behind this socket, of a resource of this name.
  result<void> validate(std::string_view resource, const std::vector<std::string>& versions) const;
  task<result<void>> connect(std::string resource, std::string socket);
  void disconnect(std::string_view resource, std::string_view socket);
  task<void> watch(shared_plugin p);
  task<result<void>> follow(shared_plugin p);
  task<void> forget_lost();
  shared_plugin find(std::string_view resource) const;  // the newest; null: none is connected
  task<result<std::string>> ask(shared_plugin p, std::string method, std::string message, duration within);
  task<result<void>> give_one(std::string uid, std::string container, std::string resource, std::size_t count,
                              device_ids reusable, std::optional<numa_mask> near);
  device_ids reusable(const json::value& pod, std::string_view before, std::string_view resource) const;
  task<result<device_ids>> preferred(shared_plugin p, const device_choice& c, device_ids among, std::size_t count);
  task<void> save();

  parts parts_;
  device_ledger ledger_;
  std::vector<shared_plugin> plugins_;  // oldest first
  numa_mask numa_ = mask_of(0);
  reactor::event restored_;
  // Pods are given a resource's devices in turn: a plugin that hangs holds those up that want something of it.
  struct turn_queue {
    reactor::semaphore one{1};
    std::string holder;  // the pod's uid
  };
  std::map<std::string, turn_queue, std::less<>> turns_;
  checkpoint_file file_;
  reactor::scope tasks_;  // last: ends first
};

class device_manager::turn {
 public:
  turn(turn_queue& of, std::string_view uid) : of_(of), released_(of.one) { of_.holder = uid; }
  ~turn() { of_.holder.clear(); }
  turn(const turn&) = delete;
  turn& operator=(const turn&) = delete;

 private:
  turn_queue& of_;
  reactor::turn released_;
};

}  // namespace kedge::node
