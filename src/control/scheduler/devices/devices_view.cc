#include "control/scheduler/devices/devices_view.h"

#include "control/scheduler/devices/limits.h"

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
  auto s = slice_of(object);
  remove_slice(s->name);
  pools_[s->pool].emplace(s->name, s);
  (s->from.node.empty() ? shared_ : of_node_[s->from.node]).emplace(s->name, s);
  slices_.emplace(s->name, s);
}

void devices_view::remove_slice(std::string_view name) {
  auto it = slices_.find(name);
  if (it == slices_.end()) return;
  auto s = it->second;
  slices_.erase(it);
  auto pool = pools_.find(s->pool);
  pool->second.erase(s->name);
  if (pool->second.empty()) pools_.erase(pool);
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
  classes_.insert_or_assign(c->name, c);
}

void devices_view::remove_class(std::string_view name) {
  if (auto it = classes_.find(name); it != classes_.end()) classes_.erase(it);
}

class_ref devices_view::find_class(std::string_view name) const {
  auto it = classes_.find(name);
  return it == classes_.end() ? nullptr : it->second;
}

void devices_view::set_rule(const json::value& object) {
  rules_.insert_or_assign(std::string(object["metadata"]["name"].as_string()), rule_of(object));
}

void devices_view::remove_rule(std::string_view name) {
  if (auto it = rules_.find(name); it != rules_.end()) rules_.erase(it);
}

void devices_view::set_claim(const json::value& object) {
  auto c = device_claim_of(object);
  auto& slot = claims_[c->key()];
  if (slot && slot->uid == c->uid && c->version < slot->version) return;
  if (slot) count(*slot, -1);
  count(*c, 1);
  slot = std::move(c);
}

void devices_view::remove_claim(std::string_view ns, std::string_view name) {
  auto it = claims_.find(key_of(ns, name));
  if (it == claims_.end()) return;
  count(*it->second, -1);
  claims_.erase(it);
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
  for (auto& d : claim.devices) {
    if (d.admin) continue;
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

void devices_view::forget_slices() {
  slices_.clear();
  pools_.clear();
  of_node_.clear();
  shared_.clear();
}

void devices_view::forget_claims() {
  for (auto& [key, c] : claims_) count(*c, -1);
  claims_.clear();
}

}  // namespace kedge::control::scheduler
