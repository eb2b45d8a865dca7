#include "node/policy/policy_table.h"

#include <map>
#include <memory>

#include "reactor/loop.h"

namespace kedge::node {

using number = policy_selection::number;

policy_table::policy_table(bool v4)
    : v4_(v4), table_(static_cast<std::uint8_t>(v4 ? NFPROTO_IPV4 : NFPROTO_IPV6), policies_table) {}

namespace {

// Rules of policies of the whole cluster stand in the chains of the groups that have them.
std::set<number> groups_to_make(const policy_selection& all, const policy_selection::changes& c) {
  std::set<number> changed;
  for (auto& key : c.policies)
    if (auto* p = all.find_policy(key); p && p->is.tier != policy_tier::network) changed.insert(p->number);
  return all.groups_with(changed);
}

// Made once for all groups of an update. `all` outlives it, and doesn't change.
find_cluster_rules each_once(bool v4, const policy_selection& all) {
  return [v4, &all, known = std::make_shared<std::map<number, cluster_rules>>()](
             const policy_selection::policy& p) -> const cluster_rules& {
    auto there = known->find(p.number);
    if (there == known->end()) there = known->emplace(p.number, rules_of_cluster(v4, all, p)).first;
    return there->second;
  };
}

}  // namespace

task<nft::batch> policy_table::update(const policy_selection& all, const policy_selection::changes& c, time_point now) {
  if (all.policies().empty()) {
    auto b = table_.begin();
    if (std::exchange(known_, false)) b.remove_table();
    co_return b;
  }
  if (!std::exchange(known_, true)) {
    auto b = table_.begin_anew(policy_base(v4_), policy_hooks());
    co_await put_everything(b, all);
    co_return b;
  }
  auto b = table_.begin();
  table_.remove_stale(b, now);
  co_await put_peers(b, all, c);
  // What is led to before what leads there; and what nobody leads to any more after all of it.
  for (auto& key : c.policies) {
    if (auto* p = all.find_policy(key); p && p->groups > 0) put_policy(b, all, *p);
    co_await reactor::maybe_yield();
  }
  auto groups = c.groups;
  groups.merge(groups_to_make(all, c));
  const auto rules_of = each_once(v4_, all);
  for (auto n : groups) {
    if (auto* g = all.find_group(n)) table_.set(b, group_owner(n), group_part(all, n, *g, rules_of));
    co_await reactor::maybe_yield();
  }
  for (auto& key : c.pods) put_pod(b, all, key);
  for (auto n : c.groups)
    if (!all.find_group(n)) table_.set(b, group_owner(n), {});
  // Sets of which no group's rules say anything any more.
  for (auto& key : c.policies)
    if (auto* p = all.find_policy(key); p && p->groups > 0) table_.drop_unwanted_sets(b, policy_owner(p->number));
  for (auto& key : c.policies)
    if (auto* p = all.find_policy(key); p && p->groups == 0) table_.set(b, policy_owner(p->number), {});
  for (auto& [n, key] : c.gone_policies) table_.set(b, policy_owner(n), {});
  for (auto n : c.peers)
    if (!all.find_peers(n) && peers_.erase(n)) b.remove_set(peers_set(n));
  co_return b;
}

task<void> policy_table::put_everything(nft::batch& b, const policy_selection& all) {
  peers_.clear();
  for (auto& [n, p] : all.all_peers()) {
    b.set(peers_set(n), peers_set_options(v4_));
    peers_.insert(n);
    std::vector<std::pair<ip_address, bool>> addresses;
    for (auto& [a, count] : p.addresses) addresses.emplace_back(a, true);
    co_await put_addresses(b, n, std::move(addresses));
  }
  for (auto& [key, p] : all.policies()) {
    if (p.groups > 0) put_policy(b, all, p);
    co_await reactor::maybe_yield();
  }
  const auto rules_of = each_once(v4_, all);
  for (auto& [n, g] : all.groups()) {
    table_.set(b, group_owner(n), group_part(all, n, g, rules_of));
    co_await reactor::maybe_yield();
  }
  for (auto& key : all.local_pods()) put_pod(b, all, key);
}

task<void> policy_table::put_peers(nft::batch& b, const policy_selection& all, const policy_selection::changes& c) {
  for (auto n : c.peers)
    if (all.find_peers(n) && peers_.insert(n).second) b.set(peers_set(n), peers_set_options(v4_));
  for (auto& [n, addresses] : c.addresses) co_await put_addresses(b, n, {addresses.begin(), addresses.end()});
}

task<void> policy_table::put_addresses(nft::batch& b, number n, std::vector<std::pair<ip_address, bool>> all) {
  for (auto& [a, came] : all) {
    if (a.is_v4() != v4_) continue;
    auto key = nft::key_address(a);
    came ? b.element(peers_set(n), {key}) : b.remove_element(peers_set(n), {key});
    co_await reactor::maybe_yield();
  }
}

void policy_table::put_policy(nft::batch& b, const policy_selection& all, const policy_selection::policy& p) {
  using enum nft::table::old_sets;
  table_.set(b, policy_owner(p.number), policy_part(v4_, all, p), p.is.tier == policy_tier::network ? drop : keep);
}

void policy_table::put_pod(nft::batch& b, const policy_selection& all, const std::string& key) {
  auto* p = all.find_pod(key);
  table_.set(b, "pod/" + key, p ? pod_part(v4_, *p) : nft::part());
}

}  // namespace kedge::node
