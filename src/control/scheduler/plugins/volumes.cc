// volumes.cc: VolumeRestrictions, NodeVolumeLimits, VolumeZone: who else uses a pod's volumes, how many a node takes,
// and in which zone they lie.
#include <fmt/format.h>

#include <algorithm>

#include "control/scheduler/volume_choice.h"

namespace kedge::control::scheduler {
namespace {

using event = cluster_event::kind;

// ---- VolumeRestrictions

bool disks_clash(const pod_class& a, const pod_class& b) {
  return std::ranges::any_of(
      a.disks, [&](auto& d) { return std::ranges::any_of(b.disks, [&](auto& other) { return d.clashes(other); }); });
}

struct restrictions_state final : plugin_state {
  std::set<std::string, std::less<>> single;  // claims that only one pod may use
  std::int64_t uses = 0;                      // by others
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<restrictions_state>(*this); }
};

class volume_restrictions final : public plugin {
 public:
  std::string_view name() const noexcept override { return "VolumeRestrictions"; }
  bool filters() const noexcept override { return true; }

  prefiltered prefilter(const pod_view& pod, const cluster_view& cluster) const override {
    prefiltered out;
    auto state = std::make_unique<restrictions_state>();
    for (auto& c : pod.is->claims) {
      if (c.ephemeral) continue;
      auto claim = cluster.storage().find_claim(pod.ns, c.name);
      if (!claim) {
        out.refused = verdict::never(fmt::format("persistentvolumeclaim {} not found", quote(c.name)));
        return out;
      }
      if (claim->single_pod() && state->single.insert(c.name).second)
        state->uses += cluster.is_claim_used(pod.ns, c.name);
    }
    out.skip = pod.is->disks.empty() && state->uses == 0;
    out.state = std::move(state);
    return out;
  }
  verdict filter(const pod_view& pod, const node_view& node, const plugin_state* state,
                 const cluster_view&) const override {
    if (!pod.is->disks.empty())
      for (auto& there : node.classes)
        if (disks_clash(*pod.is, *there.is)) return verdict::no("node(s) had no available disk");
    if (static_cast<const restrictions_state*>(state)->uses <= 0) return {};
    return verdict::no(
        "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already "
        "in-use by another pod");
  }
  void moved(plugin_state& state, const pod_view&, const pod_view& other, const node_view&, int n,
             const cluster_view&) const override {
    auto& s = static_cast<restrictions_state&>(state);
    for (auto& c : other.is->claims)
      if (!c.ephemeral && s.single.contains(c.name)) s.uses += n;
  }
  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case event::everything:
      case event::pending_updated: return true;
      case event::pod_removed:
        return e.pod->ns == pod.ns &&
               (disks_clash(*pod.is, *e.pod->is) || std::ranges::any_of(e.pod->is->claims, [&](auto& c) {
                  return !c.ephemeral && uses_claim(pod, pod.ns, c.name);
                }));
      case event::node: return e.node_changes & node_added;
      case event::claims: return e.added && uses_claim(pod, e.ns, e.claim);
      default: return false;
    }
  }
};

// ---- NodeVolumeLimits

// Volumes of CSI drivers, each with its driver.
using driver_volumes = std::map<std::string, std::string>;

// A claim that has no volume yet counts as one of its class's driver.
void add_volume(const claim_view& claim, const storage_view& storage, driver_volumes& into) {
  if (auto v = storage.find_volume(claim.volume); v && !claim.volume.empty()) {
    if (!v->driver.empty() && !v->handle.empty()) into[v->driver + "/" + v->handle] = v->driver;
  } else if (auto by = storage.find_class(claim.storage_class); by && !claim.storage_class.empty()) {
    if (!by->provisioner.empty()) into[by->provisioner + "/claim/" + claim.key()] = by->provisioner;
  }
}

struct limits_state final : plugin_state {
  driver_volumes volumes;
  verdict why;  // a claim is missing
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<limits_state>(*this); }
};

class node_volume_limits final : public plugin {
 public:
  std::string_view name() const noexcept override { return "NodeVolumeLimits"; }
  bool filters() const noexcept override { return true; }

  prefiltered prefilter(const pod_view& pod, const cluster_view& cluster) const override {
    if (pod.is->claims.empty()) return {.skip = true};
    auto state = std::make_unique<limits_state>();
    for (auto& c : pod.is->claims) {
      if (auto claim = cluster.storage().find_claim(pod.ns, c.name)) {
        add_volume(*claim, cluster.storage(), state->volumes);
      } else {
        state->why = verdict::never(
            fmt::format("looking up PVC {}/{}: persistentvolumeclaim {} not found", pod.ns, c.name, quote(c.name)));
        break;
      }
    }
    prefiltered out;
    out.state = std::move(state);
    return out;
  }
  verdict filter(const pod_view&, const node_view& node, const plugin_state* state,
                 const cluster_view& cluster) const override {
    auto& asked = *static_cast<const limits_state*>(state);
    if (!asked.why) return asked.why;
    auto& storage = cluster.storage();
    auto takes = storage.find_csi_node(node.name);
    for (auto& [volume, driver] : asked.volumes)
      if (auto d = storage.find_csi_driver(driver);
          d && d->must_be_installed && (!takes || !takes->drivers.contains(driver)))
        return verdict::no(fmt::format("{} CSI driver is not installed on the node", driver));
    if (asked.volumes.empty() || !takes ||
        std::ranges::none_of(takes->drivers, [](auto& d) { return d.second.has_value(); }))
      return {};
    const auto there = volumes_of_pods(node, storage), attached = volumes_attached(node, storage);
    std::map<std::string_view, std::int64_t> more, counted;
    for (auto& [volume, driver] : there) ++counted[driver];
    for (auto& [volume, driver] : attached) counted[driver] += !there.contains(volume);
    for (auto& [volume, driver] : asked.volumes) more[driver] += !there.contains(volume);
    for (auto& [driver, n] : more)
      if (auto limit = takes->drivers.find(driver);
          n > 0 && limit != takes->drivers.end() && limit->second && counted[driver] + n > *limit->second)
        return verdict::no("node(s) exceed max volume count");
    return {};
  }
  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case event::everything:
      case event::pending_updated:
      case event::csi_nodes:
      case event::attachments: return true;
      case event::pod_removed: return !e.pod->is->claims.empty();
      case event::claims: return e.added && uses_claim(pod, e.ns, e.claim);
      default: return false;
    }
  }

 private:
  static driver_volumes volumes_of_pods(const node_view& node, const storage_view& storage) {
    driver_volumes out;
    for (auto& pods : node.classes)
      for (auto& c : pods.is->claims)
        if (auto claim = storage.find_claim(pods.is->ns, c.name)) add_volume(*claim, storage, out);
    return out;
  }
  static driver_volumes volumes_attached(const node_view& node, const storage_view& storage) {
    driver_volumes out;
    for (auto* a : storage.attachments_of(node.name))
      if (auto v = storage.find_volume(a->volume); v && !v->driver.empty() && !a->attacher.empty())
        out[a->attacher + "/" + v->handle] = a->attacher;
    return out;
  }
};

// ---- VolumeZone

constexpr std::string_view zone_labels[] = {"failure-domain.beta.kubernetes.io/zone",
                                            "failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/zone",
                                            "topology.kubernetes.io/region"};

// The label's name of today.
std::string_view present_name(std::string_view label) {
  if (label == zone_labels[0]) return zone_labels[2];
  if (label == zone_labels[1]) return zone_labels[3];
  return label;
}

// "a__b": several. Nothing when one of them is empty: the label says nothing then.
std::vector<std::string> zones_of(std::string_view value) {
  constexpr std::string_view between = "__";
  std::vector<std::string> out;
  for (;;) {
    auto end = value.find(between);
    auto zone = trim(value.substr(0, end));
    if (zone.empty()) return {};
    out.emplace_back(zone);
    if (end == value.npos) return out;
    value.remove_prefix(end + between.size());
  }
}

struct zones_state final : plugin_state {
  struct demand {
    std::string_view label;
    std::vector<std::string> zones;
  };
  std::vector<demand> demands;
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<zones_state>(*this); }
};

class volume_zone final : public plugin {
 public:
  std::string_view name() const noexcept override { return "VolumeZone"; }
  bool filters() const noexcept override { return true; }

  prefiltered prefilter(const pod_view& pod, const cluster_view& cluster) const override {
    prefiltered out;
    auto state = std::make_unique<zones_state>();
    for (auto& c : pod.is->claims) {
      if (c.ephemeral) continue;
      if (out.refused = add_demands(pod.ns, c.name, cluster.storage(), *state); !out.refused) return out;
    }
    out.skip = state->demands.empty();
    out.state = std::move(state);
    return out;
  }
  verdict filter(const pod_view&, const node_view& node, const plugin_state* state,
                 const cluster_view&) const override {
    // A cluster that knows no zones has one.
    if (std::ranges::none_of(zone_labels, [&](auto label) { return node.labels.find(label); })) return {};
    for (auto& d : static_cast<const zones_state*>(state)->demands) {
      auto has = node.labels.find(d.label);
      if (!has) has = node.labels.find(present_name(d.label));
      if (!has || std::ranges::find(d.zones, *has) == d.zones.end())
        return verdict::never("node(s) had no available volume zone");
    }
    return {};
  }
  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case event::everything:
      case event::pending_updated:
      case event::volumes: return true;
      case event::classes: return e.added;
      case event::claims: return uses_claim(pod, e.ns, e.claim);
      case event::node: return e.node_changes & (node_added | node_labels);
      default: return false;
    }
  }

 private:
  static verdict add_demands(std::string_view ns, std::string_view name, const storage_view& storage,
                             zones_state& into) {
    auto claim = storage.find_claim(ns, name);
    if (!claim) return verdict::never(fmt::format("persistentvolumeclaim {} not found", quote(name)));
    if (claim->volume.empty()) {
      if (claim->storage_class.empty())
        return verdict::never("PersistentVolumeClaim had no pv name and storageClass name");
      auto by = storage.find_class(claim->storage_class);
      if (!by)
        return verdict::never(fmt::format("storageclass.storage.k8s.io {} not found", quote(claim->storage_class)));
      return by->waits ? verdict() : verdict::never("PersistentVolume had no name");
    }
    auto volume = storage.find_volume(claim->volume);
    if (!volume) return verdict::never(fmt::format("persistentvolume {} not found", quote(claim->volume)));
    for (auto label : zone_labels)
      if (auto value = volume->labels.find(label))
        if (auto zones = zones_of(*value); !zones.empty()) into.demands.push_back({label, std::move(zones)});
    return {};
  }
};

}  // namespace

plugin_result make_volume_restrictions(const json::value&) { return std::make_unique<volume_restrictions>(); }
plugin_result make_node_volume_limits(const json::value&) { return std::make_unique<node_volume_limits>(); }
plugin_result make_volume_zone(const json::value&) { return std::make_unique<volume_zone>(); }

}  // namespace kedge::control::scheduler
