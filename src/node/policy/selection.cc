#include "node/policy/selection.h"

#include <algorithm>
#include <utility>

namespace kedge::node {

namespace {

bool is_of_cluster(const std::string& key) { return key.starts_with('/'); }
std::string name_space_of(const std::string& key) { return key.substr(0, key.find('/')); }

bool asks_for_names(const policy_rule& r) {
  return r.ports && std::ranges::any_of(*r.ports, [](auto& p) { return !p.name.empty(); });
}

policy_selection::peers peers_of(const policy_record& p, const policy_peer& peer) {
  policy_selection::peers out;
  if (!peer.namespaces) out.name_space = p.name_space;
  out.namespaces = peer.namespaces;
  out.pods = peer.pods;
  return out;
}
policy_selection::peers all_pods() {
  policy_selection::peers out;
  out.namespaces = selector_record{"{}", api::label_selector::from_object(json::object())};
  return out;
}
// What they say: equal texts are equal peers.
std::string text_of(const policy_selection::peers& p) {
  return p.name_space + "\n" + (p.namespaces ? p.namespaces->text : "") + "\n" + (p.pods ? p.pods->text : "");
}

bool contains(const std::vector<std::uint32_t>& sorted, std::uint32_t n) {
  return std::ranges::binary_search(sorted, n);
}

}  // namespace

// Pods of a namespace stand in a row: their keys begin with its name.
template <typename F>
void policy_selection::each_pod_of(const std::string& name_space, F f) {
  auto prefix = name_space + "/";
  for (auto i = pods_.lower_bound(prefix); i != pods_.end() && i->first.starts_with(prefix); ++i)
    f(i->first, i->second);
}

const policy_selection::policy* policy_selection::find_policy(const std::string& key) const {
  auto i = policies_.find(key);
  return i == policies_.end() ? nullptr : &i->second;
}
const policy_selection::policy* policy_selection::find_policy(number n) const {
  auto key = policy_keys_.find(n);
  return key == policy_keys_.end() ? nullptr : &policies_.at(key->second);
}
std::set<policy_selection::number> policy_selection::groups_with(const std::set<number>& policies) const {
  std::set<number> out;
  if (policies.empty()) return out;
  for (auto& [n, g] : groups_)
    if (std::ranges::any_of(g.policies, [&](auto p) { return policies.contains(p); })) out.insert(n);
  return out;
}
const policy_selection::pod* policy_selection::find_pod(const std::string& key) const {
  auto i = pods_.find(key);
  return i == pods_.end() ? nullptr : &i->second;
}
const policy_selection::group* policy_selection::find_group(number n) const {
  auto i = groups_.find(n);
  return i == groups_.end() ? nullptr : &i->second;
}
const policy_selection::peers* policy_selection::find_peers(number n) const {
  auto i = peers_.find(n);
  return i == peers_.end() ? nullptr : &i->second;
}

// --- peers

void policy_selection::count(number n, const std::vector<ip_address>& addresses, bool came) {
  auto& p = peers_[n];
  for (auto& a : addresses) {
    auto [i, fresh] = p.addresses.try_emplace(a, 0);
    i->second += came ? 1 : -1U;
    bool gone = i->second == 0;
    if (gone) p.addresses.erase(i);
    if (!fresh && !gone) continue;
    // What came and went since the last look is no change.
    auto& changed = changes_.addresses[n];
    auto [c, first] = changed.try_emplace(a, came);
    if (!first) changed.erase(c);
  }
  for (auto& key : p.named_by) changes_.policies.insert(key);
}

bool policy_selection::matches(const peers& x, const pod& p) const {
  if (x.namespaces) {
    auto ns = namespaces_.find(p.is.name_space);
    if (ns == namespaces_.end() || !x.namespaces->is.matches_text(ns->second.labels)) return false;
  } else if (x.name_space != p.is.name_space) {
    return false;
  }
  return !x.pods || x.pods->is.matches_text(p.is.labels);
}

// Which peers the pod is among; its addresses are counted where that changes.
void policy_selection::match(pod& p) {
  std::vector<number> now;
  for (auto& name_space : {p.is.name_space, std::string()})
    if (auto there = peers_in_.find(name_space); there != peers_in_.end())
      for (auto n : there->second)
        if (matches(peers_.at(n), p)) now.push_back(n);
  std::ranges::sort(now);
  for (auto n : now)
    if (!contains(p.in, n)) count(n, p.is.addresses, true);
  for (auto n : p.in)
    if (!contains(now, n)) count(n, p.is.addresses, false);
  p.in = std::move(now);
}

policy_selection::number policy_selection::use_peers(peers wanted, const std::string& named_by) {
  auto [known, fresh] = peers_numbers_.try_emplace(text_of(wanted), 0);
  if (fresh) {
    auto n = known->second = ++last_;
    auto& p = peers_[n] = std::move(wanted);
    peers_in_[p.name_space].insert(n);
    changes_.peers.insert(n);
    auto look = [&](const std::string&, pod& one) {
      if (!matches(p, one)) return;
      one.in.push_back(n);  // the largest
      count(n, one.is.addresses, true);
    };
    if (p.namespaces)
      for (auto& [key, one] : pods_) look(key, one);
    else
      each_pod_of(p.name_space, look);
  }
  auto& p = peers_[known->second];
  ++p.rules;
  if (!named_by.empty()) p.named_by.insert(named_by);
  return known->second;
}

void policy_selection::release(const std::vector<number>& used) {
  for (auto n : used) {
    auto i = peers_.find(n);
    if (--i->second.rules > 0) continue;
    auto forget = [&](const std::string&, pod& one) {
      if (auto at = std::ranges::lower_bound(one.in, n); at != one.in.end() && *at == n) one.in.erase(at);
    };
    auto& p = i->second;
    if (p.namespaces)
      for (auto& [key, one] : pods_) forget(key, one);
    else
      each_pod_of(p.name_space, forget);
    auto there = peers_in_.find(p.name_space);
    there->second.erase(n);
    if (there->second.empty()) peers_in_.erase(there);
    peers_numbers_.erase(text_of(p));
    peers_.erase(i);
    changes_.addresses.erase(n);
    changes_.peers.insert(n);
  }
}

void policy_selection::use_all(policy& p, bool egress, const std::string& key) {
  auto& out = egress ? p.egress : p.ingress;
  out.clear();
  for (auto& r : egress ? p.is.egress : p.is.ingress) {
    auto& mine = out.emplace_back();
    // Named ports of peers are those peers' own; where a block is a peer, any pod may lie in it.
    auto named_by = egress && asks_for_names(r) ? key : std::string();
    bool anybody = !r.peers;
    if (r.peers)
      for (auto& peer : *r.peers)
        peer.block ? void(anybody = true) : mine.push_back(use_peers(peers_of(p.is, peer), named_by));
    std::ranges::sort(mine);
    if (anybody && !named_by.empty()) p.everybody.push_back(use_peers(all_pods(), named_by));
  }
}

// --- policies

void policy_selection::begin_use(policy& p, const std::string& key) {
  use_all(p, false, key);
  use_all(p, true, key);
  changes_.policies.insert(key);
}

// Gives the peers that it used, which are to be released.
std::vector<policy_selection::number> policy_selection::end_use(policy& p, const std::string& key) {
  auto used = std::exchange(p.everybody, {});
  for (auto* rules : {&p.ingress, &p.egress}) {
    for (auto& rule : *rules) used.insert(used.end(), rule.begin(), rule.end());
    rules->clear();
  }
  for (auto n : used) peers_[n].named_by.erase(key);
  changes_.policies.insert(key);
  return used;
}

void policy_selection::set_policy(const std::string& key, const policy_record* now) {
  auto i = policies_.find(key);
  if (i == policies_.end() ? !now : now && i->second.is == *now) return;
  if (i == policies_.end()) {
    i = policies_.try_emplace(key).first;
    i->second.number = ++last_;
    policy_keys_[i->second.number] = key;
  }
  auto& p = i->second;
  auto used = end_use(p, key);
  if (now) {
    p.is = *now;
    if (p.groups > 0) begin_use(p, key);
  } else {
    changes_.gone_policies[p.number] = key;
    changes_.policies.erase(key);
    policy_keys_.erase(p.number);
    policies_.erase(i);
  }
  // After those of the new rules, which may be the same.
  release(used);
  if (is_of_cluster(key)) return look_at_local();
  each_pod_of(name_space_of(key), [&](const std::string& pod_key, pod& one) {
    if (is_local(one)) look_at(pod_key, one, true);
  });
}

// --- pods

// A group that is new, or gone: of policies that nobody had, or that nobody has any more.
void policy_selection::count_group(const group& g, bool came) {
  for (auto n : g.policies) {
    auto known = policy_keys_.find(n);
    if (known == policy_keys_.end()) continue;  // gone itself
    auto& p = policies_.at(known->second);
    if (came && p.groups++ == 0) begin_use(p, known->second);
    if (!came && --p.groups == 0) release(end_use(p, known->second));
  }
}

void policy_selection::join_group(pod& p, bool egress, std::vector<number> wanted) {
  auto& mine = egress ? p.egress_group : p.ingress_group;
  auto before = std::exchange(mine, 0);
  if (before != 0 && groups_[before].policies == wanted) {
    mine = before;
    return;
  }
  // The new one first: policies of both go on.
  if (!wanted.empty()) {
    auto [known, fresh] = group_numbers_.try_emplace({egress, std::move(wanted)}, 0);
    if (fresh) {
      known->second = ++last_;
      auto& g = groups_[known->second] = {.egress = egress, .policies = known->first.second, .pods = 0};
      changes_.groups.insert(known->second);
      count_group(g, true);
    }
    mine = known->second;
    ++groups_[mine].pods;
  }
  if (before == 0 || --groups_[before].pods > 0) return;
  auto gone = std::move(groups_[before]);
  group_numbers_.erase({egress, gone.policies});
  groups_.erase(before);
  changes_.groups.insert(before);
  count_group(gone, false);
}

// Which policies the pod has, when it is of this node.
void policy_selection::look_at(const std::string& key, pod& p, bool was_local) {
  std::vector<number> ingress, egress;
  bool local = is_local(p);
  if (!local && !was_local) return;
  if (local) {
    auto means = [&](const policy_record& x) {
      return x.subject ? matches(peers_of(x, *x.subject), p) : x.pods.is.matches_text(p.is.labels);
    };
    for (auto& prefix : {std::string("/"), p.is.name_space + "/"})
      for (auto i = policies_.lower_bound(prefix); i != policies_.end() && i->first.starts_with(prefix); ++i) {
        auto& x = i->second;
        if (!means(x.is)) continue;
        if (x.is.isolates_ingress) ingress.push_back(x.number);
        if (x.is.isolates_egress) egress.push_back(x.number);
      }
    std::ranges::sort(ingress);
    std::ranges::sort(egress);
  }
  auto ask = [&] {  // policies that name this pod's ports
    if (auto* g = find_group(p.ingress_group))
      for (auto n : g->policies) {
        auto policy_key = policy_keys_.find(n);
        if (policy_key != policy_keys_.end() &&
            std::ranges::any_of(policies_.at(policy_key->second).is.ingress, asks_for_names))
          changes_.policies.insert(policy_key->second);
      }
  };
  ask();
  join_group(p, false, std::move(ingress));
  join_group(p, true, std::move(egress));
  ask();
  local ? (void)local_.insert(key) : (void)local_.erase(key);
  changes_.pods.insert(key);
}

// After a change of what policies of the whole cluster go by.
void policy_selection::look_at_local() {
  for (auto& key : local_pods()) look_at(key, pods_.at(key), true);
}

void policy_selection::leave(const std::string& key, pod& p) {
  for (auto n : p.in) count(n, p.is.addresses, false);
  p.in.clear();
  if (!is_local(p)) return;
  p.is.node.clear();
  look_at(key, p, true);
}

void policy_selection::set_pod(const std::string& key, const pod_record* now) {
  auto i = pods_.find(key);
  if (!now) {
    if (i == pods_.end()) return;
    leave(key, i->second);
    pods_.erase(i);
    return;
  }
  if (i != pods_.end() && i->second.is == *now) return;
  bool was_local = false;
  if (i == pods_.end()) {
    i = pods_.try_emplace(key).first;
  } else {
    was_local = is_local(i->second);
    if (i->second.is.addresses != now->addresses) {
      // Counted anew with the new ones.
      for (auto n : i->second.in) count(n, i->second.is.addresses, false);
      i->second.in.clear();
    } else if (i->second.is.ports != now->ports) {
      for (auto n : i->second.in)
        for (auto& policy_key : peers_[n].named_by) changes_.policies.insert(policy_key);
    }
  }
  auto& p = i->second;
  p.is = *now;
  match(p);
  look_at(key, p, was_local);
}

void policy_selection::set_namespace(const std::string& name, const namespace_record* now) {
  if (now) {
    auto [i, fresh] = namespaces_.try_emplace(name, *now);
    if (!fresh) {
      if (i->second == *now) return;
      i->second = *now;
    }
  } else if (namespaces_.erase(name) == 0) {
    return;
  }
  auto first = policies_.begin();
  const bool any_of_cluster = first != policies_.end() && is_of_cluster(first->first);
  each_pod_of(name, [&](const std::string& key, pod& p) {
    match(p);
    if (any_of_cluster && is_local(p)) look_at(key, p, true);
  });
}

std::vector<policy_selection::port_target> policy_selection::named_targets(const policy& p, bool egress,
                                                                           std::size_t rule) const {
  std::vector<port_target> out;
  auto& r = (egress ? p.is.egress : p.is.ingress)[rule];
  if (!asks_for_names(r)) return out;
  auto add = [&](const pod& one, auto wanted) {
    for (auto& port : one.is.ports)
      if (std::ranges::any_of(*r.ports, [&](auto& x) { return x.name == port.name && x.protocol == port.protocol; }))
        for (auto& a : one.is.addresses)
          if (wanted(a)) out.push_back({a, port.protocol, port.port});
  };
  if (egress) {
    for (auto& [key, one] : pods_) {
      bool all = !r.peers || std::ranges::any_of(*r.peers, [&](auto& peer) {
        return !peer.block && matches(peers_of(p.is, peer), one);
      });
      add(one, [&](const ip_address& a) {
        return all || std::ranges::any_of(*r.peers, [&](auto& peer) {
                 return peer.block && peer.block->range.contains(a) &&
                        std::ranges::none_of(peer.block->except, [&](auto& e) { return e.contains(a); });
               });
      });
    }
  } else {
    for (auto& key : local_) {
      auto& one = pods_.at(key);
      auto* g = find_group(one.ingress_group);
      if (g && contains(g->policies, p.number)) add(one, [](auto&) { return true; });
    }
  }
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

}  // namespace kedge::node
