#include "control/scheduler/devices/devices_view.h"

#include <algorithm>
#include <expected>

#include "control/scheduler/devices/limits.h"
#include "control/scheduler/resources.h"

namespace kedge::control::scheduler {
namespace {

const devices_view::slices no_slices;

std::string key_of(std::string_view ns, std::string_view name) { return std::string(ns) + "/" + std::string(name); }

void add(pod::amounts& to, const pod::amounts& more, int n) {
  for (auto& [name, amount] : more) {
    auto& q = to[name];
    n > 0 ? q += amount : q -= amount;
  }
}

}  // namespace

void devices_view::set_slice(const json::value& object) {
  ++generation_;
  auto s = slice_of(object);
  remove_slice(s->name);
  pools_[s->pool].emplace(s->name, s);
  (s->from.node.empty() ? shared_ : of_node_[s->from.node]).emplace(s->name, s);
  slices_.emplace(s->name, s);
}

void devices_view::remove_slice(std::string_view name) {
  auto it = slices_.find(name);
  if (it == slices_.end()) return;
  ++generation_;
  auto s = it->second;
  slices_.erase(it);
  auto pool = pools_.find(s->pool);
  pool->second.erase(s->name);
  if (pool->second.empty()) {
    last_taking_.erase(s->pool);
    pools_.erase(pool);
  }
  if (s->from.node.empty()) {
    shared_.erase(s->name);
    return;
  }
  auto of = of_node_.find(s->from.node);
  of->second.erase(s->name);
  if (of->second.empty()) of_node_.erase(of);
}

const devices_view::slices& devices_view::pool(const pool_id& id) const {
  auto it = pools_.find(id);
  return it == pools_.end() ? no_slices : it->second;
}

const devices_view::slices& devices_view::slices_of(std::string_view node) const {
  auto it = of_node_.find(node);
  return it == of_node_.end() ? no_slices : it->second;
}

void devices_view::set_class(const json::value& object) {
  auto c = class_of(object);
  remove_class(c->name);
  ++generation_;
  if (!c->resource.empty()) classes_of_resource_[c->resource].push_back(c);
  classes_.emplace(c->name, c);
}

void devices_view::remove_class(std::string_view name) {
  auto it = classes_.find(name);
  if (it == classes_.end()) return;
  ++generation_;
  auto c = it->second;
  classes_.erase(it);
  if (c->resource.empty()) return;
  auto of = classes_of_resource_.find(c->resource);
  std::erase(of->second, c);
  if (of->second.empty()) classes_of_resource_.erase(of);
}

class_ref devices_view::class_for_resource(std::string_view resource) const {
  if (resource.starts_with(device_class_prefix)) return find_class(resource.substr(device_class_prefix.size()));
  auto it = classes_of_resource_.find(resource);
  if (it == classes_of_resource_.end()) return nullptr;
  // The newest, and of those the first by name.
  return *std::ranges::max_element(it->second, [](auto& a, auto& b) {
    return a->created != b->created ? a->created < b->created : a->name > b->name;
  });
}

class_ref devices_view::find_class(std::string_view name) const {
  auto it = classes_.find(name);
  return it == classes_.end() ? nullptr : it->second;
}

void devices_view::set_rule(const json::value& object) {
  ++generation_;
  rules_.insert_or_assign(std::string(object["metadata"]["name"].as_string()), rule_of(object));
}

void devices_view::remove_rule(std::string_view name) {
  ++generation_;
  if (auto it = rules_.find(name); it != rules_.end()) rules_.erase(it);
}

void devices_view::set_claim(const json::value& object) {
  auto c = device_claim_of(object);
  auto& slot = claims_[c->key()];
  if (slot && slot->uid == c->uid && c->version < slot->version) return;
  if (slot) {
    count(*slot, -1);
    forget_resources_of(*slot);
  }
  count(*c, 1);
  if (c->of_resources && !c->owner.empty()) of_resources_[c->owner].insert(c->key());
  slot = std::move(c);
}

void devices_view::remove_claim(std::string_view ns, std::string_view name) {
  auto it = claims_.find(key_of(ns, name));
  if (it == claims_.end()) return;
  count(*it->second, -1);
  forget_resources_of(*it->second);
  claims_.erase(it);
}

void devices_view::forget_resources_of(const device_claim& claim) {
  auto it = claim.of_resources ? of_resources_.find(claim.owner) : of_resources_.end();
  if (it == of_resources_.end()) return;
  it->second.erase(claim.key());
  if (it->second.empty()) of_resources_.erase(it);
}

device_claim_ref devices_view::claim_for_resources(std::string_view ns, std::string_view pod_uid) const {
  auto it = of_resources_.find(pod_uid);
  if (it == of_resources_.end()) return nullptr;
  // Anybody may write the pod's uid into a claim of his own namespace.
  const auto within = std::string(ns) + "/";
  auto key = it->second.lower_bound(within);
  if (key == it->second.end() || !key->starts_with(within)) return nullptr;
  auto claim = claims_.find(*key);
  return claim == claims_.end() ? nullptr : claim->second;
}

device_claim_ref devices_view::find_claim(std::string_view ns, std::string_view name) const {
  auto it = claims_.find(key_of(ns, name));
  return it == claims_.end() ? nullptr : it->second;
}

void devices_view::assume(const device_claim_ref& allocated) {
  if (assumed_.emplace(allocated->uid, allocated).second) count(*allocated, 1);
}

void devices_view::forget(std::string_view uid) {
  auto it = assumed_.find(uid);
  if (it == assumed_.end()) return;
  count(*it->second, -1);
  assumed_.erase(it);
}

const pod::amounts* devices_view::consumed(const device_id& id) const {
  auto it = shared_by_.find(id);
  return it == shared_by_.end() || it->second.consumers == 0 ? nullptr : &it->second.consumed;
}

// A device that an administrator looks at isn't taken by that.
void devices_view::count(const device_claim& claim, int n) {
  if (n > 0 && !claim.devices.empty()) ++takings_;
  for (auto& d : claim.devices) {
    if (d.admin) continue;
    if (n > 0 && pools_.contains(d.id.pool)) last_taking_[d.id.pool] = takings_;
    if (!d.shared) {
      if ((taken_[d.id] += n) <= 0) taken_.erase(d.id);
      continue;
    }
    auto& s = shared_by_[d.id];
    s.claims += n;
    if (d.has_consumed) {
      s.consumers += n;
      add(s.consumed, d.consumed, n);
    }
    if (s.claims <= 0) shared_by_.erase(d.id);
  }
}

const api::expressions::device_selector& devices_view::selector(const std::string& expression) const {
  if (auto it = selectors_.find(expression); it != selectors_.end()) return it->second;
  if (selectors_.size() >= selectors_kept_max) selectors_.clear();
  return selectors_.emplace(expression, api::expressions::compile_device_selector(expression)).first->second;
}

const std::vector<bool>* devices_view::chosen_by(const class_ref& c, const slice_ref& s) const {
  if (chosen_at_ != generation_) chosen_.clear();
  chosen_at_ = generation_;
  auto [it, fresh] = chosen_.try_emplace({c, s}, std::vector<bool>(s->devices.size(), true));
  if (!fresh) return it->second ? &*it->second : nullptr;
  for (auto& text : c->selectors) {
    auto& compiled = selector(text);
    for (std::size_t i = 0; i < s->devices.size() && it->second; ++i) {
      if (!(*it->second)[i]) continue;
      std::expected<bool, std::string> yes = std::unexpected(compiled.wrong);
      if (compiled.program)
        yes = api::expressions::matches_device(*compiled.program, s->pool.driver, s->devices[i].facts);
      if (yes)
        (*it->second)[i] = *yes;
      else
        it->second.reset();
    }
    if (!it->second) return nullptr;
  }
  return &*it->second;
}

void devices_view::forget_classes() {
  ++generation_;
  classes_.clear();
  classes_of_resource_.clear();
}

void devices_view::forget_rules() {
  ++generation_;
  rules_.clear();
}

void devices_view::forget_slices() {
  ++generation_;
  slices_.clear();
  pools_.clear();
  of_node_.clear();
  shared_.clear();
}

void devices_view::forget_claims() {
  for (auto& [key, c] : claims_) count(*c, -1);
  claims_.clear();
  of_resources_.clear();
}

}  // namespace kedge::control::scheduler
