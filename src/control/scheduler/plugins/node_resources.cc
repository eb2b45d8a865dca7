// node_resources.cc: NodeResourcesFit: a pod gets only what is left of a node's allocatable; and its scoring
// strategies. NodeResourcesBalancedAllocation: nodes whose resources stay in balance score higher.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "control/scheduler/devices/extended_resources.h"
#include "control/scheduler/plugins/shape.h"

namespace kedge::control::scheduler {
namespace {

struct weighted {
  std::string resource;
  std::int64_t weight = 1;
};

// What a node has of some resources, what is taken of it, and what would be with the pod.
struct usage {
  std::int64_t allocatable = 0, allocated = 0, requested = 0;
};

usage usage_of(std::string_view resource, const pod_class& pod, const node_view& node, const devices_view& devices,
               bool real) {
  usage out;
  std::int64_t own = 0;
  if (resource == "cpu") {
    out.allocatable = node.allocatable.milli_cpu;
    out.allocated = real ? node.requested.milli_cpu : node.nonzero_cpu;
    own = real ? pod.requests.milli_cpu : pod.scored_cpu;
  } else if (resource == "memory") {
    out.allocatable = node.allocatable.memory;
    out.allocated = real ? node.requested.memory : node.nonzero_memory;
    own = real ? pod.requests.memory : pod.scored_memory;
  } else {
    own = pod.requests.get(resource);
    if (own == 0 && is_scalar(resource)) return {};
    out.allocatable = node.allocatable.get(resource);
    out.allocated = node.requested.get(resource);
    if (auto by = out.allocatable == 0 && may_be_devices(resource) ? devices.class_for_resource(resource) : nullptr) {
      auto there = count_devices(node, by, devices);
      out.allocatable = there.all;
      out.allocated = there.given;
    }
  }
  if (out.allocatable == 0) return {};
  out.requested = out.allocated + own;
  return out;
}

result<std::vector<weighted>> resources_of(const json::value& list, std::string_view path) {
  std::vector<weighted> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto name = list[i]["name"].as_string();
    auto weight = list[i]["weight"].as_integer(1);
    if (weight == 0) weight = 1;
    if (name.empty()) return fail(errc::invalid, fmt::format("{}[{}].name: Required value", path, i));
    if (weight < 1 || weight > 100)
      return fail(errc::invalid,
                  fmt::format("{}[{}].weight: Invalid value: {}: resource weight of {} not in valid range (0, 100]",
                              path, i, weight, name));
    out.push_back({std::string(name), weight});
  }
  if (out.empty()) out = {{"cpu", 1}, {"memory", 1}};
  return out;
}

enum class strategy : unsigned char { least_allocated, most_allocated, requested_to_capacity };

struct fit_arguments {
  std::set<std::string, std::less<>> ignored, ignored_groups;
  strategy how = strategy::least_allocated;
  std::vector<weighted> resources{{"cpu", 1}, {"memory", 1}};
  std::vector<shape_point> shape;
};

class fit final : public plugin {
 public:
  explicit fit(fit_arguments a) : a_(std::move(a)) {}
  std::string_view name() const noexcept override { return "NodeResourcesFit"; }
  bool filters() const noexcept override { return true; }
  bool scores() const noexcept override { return true; }

  verdict filter(const pod_view& pod, const node_view& node, const plugin_state*,
                 const cluster_view& cluster) const override {
    auto& wants = pod.is->requests;
    auto& has = node.allocatable;
    auto& used = node.requested;
    const bool room = static_cast<std::int64_t>(node.pods.size()) < node.pods_max;
    if (room && wants.milli_cpu <= has.milli_cpu - used.milli_cpu && wants.memory <= has.memory - used.memory &&
        wants.ephemeral_storage <= has.ephemeral_storage - used.ephemeral_storage && wants.scalars.empty())
      return {};
    verdict out;
    auto lacks = [&](std::string why, bool for_ever) {
      out.reasons.push_back(std::move(why));
      if (out.what != verdict::kind::unresolvable)
        out.what = for_ever ? verdict::kind::unresolvable : verdict::kind::unschedulable;
    };
    auto check = [&](std::int64_t wanted, std::int64_t total, std::int64_t taken, std::string_view resource) {
      if (wanted > 0 && wanted > total - taken) lacks(fmt::format("Insufficient {}", resource), wanted > total);
    };
    if (!room) lacks("Too many pods", false);
    check(wants.milli_cpu, has.milli_cpu, used.milli_cpu, "cpu");
    check(wants.memory, has.memory, used.memory, "memory");
    check(wants.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage, "ephemeral-storage");
    for (auto& [resource, amount] : wants.scalars)
      if (!ignores(resource) && !are_devices(resource, has, cluster.devices()))
        check(amount, has.scalar(resource), used.scalar(resource), resource);
    return out;
  }

  std::unique_ptr<plugin_state> prescore(const pod_view&, std::span<const node_view* const>,
                                         const cluster_view&) const override {
    return std::make_unique<no_state>();
  }
  std::int64_t score(const pod_view& pod, const node_view& node, const plugin_state&,
                     const cluster_view& cluster) const override {
    std::int64_t sum = 0, weights = 0;
    for (auto& r : a_.resources) {
      auto u = usage_of(r.resource, *pod.is, node, cluster.devices(), false);
      if (u.allocatable == 0) continue;
      auto one = score_of(u);
      if (a_.how == strategy::requested_to_capacity && one <= 0) continue;
      sum += one * r.weight;
      weights += r.weight;
    }
    if (weights == 0) return 0;
    if (a_.how == strategy::requested_to_capacity)
      return static_cast<std::int64_t>(std::round(static_cast<double>(sum) / static_cast<double>(weights)));
    return sum / weights;
  }

  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case cluster_event::kind::everything:
      case cluster_event::kind::pending_updated: return true;
      case cluster_event::kind::pod_removed:
      case cluster_event::kind::pod_updated: return true;
      case cluster_event::kind::node: {
        if (!(e.node_changes & (node_added | node_allocatable))) return false;
        auto& wants = pod.is->requests;
        auto& has = e.node->allocatable;
        bool fits = wants.milli_cpu <= has.milli_cpu && wants.memory <= has.memory &&
                    wants.ephemeral_storage <= has.ephemeral_storage && e.node->pods_max > 0;
        for (auto& [resource, amount] : wants.scalars)
          fits &= ignores(resource) || amount <= has.scalar(resource) ||
                  (e.cluster && are_devices(resource, has, e.cluster->devices()));
        return fits;
      }
      case cluster_event::kind::device_classes: return stands_for_more(e, pod.is->requests);
      default: return false;
    }
  }

 private:
  // The node doesn't count the resource itself, and a class stands for it: then devices are given for it.
  static bool are_devices(std::string_view resource, const resources& has, const devices_view& devices) {
    return may_be_devices(resource) && has.scalar(resource) == 0 && devices.class_for_resource(resource);
  }
  // Whether a class is new, or has another resource now, that is asked for.
  static bool stands_for_more(const cluster_event& e, const resources& wants) {
    auto *before = e.class_before, *after = e.class_after;
    if (!after || (before && before->resource == after->resource)) return false;
    return wants.names(after->resource) || (!before && wants.names(std::string(device_class_prefix) + after->name));
  }
  bool ignores(std::string_view resource) const {
    if (a_.ignored.empty() && a_.ignored_groups.empty()) return false;
    return is_extended(resource) &&
           (a_.ignored.contains(resource) || a_.ignored_groups.contains(resource.substr(0, resource.find('/'))));
  }
  std::int64_t score_of(const usage& u) const {
    switch (a_.how) {
      case strategy::least_allocated:
        return u.requested > u.allocatable ? 0 : (u.allocatable - u.requested) * score_max / u.allocatable;
      case strategy::most_allocated: return std::min(u.requested, u.allocatable) * score_max / u.allocatable;
      case strategy::requested_to_capacity: {
        constexpr std::int64_t full = 100;
        if (u.requested > u.allocatable) return on_shape(a_.shape, full);
        return on_shape(a_.shape, u.requested * full / u.allocatable);
      }
    }
    return 0;
  }
  fit_arguments a_;
};

class balanced_allocation final : public plugin {
 public:
  explicit balanced_allocation(std::vector<weighted> resources) : resources_(std::move(resources)) {}
  std::string_view name() const noexcept override { return "NodeResourcesBalancedAllocation"; }
  bool scores() const noexcept override { return true; }

  std::unique_ptr<plugin_state> prescore(const pod_view& pod, std::span<const node_view* const>,
                                         const cluster_view&) const override {
    bool asks = false;
    for (auto& r : resources_) asks |= pod.is->requests.get(r.resource) != 0;
    if (!asks) return nullptr;
    return std::make_unique<no_state>();
  }
  std::int64_t score(const pod_view& pod, const node_view& node, const plugin_state&,
                     const cluster_view& cluster) const override {
    // How far apart the used fractions are, with the pod and without.
    fractions with, without;
    for (auto& r : resources_) {
      auto u = usage_of(r.resource, *pod.is, node, cluster.devices(), true);
      if (u.allocatable == 0) continue;
      with.add(u.requested, u.allocatable);
      without.add(u.allocated, u.allocatable);
    }
    return score_max / 2 + (score_max / 2 + with.score() - without.score()) / 2;
  }

 private:
  struct fractions {
    std::vector<double> of;
    void add(std::int64_t taken, std::int64_t all) {
      of.push_back(std::min(1.0, static_cast<double>(taken) / static_cast<double>(all)));
    }
    std::int64_t score() const {
      double deviation = 0;
      if (of.size() == 2) {
        deviation = std::abs((of[0] - of[1]) / 2);
      } else if (of.size() > 2) {
        double total = 0, sum = 0;
        for (auto f : of) total += f;
        const auto mean = total / static_cast<double>(of.size());
        for (auto f : of) sum += (f - mean) * (f - mean);
        deviation = std::sqrt(sum / static_cast<double>(of.size()));
      }
      return static_cast<std::int64_t>((1 - deviation) * static_cast<double>(score_max));
    }
  };
  std::vector<weighted> resources_;
};

}  // namespace

plugin_result make_node_resources_fit(const json::value& given) {
  fit_arguments a;
  for (std::size_t i = 0; i < given["ignoredResources"].size(); ++i)
    a.ignored.emplace(given["ignoredResources"][i].as_string());
  for (std::size_t i = 0; i < given["ignoredResourceGroups"].size(); ++i)
    if (auto group = given["ignoredResourceGroups"][i].as_string(); !group.contains('/'))
      a.ignored_groups.emplace(group);
    else
      return fail(errc::invalid, fmt::format("ignoredResourceGroups[{}]: Invalid value: {}: resource group name can't "
                                             "contain '/'",
                                             i, quote(group)));
  auto& s = given["scoringStrategy"];
  auto type = s["type"].as_string("LeastAllocated");
  if (type == "MostAllocated")
    a.how = strategy::most_allocated;
  else if (type == "RequestedToCapacityRatio")
    a.how = strategy::requested_to_capacity;
  else if (type != "LeastAllocated")
    return fail(errc::invalid, fmt::format("scoringStrategy.type: Unsupported value: \"{}\": supported values: "
                                           "\"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
                                           type));
  if (a.how == strategy::requested_to_capacity) {
    if (!s["requestedToCapacityRatio"].is_object())
      return fail(errc::invalid,
                  "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type "
                  "is RequestedToCapacityRatio");
    KEDGE_TRY(a.shape,
              shape_of(s["requestedToCapacityRatio"]["shape"], "scoringStrategy.requestedToCapacityRatio.shape"));
  } else if (s["requestedToCapacityRatio"].is_object()) {
    return fail(errc::invalid,
                "scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not "
                "RequestedToCapacityRatio");
  }
  KEDGE_TRY(a.resources, resources_of(s["resources"], "scoringStrategy.resources"));
  return std::make_unique<fit>(std::move(a));
}

plugin_result make_balanced_allocation(const json::value& given) {
  KEDGE_TRY(auto resources, resources_of(given["resources"], "resources"));
  for (std::size_t i = 0; i < resources.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k)
      if (resources[k].resource == resources[i].resource)
        return fail(errc::invalid,
                    fmt::format("resources[{}].name: Duplicate value: {}", i, quote(resources[i].resource)));
    if (resources[i].weight != 1)
      return fail(errc::invalid,
                  fmt::format("resources[{}].weight: Invalid value: {}: must be 1", i, resources[i].weight));
  }
  return std::make_unique<balanced_allocation>(std::move(resources));
}

}  // namespace kedge::control::scheduler
