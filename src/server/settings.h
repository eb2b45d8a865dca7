// settings.h: what a server is told, typed and checked, and what its machine gives it. The command line fills it
// (cli/server_settings.cc); tests and simulation fill it as they like.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backup/s3/settings.h"
#include "base/ip.h"
#include "control/scheduler/configuration.h"
#include "control/settings.h"
#include "datastore/log.h"
#include "node/config.h"
#include "reactor/loop.h"
#include "reactor/stream.h"
#include "server/api_arguments.h"
#include "server/api_files.h"
#include "server/etcd/settings.h"
#include "supervisor/config.h"

namespace kedge::server {

// Backups (snapshots.h).
struct snapshot_settings {
  bool disabled = false;  // no schedule; who asks for one is given it all the same
  std::string base = "etcd-snapshot";
  std::string schedule = "0 */12 * * *";
  unsigned retention = 5;
  std::string folder;                             // absolute
  duration reconcile = std::chrono::minutes(10);  // how often they are looked at, to be shown as objects
  backup::s3::settings s3;
};

// One of each family is usual; each costs the datastore four writes a second.
inline constexpr std::size_t vips_max = 4;

struct settings {
  supervisor::config cluster;
  api_server_arguments api;
  std::shared_ptr<const api_files> files;  // that they name; null: none
  control::settings controllers;           // what the cluster's settings and credentials say is filled in
  std::shared_ptr<const control::scheduler::configuration> scheduling =
      std::make_shared<const control::scheduler::configuration>(control::scheduler::default_configuration());
  // Opens the database; may be called more than once, one after the other.
  std::function<result<std::unique_ptr<datastore::log>>()> open_log;
  etcd_settings etcd;
  snapshot_settings snapshots;
  bool accept_data_loss = false;  // of a database that has less than this server has seen
  std::vector<ip_address> vips;   // that move between the servers (virtual_addresses.h); at most vips_max
  std::string vip_interface;      // empty: whose network has the address
  std::size_t history_bytes = 0;  // of memory for recent events and what they replaced; 0: the store's default
  node::agent_config node;        // of the server's own node, unless cluster.disable_agent
  std::string version, commit;
  std::map<std::string, std::string> flags;  // what the process was started with, for /flagz; secrets masked

  // Other servers may use the same datastore.
  bool shared_datastore() const noexcept { return cluster.leader_election; }
  // Of this cluster's tokens, as K3s names it.
  std::string token_issuer() const { return "https://kubernetes.default.svc." + cluster.cluster_domain; }
  // How other servers know this one: 10.0.0.1:6443.
  std::string own_address() const {
    return reactor::endpoint{cluster.advertise_address, cluster.advertise_port}.text();
  }
};

// Where it runs.
struct machine {
  std::vector<reactor::loop*> loops;    // at least one. The first is the home of all that isn't per loop
  reactor::loop* background = nullptr;  // of what nobody waits for, controllers and the scheduler; null: the home loop
  reactor::network* network = nullptr;  // null: this machine's
  // Gives the heap what the calling thread keeps at hand of it; and the system what the heap keeps free, which blocks
  // for milliseconds, on any thread.
  std::function<void()> release_thread_memory = {}, release_memory = {};
};

}  // namespace kedge::server
