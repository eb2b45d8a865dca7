#include "control/scheduler/cluster_view.h"

#include <algorithm>

namespace kedge::control::scheduler {
namespace {

std::string key_of(std::string_view ns, std::string_view name) { return std::string(ns) + "/" + std::string(name); }

wall_time time_of(const json::value& field, wall_time otherwise) {
  auto t = parse_rfc3339(field.as_string());
  return t ? *t : otherwise;
}

std::vector<std::string> words(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

cluster_view::place& cluster_view::place_of(std::string_view name) {
  auto it = places_.find(name);
  if (it == places_.end()) {
    it = places_.emplace(name, std::make_unique<place>()).first;
    it->second->view.name = name;
  }
  return *it->second;
}

unsigned cluster_view::set_node(const json::value& node) {
  auto& at = place_of(node["metadata"]["name"].as_string());
  auto& n = at.view;
  unsigned changed = 0;
  auto take = [&](auto& into, auto value, unsigned what) {
    if (into == value) return;
    into = std::move(value);
    changed |= what;
  };
  auto given = pod::amounts_of(node["status"]["allocatable"]);
  auto pods_max = given.contains("pods") ? given.at("pods").value() : 0;
  take(n.labels, label_set::of(node["metadata"]["labels"]), node_labels);
  take(n.taints, taints_of(node), node_taints);
  take(n.unschedulable, node["spec"]["unschedulable"].as_bool(), node_taints);
  take(n.allocatable, resources::of(given), node_allocatable);
  take(n.pods_max, pods_max, node_allocatable);
  take(n.features, words(node["status"]["declaredFeatures"]), node_features);
  const bool images = set_images(n, node["status"]["images"]);
  if (!at.known) {
    at.known = true;
    listed_.push_back(&n);
    changed = node_added;
  }
  if (changed || images) touch(n);
  if (changed & (node_added | node_labels)) devices_.nodes_changed();
  return changed;
}

bool cluster_view::remove_node(std::string_view name) {
  auto it = places_.find(name);
  if (it == places_.end() || !it->second->known) return false;
  auto& at = *it->second;
  at.known = false;
  drop_images(at.view);
  std::erase(listed_, &at.view);
  ++generation_;
  // Its pods may outlive it, and the node may come again.
  if (at.view.pods.empty()) places_.erase(it);
  return true;
}

const node_view* cluster_view::find_node(std::string_view name) const noexcept {
  auto it = places_.find(name);
  return it != places_.end() && it->second->known ? &it->second->view : nullptr;
}

bool cluster_view::set_images(node_view& n, const json::value& list) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < list.size(); ++i)
    for (std::size_t k = 0; k < list[i]["names"].size(); ++k) names.emplace_back(list[i]["names"][k].as_string());
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (image_names_[&n] == names) return false;
  drop_images(n);
  for (std::size_t i = 0; i < list.size(); ++i)
    for (std::size_t k = 0; k < list[i]["names"].size(); ++k)
      images_.try_emplace(std::string(list[i]["names"][k].as_string()),
                          image_view{list[i]["sizeBytes"].as_integer(), 0});
  for (auto& name : names) {
    auto& image = images_.find(name)->second;
    ++image.nodes;
    n.images.push_back(&image);
  }
  std::sort(n.images.begin(), n.images.end());
  image_names_[&n] = std::move(names);
  return true;
}

void cluster_view::drop_images(node_view& n) {
  auto had = image_names_.find(&n);
  if (had == image_names_.end()) return;
  n.images.clear();
  for (auto& name : had->second)
    if (auto it = images_.find(name); --it->second.nodes == 0) images_.erase(it);
  image_names_.erase(had);
}

const image_view* cluster_view::find_image(std::string_view name) const noexcept {
  auto it = images_.find(name);
  return it == images_.end() ? nullptr : &it->second;
}

pod_ref cluster_view::read_pod(const json::value& pod, wall_time now) {
  auto& m = pod["metadata"];
  auto p = std::make_shared<pod_view>();
  p->ns = m["namespace"].as_string();
  p->name = m["name"].as_string();
  p->uid = m["uid"].as_string();
  p->is = classes_.of(pod);
  p->node = pod["spec"]["nodeName"].as_string();
  p->nominated = pod["status"]["nominatedNodeName"].as_string();
  p->created = time_of(m["creationTimestamp"], now);
  p->started = time_of(pod["status"]["startTime"], now);
  p->terminating = m["deletionTimestamp"].is_string();
  auto& made = pod["status"]["resourceClaimStatuses"];
  for (std::size_t i = 0; i < made.size(); ++i) {
    auto& claim = made[i]["resourceClaimName"];
    p->made_claims.try_emplace(std::string(made[i]["name"].as_string()),
                               claim.is_string() ? std::optional<std::string>(claim.as_string()) : std::nullopt);
  }
  auto& conditions = pod["status"]["conditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    if (conditions[i]["type"].as_string() == "DisruptionTarget" && conditions[i]["status"].as_string() == "True" &&
        conditions[i]["reason"].as_string() == "PreemptionByScheduler")
      p->preempted = true;
  return p;
}

void cluster_view::leave_node(const pod_view& p) {
  if (p.node.empty()) return;
  auto it = places_.find(p.node);
  if (it == places_.end()) return;
  if (it->second->view.remove(p)) {
    count_claims(p, -1);
    touch(it->second->view);
  }
  if (!it->second->known && it->second->view.pods.empty()) places_.erase(it);
}

void cluster_view::drop_nomination(const pod_view& p) {
  if (p.nominated.empty()) return;
  auto it = nominated_.find(p.nominated);
  if (it == nominated_.end()) return;
  std::erase_if(it->second, [&](auto& other) { return other->uid == p.uid; });
  if (it->second.empty()) nominated_.erase(it);
}

void cluster_view::set_pod(pod_ref p) {
  auto [it, fresh] = pods_.try_emplace(p->key());
  if (!fresh) {
    // Assumed somewhere, and this event is older than the binding: it stays where it is assumed.
    if (it->second->assumed && p->node.empty() && it->second->uid == p->uid) {
      auto same = std::make_shared<pod_view>(*p);
      same->node = it->second->node;
      same->assumed = true;
      p = std::move(same);
    }
    leave_node(*it->second);
    drop_nomination(*it->second);
  }
  it->second = p;
  ++generation_;
  if (!p->node.empty()) {
    auto& n = place_of(p->node).view;
    n.add(p);
    count_claims(*p, 1);
    touch(n);
  } else if (!p->nominated.empty()) {
    nominated_[p->nominated].push_back(p);
  }
}

void cluster_view::count_claims(const pod_view& p, int n) {
  for (auto& c : p.is->claims) {
    if (c.ephemeral) continue;
    auto it = claim_users_.try_emplace(key_of(p.ns, c.name)).first;
    it->second += static_cast<std::size_t>(n);
    if (it->second == 0) claim_users_.erase(it);
  }
}

bool cluster_view::is_claim_used(std::string_view ns, std::string_view name) const {
  return claim_users_.contains(key_of(ns, name));
}

void cluster_view::remove_pod(std::string_view ns, std::string_view name) {
  auto it = pods_.find(key_of(ns, name));
  if (it == pods_.end()) return;
  leave_node(*it->second);
  drop_nomination(*it->second);
  pods_.erase(it);
  ++generation_;
}

pod_ref cluster_view::find_pod(std::string_view ns, std::string_view name) const {
  auto it = pods_.find(key_of(ns, name));
  return it == pods_.end() ? nullptr : it->second;
}

void cluster_view::assume(const pod_ref& p, std::string_view node) {
  auto there = std::make_shared<pod_view>(*p);
  there->node = node;
  there->assumed = true;
  set_pod(std::move(there));
}

void cluster_view::forget(const pod_ref& p) {
  auto standing = find_pod(p->ns, p->name);
  if (!standing || standing->uid != p->uid || !standing->assumed) return;
  auto pending = std::make_shared<pod_view>(*standing);
  pending->node.clear();
  pending->assumed = false;
  leave_node(*standing);
  pods_[p->key()] = pending;
  if (!pending->nominated.empty()) nominated_[pending->nominated].push_back(std::move(pending));
  ++generation_;
}

std::span<const pod_ref> cluster_view::nominated(const node_view& node) const noexcept {
  auto it = nominated_.find(node.name);
  if (it == nominated_.end()) return {};
  return it->second;
}

void cluster_view::set_namespace(std::string_view name, const json::value& labels) {
  namespaces_[std::string(name)] = label_set::of(labels);
  ++generation_;
}

void cluster_view::remove_namespace(std::string_view name) {
  namespaces_.erase(std::string(name));
  ++generation_;
}

const label_set& cluster_view::namespace_labels(std::string_view name) const noexcept {
  static const label_set none;
  auto it = namespaces_.find(name);
  return it == namespaces_.end() ? none : it->second;
}

void cluster_view::set_selector(std::string_view kind, std::string_view ns, std::string_view name,
                                const json::value& selector) {
  const bool plain = kind == "Service" || kind == "ReplicationController";
  selectors_[std::string(ns)].insert_or_assign(
      key_of(kind, name),
      named_selector{plain ? selector : json::value(),
                     plain ? api::label_selector::from_map(selector) : api::label_selector::from_object(selector)});
  ++generation_;
}

void cluster_view::remove_selector(std::string_view kind, std::string_view ns, std::string_view name) {
  auto it = selectors_.find(ns);
  if (it == selectors_.end()) return;
  it->second.erase(key_of(kind, name));
  if (it->second.empty()) selectors_.erase(it);
  ++generation_;
}

api::label_selector cluster_view::default_selector(const pod_class& p) const {
  json::value merged{json::object{}};
  api::label_selector of_owner;
  if (auto here = selectors_.find(p.ns); here != selectors_.end()) {
    for (auto it = here->second.lower_bound("Service/"); it != here->second.end() && it->first.starts_with("Service/");
         ++it) {
      auto& s = it->second;
      if (s.service.empty() || !matches(s.selector, p.labels)) continue;
      for (auto& m : *s.service.object()) merged.set(m.name, m.value);
    }
    if (auto owner = here->second.find(key_of(p.owner_kind, p.owner_name)); owner != here->second.end()) {
      if (auto map = owner->second.service.object())
        for (auto& m : *map) merged.set(m.name, m.value);
      else
        of_owner = owner->second.selector;
    }
  }
  auto out = api::label_selector::from_map(merged);
  for (auto& r : of_owner.requirements()) out.add(r);
  return out;
}

void cluster_view::forget_selectors(std::string_view kind) {
  for (auto& [ns, of_namespace] : selectors_)
    std::erase_if(of_namespace, [&](auto& s) { return s.first.starts_with(kind); });
}

void cluster_view::forget_nodes() {
  while (!listed_.empty()) remove_node(std::string(listed_.back()->name));
}

void cluster_view::forget_pods() {
  while (!pods_.empty()) {
    auto p = pods_.begin()->second;
    remove_pod(p->ns, p->name);
  }
}

void cluster_view::set_budget(const json::value& budget) {
  auto& m = budget["metadata"];
  remove_budget(m["namespace"].as_string(), m["name"].as_string());
  budget_view b{std::string(m["namespace"].as_string()),
                std::string(m["name"].as_string()),
                api::label_selector::from_object(budget["spec"]["selector"]),
                budget["status"]["disruptionsAllowed"].as_integer(),
                {}};
  if (auto disrupted = budget["status"]["disruptedPods"].object())
    for (auto& d : *disrupted) b.disrupted.push_back(d.name);
  budgets_.push_back(std::move(b));
}

void cluster_view::remove_budget(std::string_view ns, std::string_view name) {
  std::erase_if(budgets_, [&](auto& b) { return b.ns == ns && b.name == name; });
}

}  // namespace kedge::control::scheduler
