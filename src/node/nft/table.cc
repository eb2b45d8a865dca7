#include "node/nft/table.h"

#include <algorithm>
#include <utility>

namespace kedge::node::nft {

namespace {

constexpr duration stale_rest = std::chrono::seconds(1);

std::size_t hash_of(const std::vector<std::string>& rules) {
  std::size_t h = rules.size();
  for (auto& r : rules) h = h * 1'099'511'628'211U ^ std::hash<std::string>{}(r);
  return h;
}

void put_rules(batch& b, const std::string& chain, const std::vector<std::string>& rules) {
  for (auto& r : rules) b.raw_rule(chain, r);
}

}  // namespace

void table::put(batch& b, const element_key& key, const element_value& v) {
  if (!v.go_to.empty())
    b.element(key.set, {key.key, key.to}, verdict::go_to(v.go_to));
  else if (v.code)
    b.element(key.set, {key.key, key.to}, verdict{*v.code, {}});
  else if (!v.data.empty())
    b.element(key.set, {key.key, key.to}, v.data);
  else
    b.element(key.set, {key.key, key.to});
}

batch table::begin_anew(const part& base, const std::vector<base_chain>& hooks) {
  parts_.clear();
  slots_.clear();
  stale_.clear();
  batch b(family_, name_);
  b.remove_table();
  b.table();
  for (auto& [name, options] : base.sets) b.set(name, options);
  for (auto& h : hooks) b.chain(h);
  for (auto& [name, rules] : base.chains)
    if (std::ranges::find(hooks, name, &base_chain::name) == hooks.end()) b.chain(name);
  for (auto& [name, rules] : base.chains) put_rules(b, name, rules);
  for (auto& [key, v] : base.elements) put(b, key, v);
  return b;
}

void table::let_go(batch& b, const std::string& owner, const element_key& key) {
  auto i = slots_.find(key);
  if (i == slots_.end()) return;
  auto& s = i->second;
  std::erase(s.waiting, owner);
  if (std::erase(s.owners, owner) == 0 || !s.owners.empty()) return;
  b.remove_element(key.set, {key.key, key.to});
  if (s.waiting.empty()) {
    slots_.erase(i);
    return;
  }
  // The next in line, and whoever wants the same.
  s.value = parts_[s.waiting.front()].elements[key];
  std::erase_if(s.waiting, [&](const std::string& w) {
    if (parts_[w].elements[key] != s.value) return false;
    s.owners.push_back(w);
    return true;
  });
  put(b, key, s.value);
}

void table::set(batch& b, const std::string& owner, part wanted, old_sets old) {
  auto& now = parts_[owner];
  for (auto& [name, options] : wanted.sets) {
    if (std::ranges::find(now.sets, name) != now.sets.end()) continue;
    b.set(name, options);
    now.sets.push_back(name);
  }
  // All chains before any rule or element that leads to one.
  for (auto& [name, rules] : wanted.chains)
    if (!now.chains.contains(name)) {
      if (stale_.erase(name) == 0) b.chain(name);
    }
  for (auto& [name, rules] : wanted.chains) {
    auto h = hash_of(rules);
    auto [old, fresh] = now.chains.try_emplace(name, h);
    if (!fresh && old->second == h) continue;
    if (!fresh) b.flush(name);
    put_rules(b, name, rules);
    old->second = h;
  }
  std::vector<element_key> gone;
  for (auto& [key, v] : now.elements) {
    auto w = wanted.elements.find(key);
    if (w == wanted.elements.end() || !(w->second == v)) gone.push_back(key);
  }
  for (auto& key : gone) {
    let_go(b, owner, key);
    now.elements.erase(key);
  }
  for (auto& [key, v] : wanted.elements) {
    if (!now.elements.emplace(key, v).second) continue;
    auto [s, fresh] = slots_.try_emplace(key);
    if (fresh) {
      s->second.value = v;
      s->second.owners.push_back(owner);
      put(b, key, v);
    } else if (s->second.value == v) {
      s->second.owners.push_back(owner);
    } else {
      s->second.waiting.push_back(owner);
    }
  }
  for (auto i = now.chains.begin(); i != now.chains.end();) {
    if (wanted.chains.contains(i->first)) {
      ++i;
      continue;
    }
    b.flush(i->first);
    stale_[i->first] = time_point::max();
    i = now.chains.erase(i);
  }
  now.unwanted_sets.clear();
  for (auto& name : now.sets)
    if (!wanted.sets.contains(name)) now.unwanted_sets.push_back(name);
  // Rules that named them are gone by now.
  if (old == old_sets::drop) drop_unwanted_sets(b, owner);
  if (now.chains.empty() && now.elements.empty() && now.sets.empty()) parts_.erase(owner);
}

void table::drop_unwanted_sets(batch& b, const std::string& owner) {
  auto i = parts_.find(owner);
  if (i == parts_.end()) return;
  for (auto& name : std::exchange(i->second.unwanted_sets, {})) {
    b.remove_set(name);
    std::erase(i->second.sets, name);
  }
}

void table::remove_stale(batch& b, time_point now) {
  for (auto i = stale_.begin(); i != stale_.end();) {
    if (i->second == time_point::max()) i->second = now + stale_rest;
    if (i->second > now) {
      ++i;
      continue;
    }
    b.remove_chain(i->first);
    i = stale_.erase(i);
  }
}

std::vector<std::string> table::waiting(const element_key& key) const {
  auto i = slots_.find(key);
  return i == slots_.end() ? std::vector<std::string>() : i->second.waiting;
}

}  // namespace kedge::node::nft
