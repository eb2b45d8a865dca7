// claim_manager.h: claims of devices (resource.k8s.io) on their node, as the kubelet's DRA manager has them: drivers
// prepare what was allocated, and containers get it by its CDI names.
//
//   driver ─ plugins_registry ─▶ add ─▶ its socket
//   pod that begins ─▶ prepare: its claims, their drivers' NodePrepareResources ─▶ ledger, dra_manager_state
//   container that is made ─▶ cdi_devices
//   pod whose containers have ended ─▶ unprepare: of claims that no other pod uses, NodeUnprepareResources
//
// A driver that is gone for half a minute has no devices any more: its ResourceSlices of this node are removed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "net/grpc.h"
#include "node/claims/claim_ledger.h"
#include "node/claims/limits.h"
#include "node/join/api_client.h"
#include "node/offline/checkpoint_file.h"
#include "node/plugins/plugin_watcher.h"
#include "reactor/sync.h"

namespace kedge::node {

class claim_manager final : public plugin_handler {
 public:
  struct parts {
    api_client& api;
    // An object of the cluster, by its path, as it is now; nullopt: there is none.
    std::function<task<result<std::optional<json::value>>>(std::string path)> object;
    std::string file;  // "/var/lib/kubelet/dra_manager_state"
    std::string node;
    reactor::network* network = nullptr;
    // The uids of pods that take something of the node; nullopt: not all are known yet.
    std::function<std::optional<std::set<std::string, std::less<>>>()> active;
  };
  explicit claim_manager(parts p) : parts_(std::move(p)), file_(parts_.file, claim_checkpoint_bytes_max) {}
  claim_manager(const claim_manager&) = delete;
  claim_manager& operator=(const claim_manager&) = delete;

  // Reads what was prepared before; then takes back what pods had that are gone, until dropped. Once.
  task<void> run();

  // The pod's claims, before its sandbox is made. The error's words are the kubelet's.
  task<result<void>> prepare(json::value pod);
  // When nothing of the pod runs any more. May be tried again; errc::conflict: it is being done.
  task<result<void>> unprepare(std::string pod_uid);
  // What a container gets.
  task<result<std::vector<std::string>>> cdi_devices(json::value pod, json::value container);

  std::string_view type() const override { return "DRAPlugin"; }
  result<void> check(const plugin_info& plugin) const override;
  task<result<void>> add(plugin_info plugin) override;
  task<void> remove(plugin_info plugin) override;

 private:
  struct driver {
    std::string name, socket, service;
    net::grpc::channel channel;
    driver(std::string n, std::string s, std::string version, reactor::network* network)
        : name(std::move(n)),
          socket(std::move(s)),
          service(std::move(version)),
          channel({.at = reactor::endpoint::unix_path(socket)}, claim_answer_bytes_max, network) {}
  };
  using shared_driver = std::shared_ptr<driver>;

  result<shared_driver> find(std::string_view name) const;  // the newest
  task<result<std::string>> call(shared_driver d, std::string method, std::string message);
  task<result<std::vector<prepared_claim>>> claims_of(json::value pod);
  task<result<void>> prepare_all(json::value pod);
  task<result<void>> unprepare_all(std::string pod_uid);
  task<result<void>> save();
  task<void> restore();
  task<void> remove_lost_slices();
  task<result<void>> remove_slices_once();

  parts parts_;
  claim_ledger ledger_;
  std::vector<shared_driver> drivers_;  // oldest first
  checkpoint_file file_;
  std::set<std::string> leaving_;  // uids of pods that are unprepared now
  reactor::event restored_, lost_;
};

}  // namespace kedge::node
