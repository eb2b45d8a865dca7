#include "control/scheduler/volume_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/stable_sort.h"

namespace kedge::control::scheduler {
namespace {

// A class whose volumes somebody makes by hand.
constexpr std::string_view no_provisioner = "kubernetes.io/no-provisioner";

bool has_modes(const volume_view& v, const claim_view& c) {
  return std::ranges::all_of(
      c.access_modes, [&](auto& wanted) { return std::ranges::find(v.access_modes, wanted) != v.access_modes.end(); });
}

// The volume that is set aside for the claim, else the smallest that fits and that none of `taken` has.
volume_ref matching_volume(const claim_view& claim, const std::vector<volume_plan::binding>& taken,
                           const node_view& node, const storage_view& storage) {
  volume_ref smallest;
  for (auto& [name, v] : storage.volumes_of(claim.storage_class)) {
    if (std::ranges::any_of(taken, [&](auto& b) { return b.volume == v; })) continue;
    if (v->claimed && !v->claimed_by(claim)) continue;
    if (claim.request && v->capacity < *claim.request) continue;
    if (v->mode != claim.mode || v->attributes_class != claim.attributes_class || v->terminating) continue;
    if (v->claimed) return v->reachable_from(node.labels) ? v : nullptr;
    if (!v->available || (claim.selects && !matches(claim.selector, v->labels)) || !has_modes(*v, claim)) continue;
    if (smallest && !(v->capacity < smallest->capacity)) continue;
    if (v->reachable_from(node.labels)) smallest = v;
  }
  return smallest;
}

// Whether the class's driver says that a volume of this size can be made within the node's reach.
bool has_space(const claim_view& claim, const storage_class_view& by, const node_view& node,
               const storage_view& storage, std::optional<std::int64_t>& capacity) {
  if (!claim.request) return true;
  auto driver = storage.find_csi_driver(by.provisioner);
  if (!driver || !driver->tracks_capacity) return true;
  for (auto& [key, c] : storage.capacities()) {
    if (c.storage_class != claim.storage_class || !c.volume_max || c.volume_max->value() < claim.request->value())
      continue;
    if (!c.nodes || !matches(*c.nodes, node.labels)) continue;
    capacity = c.capacity;
    return true;
  }
  return false;
}

enum class provisioned : unsigned char { yes, no, no_space };

provisioned provision(const std::vector<claim_ref>& claims, const node_view& node, const storage_view& storage,
                      volume_plan& plan) {
  for (auto& claim : claims) {
    auto by = storage.find_class(claim->storage_class);
    if (!by || by->provisioner.empty() || by->provisioner == no_provisioner || !by->allows(node.labels))
      return provisioned::no;
    std::optional<std::int64_t> capacity;
    if (!has_space(*claim, *by, node, storage, capacity)) return provisioned::no_space;
    plan.provisions.push_back({claim, capacity});
  }
  return provisioned::yes;
}

}  // namespace

verdict check_claims(const pod_view& pod, const storage_view& storage) {
  for (auto& c : pod.is->claims) {
    auto claim = storage.find_claim(pod.ns, c.name);
    if (!claim)
      return verdict::never(
          c.ephemeral ? fmt::format("waiting for ephemeral volume controller to create the persistentvolumeclaim {}",
                                    quote(c.name))
                      : fmt::format("persistentvolumeclaim {} not found", quote(c.name)));
    if (claim->lost)
      return verdict::never(fmt::format("persistentvolumeclaim {} bound to non-existent persistentvolume {}",
                                        quote(c.name), quote(claim->volume)));
    if (claim->terminating)
      return verdict::never(fmt::format("persistentvolumeclaim {} is being deleted", quote(c.name)));
    if (c.ephemeral && claim->owner != pod.uid)
      return verdict::never(
          fmt::format("PVC {} was not created for pod {} (pod is not owner)", claim->key(), pod.key()));
  }
  return {};
}

pod_claims claims_of(const pod_view& pod, const storage_view& storage) {
  pod_claims out;
  for (auto& c : pod.is->claims) {
    auto claim = storage.find_claim(pod.ns, c.name);
    if (!claim) continue;
    auto by = storage.find_class(claim->storage_class);
    if (claim->fully_bound())
      out.bound.push_back(std::move(claim));
    else if (by && by->waits && claim->volume.empty())
      out.waiting.push_back(std::move(claim));
    else
      out.immediate.push_back(std::move(claim));
  }
  return out;
}

volumes_found find_volumes(const pod_claims& claims, const node_view& node, const storage_view& storage) {
  volumes_found out;
  auto refuse = [&](std::string_view why) {
    out.why.what = verdict::kind::unresolvable;
    out.why.reasons.emplace_back(why);
  };
  constexpr std::string_view none_to_bind = "node(s) didn't find available persistent volumes to bind";

  bool gone = false;
  for (auto& c : claims.bound) {
    auto v = storage.find_volume(c->volume);
    gone = !v;
    if (gone) break;
    if (v->reachable_from(node.labels)) continue;
    refuse("node(s) didn't match PersistentVolume's node affinity");
    break;
  }

  std::vector<claim_ref> to_match, to_provision;
  bool elsewhere = false;
  for (auto& c : claims.waiting) {
    elsewhere = elsewhere || (c->selected_node && *c->selected_node != node.name);
    (c->selected_node ? to_provision : to_match).push_back(c);
  }
  if (elsewhere) {
    refuse(none_to_bind);
  } else {
    // The smallest first, so that they leave the large volumes to the others.
    api::stable_sort_short(to_match, [](auto& a, auto& b) {
      return a->request.value_or(schema::quantity()) < b->request.value_or(schema::quantity());
    });
    for (auto& c : to_match)
      if (auto v = matching_volume(*c, out.plan.bindings, node, storage))
        out.plan.bindings.push_back({c, std::move(v)});
      else
        to_provision.push_back(c);
    auto done = provision(to_provision, node, storage, out.plan);
    if (done == provisioned::no) refuse(none_to_bind);
    if (done == provisioned::no_space) refuse("node(s) did not have enough free storage");
  }
  if (gone) refuse("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
  return out;
}

bool uses_claim(const pod_view& pod, std::string_view ns, std::string_view name) noexcept {
  return pod.ns == ns && std::ranges::any_of(pod.is->claims, [&](auto& c) { return c.name == name; });
}

}  // namespace kedge::control::scheduler
