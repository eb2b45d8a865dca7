// agent.h: the node as a service: joins the cluster and keeps its Node and Lease true until told to stop.
//
//   run_node ─┬─ containerd (child process, kept running)      starts while we register, since both take their time
//             ├─ the balancer listens                          when the node has one; all requests go through it
//             ├─ register_node                                 credentials on disk
//             ├─ tunnels, the kubelet's port, agent status     where the node is to be reachable
//             └─ then ─┬─ status: runtime, machine ─▶ Node     every 10 s, and every 50 ms until first Ready
//                      └─ lease: kube-node-lease/<name>        every 10 s
//
// Nothing of it fails for good once it has registered: servers and the runtime come and go, it goes on trying.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "node/config.h"
#include "node/join/registration.h"
#include "node/machine/system_info.h"
#include "node/resources/readings.h"
#include "reactor/sync.h"

namespace kedge::node {

// Between the agent and its owner, on one loop. Lives as long as run_node's task.
struct agent_control {
  reactor::event stop;                 // the owner sets it: end gracefully
  reactor::event registered;           // set when the node has its credentials; `joined` is there then
  reactor::event ready;                // set when the API server has accepted the node as Ready for the first time
  bool start_anew = false;             // it ended because the cluster has other settings: to be run again
  std::string node_name;               // resolved, when registered
  std::optional<registration> joined;  // for the balancer and the tunnels
  // The machine beneath: its network (null: this one's), and what it is and has; asked on the offload pool.
  reactor::network* network = nullptr;
  std::function<result<system_info>(const system_paths&)> read_machine = read_system_info;
  std::function<readings(const std::string& node_folder, const std::string& image_folder)> read_pressure =
      read_readings;
};

// Returns after control.stop, or with an error that trying again can't cure: a malformed option, a token of another
// cluster, no address to give, a data folder that can't be written.
task<result<void>> run_node(agent_config config, agent_control& control);

}  // namespace kedge::node
