// policy_enforcer.h: policies held on this node: NetworkPolicies, and where their definitions are there those of the
// whole cluster (policy.networking.k8s.io).
//
//   policies ─▶ once there is one: Namespaces, Pods ─▶ selection ─▶ policy_table ─▶ one transaction a change
//   a pod's sandbox ─▶ admit ─┘ its first container waits until its rules stand
//
// A cluster without policies costs a watch that says nothing, and no rules. A stop leaves the rules standing.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/informer/informer.h"
#include "node/policy/policy_table.h"
#include "node/policy/selection.h"
#include "node/policy/started_pods.h"
#include "reactor/scope.h"
#include "reactor/sync.h"

namespace kedge::node {

struct policy_options {
  std::string node;
  bool v4 = true, v6 = false;  // families of the cluster
  // Where the node itself answers the cluster's names: to policies, a pod that is what kube-dns is elsewhere.
  std::vector<ip_address> dns_addresses = {};
};

class policy_enforcer {
 public:
  // `view` outlives this: it reads policies, pods and namespaces.
  policy_enforcer(policy_options o, informer& view);

  task<void> run();  // never ends; once

  // Returns when the rules of `pod` stand, which has its addresses now and no container that runs yet; or after
  // admit_wait_max. The API needn't know of the addresses.
  task<void> admit(json::value pod, std::vector<std::string> addresses);
  // Whether the cluster has policies; nullopt until a server has said so.
  std::optional<bool> any() const;

 private:
  struct family {
    family(bool v4, bool of_pods_) : table(v4), of_pods(of_pods_) {}
    policy_table table;
    bool of_pods;  // false: pods have addresses of their link alone
    std::shared_ptr<netlink::socket> socket;
    std::string problem;
  };
  // Policies of the whole cluster: one kind of them.
  struct cluster_kind {
    cluster_kind(std::string_view name, std::optional<policy_record> (*decode)(const json::value&))
        : plural(name), policies(decode) {}
    std::string_view plural;
    kind_cache<policy_record> policies;
    bool followed = false;
  };
  bool is_complete() const noexcept;
  bool are_listed() const noexcept;
  std::size_t count() const noexcept;
  const policy_record* find(const std::string& key) const;
  task<void> find_cluster_kinds();
  task<result<void>> look_for_cluster_kinds();
  task<void> take_over();
  task<void> look_whether_it_stands(family& f);
  task<result<void>> sync(family& f, const policy_selection::changes& c);

  policy_options options_;
  informer& view_;
  kind_cache<policy_record> policies_{decode_policy};
  cluster_kind cluster_[3] = {{"clusternetworkpolicies", decode_cluster_policy},
                              {"adminnetworkpolicies", decode_admin_policy},
                              {"baselineadminnetworkpolicies", decode_baseline_policy}};
  bool cluster_known_ = false;  // which of them there are
  kind_cache<namespace_record> namespaces_{decode_policy_namespace};
  kind_cache<pod_record> pods_{decode_policy_pod};
  started_pods started_;
  // Keys that changed since they were taken over into the selection, which only run() does.
  std::set<std::string> touched_policies_, touched_namespaces_, touched_pods_;
  policy_selection selection_;
  std::vector<std::unique_ptr<family>> families_;
  bool follows_pods_ = false;
  time_point waits_until_ = time_point::max();  // whatever is missing: how long admit waits for the first lists
  std::uint64_t asked_ = 0, settled_ = 0;       // calls of admit, and up to which of them the rules stand
  reactor::event changed_, settled_event_;
  reactor::scope tasks_;
};

// Takes away what an earlier agent has left, where policies aren't to be enforced (any more). Blocks.
result<void> remove_policies();

}  // namespace kedge::node
