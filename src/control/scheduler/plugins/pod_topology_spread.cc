// pod_topology_spread.cc: PodTopologySpread: pods of a selector spread evenly over zones, hosts, or whatever nodes'
// labels name. KEP-895, KEP-3022 (minDomains), KEP-3094 (which nodes count), KEP-3243 (matchLabelKeys).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {
namespace {

constexpr std::string_view hostname_key = "kubernetes.io/hostname";

using counts = std::unordered_map<std::string, std::int64_t, string_hash, std::equal_to<>>;  // by topology value

bool has_all_keys(const node_view& node, const std::vector<spread_constraint>& constraints) {
  return std::all_of(constraints.begin(), constraints.end(),
                     [&](auto& c) { return node.labels.find(c.topology_key) != nullptr; });
}

// Whether the node counts for the constraint of this pod.
bool counts_for(const spread_constraint& c, const pod_class& pod, const node_view& node) {
  if (c.honor_affinity && !pod.nodes.matches(node.name, node.labels)) return false;
  return !c.honor_taints || !untolerated(node.taints, pod.tolerations);
}

// Counts pods of a namespace that a selector means, each class looked at once. A selector of everything counts nothing.
class counter {
 public:
  counter(const spread_constraint& c, std::string_view ns) : constraint_(c), ns_(ns) {}
  std::int64_t on(const node_view& node) {
    if (constraint_.selector.everything()) return 0;
    std::int64_t sum = 0;
    for (auto& c : node.classes) {
      if (c.is->ns != ns_) continue;
      auto [at, fresh] = known_.try_emplace(c.is.get());
      if (fresh) at->second = matches(constraint_.selector, c.is->labels);
      if (at->second) sum += c.count - c.terminating;
    }
    return sum;
  }

 private:
  const spread_constraint& constraint_;
  std::string_view ns_;
  std::unordered_map<const pod_class*, bool> known_;
};

struct state final : plugin_state {
  std::vector<counts> found;  // of each constraint
  // The constraints: the pod's own, or the profile's with the pod's services' selector.
  std::shared_ptr<const std::vector<spread_constraint>> constraints;

  std::int64_t least(std::size_t i) const {
    if (static_cast<std::int64_t>(found[i].size()) < (*constraints)[i].min_domains) return 0;
    auto out = std::numeric_limits<std::int32_t>::max();
    for (auto& [value, n] : found[i]) out = std::min<std::int64_t>(out, n);
    return out;
  }
  mutable std::vector<std::int64_t> least_known;  // -1: to be found again
  std::int64_t least_of(std::size_t i) const {
    if (least_known[i] < 0) least_known[i] = least(i);
    return least_known[i];
  }
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<state>(*this); }
};

struct score_state final : plugin_state {
  std::shared_ptr<const std::vector<spread_constraint>> constraints;
  std::vector<counts> found;
  std::vector<double> weights;
  bool all_keys = false;
  mutable std::vector<counter> on_host;
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<score_state>(*this); }
};

class pod_topology_spread final : public plugin {
 public:
  pod_topology_spread(bool system, std::vector<spread_constraint> hard, std::vector<spread_constraint> soft)
      : system_defaults_(system), hard_(std::move(hard)), soft_(std::move(soft)) {}

  std::string_view name() const noexcept override { return "PodTopologySpread"; }
  bool filters() const noexcept override { return true; }
  bool scores() const noexcept override { return true; }

  prefiltered prefilter(const pod_view& pod, const cluster_view& cluster) const override {
    auto constraints = constraints_of(*pod.is, pod.is->spread, hard_, cluster);
    if (constraints->empty()) return {.skip = true};
    auto s = std::make_unique<state>();
    s->constraints = constraints;
    s->found.resize(constraints->size());
    s->least_known.assign(constraints->size(), -1);
    std::vector<counter> counters;
    for (auto& c : *constraints) counters.emplace_back(c, pod.is->ns);
    for (auto node : cluster.nodes()) {
      if (!has_all_keys(*node, *constraints)) continue;
      for (std::size_t i = 0; i < constraints->size(); ++i)
        if (auto& c = (*constraints)[i]; counts_for(c, *pod.is, *node))
          s->found[i][*node->labels.find(c.topology_key)] += counters[i].on(*node);
    }
    return {.state = std::move(s)};
  }

  verdict filter(const pod_view& pod, const node_view& node, const plugin_state* given,
                 const cluster_view&) const override {
    auto& s = static_cast<const state&>(*given);
    for (std::size_t i = 0; i < s.constraints->size(); ++i) {
      auto& c = (*s.constraints)[i];
      auto value = node.labels.find(c.topology_key);
      if (!value)
        return verdict::never("node(s) didn't match pod topology spread constraints (missing required label)");
      auto at = s.found[i].find(*value);
      const auto there = at == s.found[i].end() ? 0 : at->second;
      const std::int64_t itself = matches(c.selector, pod.is->labels) ? 1 : 0;
      if (there + itself - s.least_of(i) > c.max_skew)
        return verdict::no("node(s) didn't match pod topology spread constraints");
    }
    return {};
  }

  void moved(plugin_state& given, const pod_view& pod, const pod_view& other, const node_view& node, int n,
             const cluster_view&) const override {
    auto& s = static_cast<state&>(given);
    if (other.ns != pod.ns || !has_all_keys(node, *s.constraints)) return;
    for (std::size_t i = 0; i < s.constraints->size(); ++i) {
      auto& c = (*s.constraints)[i];
      if (!matches(c.selector, other.is->labels) || !counts_for(c, *pod.is, node)) continue;
      s.found[i][*node.labels.find(c.topology_key)] += n;
      s.least_known[i] = -1;
    }
  }

  std::unique_ptr<plugin_state> prescore(const pod_view& pod, std::span<const node_view* const> passed,
                                         const cluster_view& cluster) const override {
    auto constraints = constraints_of(*pod.is, pod.is->soft_spread, soft_, cluster);
    if (constraints->empty()) return nullptr;
    auto s = std::make_unique<score_state>();
    s->constraints = constraints;
    s->all_keys = pod.is->has_spread || !system_defaults_;
    s->found.resize(constraints->size());
    std::vector<std::size_t> domains(constraints->size());
    std::size_t ignored = 0;
    for (auto node : passed) {
      if (s->all_keys && !has_all_keys(*node, *constraints)) {
        ++ignored;
        continue;
      }
      for (std::size_t i = 0; i < constraints->size(); ++i) {
        auto& key = (*constraints)[i].topology_key;
        if (key == hostname_key) continue;
        auto value = node->labels.find(key);
        if (s->found[i].try_emplace(value ? *value : std::string(), 0).second) ++domains[i];
      }
    }
    std::vector<counter> counters;
    for (std::size_t i = 0; i < constraints->size(); ++i) {
      auto& c = (*constraints)[i];
      counters.emplace_back(c, pod.is->ns);
      auto size = c.topology_key == hostname_key ? passed.size() - ignored : domains[i];
      s->weights.push_back(std::log(static_cast<double>(size + 2)));
    }
    for (auto node : cluster.nodes()) {
      if (s->all_keys && !has_all_keys(*node, *constraints)) continue;
      for (std::size_t i = 0; i < constraints->size(); ++i) {
        auto& c = (*constraints)[i];
        if (c.topology_key == hostname_key || !counts_for(c, *pod.is, *node)) continue;
        auto value = node->labels.find(c.topology_key);
        auto at = s->found[i].find(value ? std::string_view(*value) : std::string_view());
        if (at != s->found[i].end()) at->second += counters[i].on(*node);
      }
    }
    s->on_host = std::move(counters);
    return s;
  }

  std::int64_t score(const pod_view&, const node_view& node, const plugin_state& given,
                     const cluster_view&) const override {
    auto& s = static_cast<const score_state&>(given);
    if (ignores(s, node)) return 0;
    double sum = 0;
    for (std::size_t i = 0; i < s.constraints->size(); ++i) {
      auto& c = (*s.constraints)[i];
      auto value = node.labels.find(c.topology_key);
      if (!value) continue;
      const auto n = c.topology_key == hostname_key ? s.on_host[i].on(node) : s.found[i].find(*value)->second;
      sum += static_cast<double>(n) * s.weights[i] + static_cast<double>(c.max_skew - 1);
    }
    return static_cast<std::int64_t>(std::round(sum));
  }

  void normalise(std::span<std::int64_t> scores, std::span<const node_view* const> nodes,
                 const plugin_state& given) const override {
    auto& s = static_cast<const score_state&>(given);
    std::int64_t least = std::numeric_limits<std::int64_t>::max(), most = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (ignores(s, *nodes[i])) continue;
      least = std::min(least, scores[i]);
      most = std::max(most, scores[i]);
    }
    for (std::size_t i = 0; i < scores.size(); ++i)
      scores[i] = ignores(s, *nodes[i]) ? 0 : most == 0 ? score_max : score_max * (most + least - scores[i]) / most;
  }

  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case cluster_event::kind::everything:
      case cluster_event::kind::pending_updated: return true;
      case cluster_event::kind::node: return true;
      case cluster_event::kind::pod_added:
      case cluster_event::kind::pod_updated:
      case cluster_event::kind::pod_removed: return e.pod->ns == pod.ns;
      default: return false;
    }
  }

 private:
  static bool ignores(const score_state& s, const node_view& node) {
    return s.all_keys && !has_all_keys(node, *s.constraints);
  }

  static std::shared_ptr<const std::vector<spread_constraint>> constraints_of(
      const pod_class& pod, const std::vector<spread_constraint>& own, const std::vector<spread_constraint>& defaults,
      const cluster_view& cluster) {
    // The pod's own live as long as the cycle does: no copy.
    if (pod.has_spread) return {std::shared_ptr<const void>(), &own};
    auto out = std::make_shared<std::vector<spread_constraint>>();
    if (defaults.empty()) return out;
    auto selector = cluster.default_selector(pod);
    if (selector.requirements().empty()) return out;
    *out = defaults;
    for (auto& c : *out) c.selector = selector;
    return out;
  }

  bool system_defaults_;
  std::vector<spread_constraint> hard_, soft_;
};

}  // namespace

plugin_result make_pod_topology_spread(const json::value& a) {
  auto type = a["defaultingType"].as_string("System");
  auto& given = a["defaultConstraints"];
  if (type != "System" && type != "List")
    return fail(errc::invalid,
                fmt::format("defaultingType: Unsupported value: \"{}\": supported values: \"System\", \"List\"", type));
  if (type == "System" && !given.empty())
    return fail(errc::invalid, "defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty");
  std::vector<spread_constraint> hard, soft;
  if (type == "System") {
    soft = {{.max_skew = 3, .topology_key = std::string(hostname_key)},
            {.max_skew = 5, .topology_key = "topology.kubernetes.io/zone"}};
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    spread_constraint c;
    c.max_skew = given[i]["maxSkew"].as_integer();
    c.topology_key = given[i]["topologyKey"].as_string();
    if (c.max_skew <= 0)
      return fail(
          errc::invalid,
          fmt::format("defaultConstraints[{}].maxSkew: Invalid value: {}: not in valid range (0, inf)", i, c.max_skew));
    if (c.topology_key.empty())
      return fail(errc::invalid,
                  fmt::format("defaultConstraints[{}].topologyKey: Required value: can not be empty", i));
    if (given[i]["labelSelector"].is_object())
      return fail(errc::invalid, fmt::format("defaultConstraints[{}].labelSelector: Forbidden: constraint must not "
                                             "define a selector, as they deduced for each pod",
                                             i));
    auto when = given[i]["whenUnsatisfiable"].as_string();
    if (when != "DoNotSchedule" && when != "ScheduleAnyway")
      return fail(errc::invalid, fmt::format("defaultConstraints[{}].whenUnsatisfiable: Unsupported value: \"{}\": "
                                             "supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
                                             i, when));
    (when == "DoNotSchedule" ? hard : soft).push_back(std::move(c));
  }
  return std::make_unique<pod_topology_spread>(type == "System", std::move(hard), std::move(soft));
}

}  // namespace kedge::control::scheduler
