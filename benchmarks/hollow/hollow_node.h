// hollow_node.h: one node that runs nothing.
//
//   register_node (as an agent) ─▶ Node created or taken over ─┬─ Node status every 10 s when it differs, else every 5
//   minutes
//                                                              ├─ Lease every 10 s
//                                                              ├─ tunnels to all servers, where asked for
//                                                              └─ watch of its pods ─▶ a task a pod: its script ─▶
//                                                              status
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "hollow/script.h"
#include "net/http/client.h"
#include "node/join/registration.h"
#include "node/links/server_links.h"
#include "node/status/node_status.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::hollow {

struct settings {
  std::string server_url, token;
  std::string folder;  // each node's is below it
  std::string prefix = "hollow";
  std::vector<std::string> labels;
  int cpus = 8;
  std::uint64_t memory_bytes = std::uint64_t(32) << 30;
  std::uint64_t storage_bytes = std::uint64_t(256) << 30;
  script pods = {};
  bool tunnels = false;
  duration lease_interval = std::chrono::seconds(10);
  duration status_interval = std::chrono::seconds(10);  // looked at
  duration report_interval = std::chrono::minutes(5);   // written although nothing differs
  unsigned registering_at_once = 16;
};

// Of one loop's nodes; read by others when they have ended, and roughly while they run.
struct counts {
  std::atomic<std::uint64_t> registered{0}, ready{0}, leases{0}, statuses{0}, pods_seen{0}, pods_running{0},
      pods_ended{0}, pods_deleted{0}, failures{0};
  std::atomic<std::uint64_t> slowest_lease_us{0};
};

class hollow_node {
 public:
  // `number` makes its name and addresses. All outlive it.
  hollow_node(const settings& s, unsigned number, counts& c);
  ~hollow_node();

  // Registers once `turn` lets it, and lives until dropped. An error is one that trying again can't cure.
  task<result<void>> run(reactor::semaphore& turn);

 private:
  struct life;
  struct answer {
    int status = 0;
    json::value body;
  };
  task<result<answer>> ask(std::string method, std::string path, std::string body = {},
                           std::string_view type = "application/json");
  task<result<json::value>> good(std::string method, std::string path, const json::value& body,
                                 std::string_view type = "application/json");
  task<result<void>> make_node();
  task<void> keep_status();
  task<void> keep_lease();
  task<void> follow_pods();
  task<result<std::string>> list_pods();
  task<result<void>> watch_pods(std::string from);
  void see(const json::value& pod, bool gone);
  task<void> play(life& l);
  task<void> end(life& l);
  task<bool> tell(life& l, const moment_of_pod& m);
  std::string pod_address(unsigned number) const;
  void note(const error& e);

  const settings& settings_;
  counts& counts_;
  node::agent_config config_;
  node::system_info machine_;
  node::runtime_state runtime_;
  std::optional<node::registration> joined_;
  std::optional<node::server_links> links_;
  net::http::target target_;
  std::unique_ptr<net::http::client> http_;
  json::value node_, lease_;
  unsigned pods_made_ = 0;
  std::map<std::string, std::unique_ptr<life>, std::less<>> pods_;  // by uid
  reactor::scope tasks_;                                            // last: ends first
};

}  // namespace kedge::hollow
