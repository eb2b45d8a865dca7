// selection.h: who is meant: of the cluster's policies, pods and namespaces, which addresses each rule's peers have,
// and which policies each pod of this node has. Pure.
//
//   set_policy ─┐                 ┌─ peers: pods that rules name, by selectors; rules that name the same share one
//   set_namespace ─▶ selection ───┼─ groups: pods of this node with the same policies in a direction share one
//   set_pod ────┘                 └─ changes: what is another since they were taken
//
// A policy that no pod of this node has is remembered, and costs nothing else: its peers are nobody's.
//
// A pod's change costs a look at each peers of its namespace and at those that choose by namespaces; a policy's, a look
// at the pods that it may mean.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "node/policy/records.h"

namespace kedge::node {

class policy_selection {
 public:
  using number = std::uint32_t;  // of policies, peers and groups; none is 0, none is used again

  explicit policy_selection(std::string node) : node_(std::move(node)) {}

  struct policy {
    policy_record is;
    policy_selection::number number = 0;
    std::size_t groups = 0;  // that have it; the rest is empty while there is none
    // Of each rule, the peers that are pods; sorted.
    std::vector<std::vector<policy_selection::number>> ingress, egress;
    // Peers that are everybody, whose named ports a rule may ask for.
    std::vector<policy_selection::number> everybody;
  };
  struct pod {
    pod_record is;
    std::vector<number> in;                      // peers; sorted
    number ingress_group = 0, egress_group = 0;  // 0: not isolated, or not of this node
  };
  struct group {
    bool egress = false;
    std::vector<policy_selection::number> policies;  // sorted
    std::size_t pods = 0;
  };
  struct peers {
    std::string name_space;  // where the pods are; empty: where `namespaces` says
    std::optional<selector_record> namespaces;
    std::optional<selector_record> pods;            // nullopt: all
    std::map<ip_address, std::uint32_t> addresses;  // and how many pods have each
    std::size_t rules = 0;                          // that use it
    std::set<std::string> named_by;                 // policies whose rules ask for these pods' named ports
  };
  struct port_target {
    ip_address address;
    transport protocol = transport::tcp;
    std::uint16_t port = 0;
    friend auto operator<=>(const port_target&, const port_target&) noexcept = default;
  };

  // Keys are "namespace/name", of policies without a namespace "/plural/name"; null: it is gone.
  void set_policy(const std::string& key, const policy_record* now);
  void set_namespace(const std::string& name, const namespace_record* now);
  void set_pod(const std::string& key, const pod_record* now);

  // All that is another since the last call. What is named and can't be found is gone.
  struct changes {
    std::set<std::string> policies;
    std::map<number, std::string> gone_policies;
    std::set<number> groups;
    std::set<std::string> pods;                              // of this node
    std::set<number> peers;                                  // new, or gone
    std::map<number, std::map<ip_address, bool>> addresses;  // of peers: true: came, false: went
  };
  changes take_changes() { return std::exchange(changes_, {}); }

  const policy* find_policy(const std::string& key) const;
  const policy* find_policy(number n) const;
  // The groups that have one of those policies.
  std::set<number> groups_with(const std::set<number>& policies) const;
  const pod* find_pod(const std::string& key) const;
  const group* find_group(number n) const;
  const peers* find_peers(number n) const;
  const std::map<std::string, policy>& policies() const noexcept { return policies_; }
  const std::map<std::string, pod>& pods() const noexcept { return pods_; }
  const std::map<number, group>& groups() const noexcept { return groups_; }
  const std::map<number, peers>& all_peers() const noexcept { return peers_; }
  bool is_local(const pod& p) const noexcept { return p.is.node == node_ && !node_.empty(); }
  std::vector<std::string> local_pods() const { return {local_.begin(), local_.end()}; }

  // Where the named ports of a rule lead: of ingress, to pods of this node that have the policy; of egress, to the
  // rule's peers. Sorted, each once.
  std::vector<port_target> named_targets(const policy& p, bool egress, std::size_t rule) const;

 private:
  void look_at(const std::string& key, pod& p, bool was_local);
  void look_at_local();
  void leave(const std::string& key, pod& p);
  void join_group(pod& p, bool egress, std::vector<number> policies);
  void match(pod& p);
  bool matches(const peers& x, const pod& p) const;
  void count(number n, const std::vector<ip_address>& addresses, bool came);
  number use_peers(const policy_record& p, const policy_peer& peer, const std::string& named_by);
  number use_peers(peers wanted, const std::string& named_by);
  void release(const std::vector<number>& used);
  void use_all(policy& p, bool egress, const std::string& key);
  void begin_use(policy& p, const std::string& key);
  std::vector<number> end_use(policy& p, const std::string& key);
  void count_group(const group& g, bool came);
  template <typename F>
  void each_pod_of(const std::string& name_space, F f);

  std::string node_;
  number last_ = 0;
  std::map<std::string, policy> policies_;
  std::map<number, std::string> policy_keys_;
  std::map<std::string, namespace_record> namespaces_;
  std::map<std::string, pod> pods_;
  std::set<std::string> local_;
  std::map<number, group> groups_;
  std::map<std::pair<bool, std::vector<number>>, number> group_numbers_;
  std::map<number, peers> peers_;
  std::map<std::string, number> peers_numbers_;       // by what they say
  std::map<std::string, std::set<number>> peers_in_;  // by namespace; "": by namespaces' labels
  changes changes_;
};

}  // namespace kedge::node
