// inter_pod_affinity.cc: InterPodAffinity: which pods a pod wants to be near, or far from; and which want that of it.
//
// Pods of a class are alike, so each term is matched once with each class and counted for all of its pods on a node.
#include <fmt/format.h>
#include <algorithm>
#include <limits>
#include <unordered_map>

#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {
namespace {

using counts = std::unordered_map<std::string, std::int64_t, string_hash, std::equal_to<>>;  // by topology value
using topology_counts = std::map<std::string, counts, std::less<>>;                          // by topology key

void count(topology_counts& into, const node_view& node, const std::string& key, std::int64_t n) {
  auto value = node.labels.find(key);
  if (!value) return;
  auto& of_key = into[key];
  auto at = of_key.try_emplace(*value, 0).first;
  if ((at->second += n) == 0) of_key.erase(at);
}

std::int64_t count_at(const topology_counts& all, const node_view& node, std::string_view key) {
  auto of_key = all.find(key);
  if (of_key == all.end()) return 0;
  auto value = node.labels.find(key);
  if (!value) return 0;
  auto at = of_key->second.find(*value);
  return at == of_key->second.end() ? 0 : at->second;
}

bool nothing_in(const topology_counts& all) {
  return std::all_of(all.begin(), all.end(), [](auto& of_key) { return of_key.second.empty(); });
}

// What pods of one class are to the pod that is placed, and it to them.
struct relation {
  bool wanted = false;  // it matches all of the pod's affinity terms
  std::vector<const affinity_term*> unwanted,
      unwelcome;  // of the pod's anti-affinity that mean it; of its own that mean the pod
  bool nothing() const noexcept { return !wanted && unwanted.empty() && unwelcome.empty(); }
};

relation relate(const pod_class& pod, const pod_class& other, const cluster_view& cluster) {
  relation out;
  if (!pod.affinity.empty() || !pod.anti_affinity.empty()) {
    auto& theirs = cluster.namespace_labels(other.ns);
    out.wanted = means_all(pod.affinity, other, theirs);
    for (auto& t : pod.anti_affinity)
      if (means(t, other, theirs)) out.unwanted.push_back(&t);
  }
  if (!other.anti_affinity.empty()) {
    auto& ours = cluster.namespace_labels(pod.ns);
    for (auto& t : other.anti_affinity)
      if (means(t, pod, ours)) out.unwelcome.push_back(&t);
  }
  return out;
}

struct state final : plugin_state {
  topology_counts wanted, unwanted, unwelcome;
  bool matches_itself = false;

  void add(const relation& r, const pod_class& pod, const node_view& node, std::int64_t n) {
    if (r.wanted)
      for (auto& t : pod.affinity) count(wanted, node, t.topology_key, n);
    for (auto t : r.unwanted) count(unwanted, node, t->topology_key, n);
    for (auto t : r.unwelcome) count(unwelcome, node, t->topology_key, n);
  }
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<state>(*this); }
};

struct score_state final : plugin_state {
  topology_counts scores;
  std::unique_ptr<plugin_state> clone() const override { return std::make_unique<score_state>(*this); }
};

class inter_pod_affinity final : public plugin {
 public:
  inter_pod_affinity(std::int64_t hard_weight, bool ignores_preferred)
      : hard_weight_(hard_weight), ignores_preferred_(ignores_preferred) {}

  std::string_view name() const noexcept override { return "InterPodAffinity"; }
  bool filters() const noexcept override { return true; }
  bool scores() const noexcept override { return true; }

  prefiltered prefilter(const pod_view& pod, const cluster_view& cluster) const override {
    auto& own = *pod.is;
    auto s = std::make_unique<state>();
    std::unordered_map<const pod_class*, relation> known;
    const bool has_terms = !own.affinity.empty() || !own.anti_affinity.empty();
    for (auto node : cluster.nodes())
      for (auto& c : node->classes) {
        if (!has_terms && c.is->anti_affinity.empty()) continue;
        auto [at, fresh] = known.try_emplace(c.is.get());
        if (fresh) at->second = relate(own, *c.is, cluster);
        if (!at->second.nothing()) s->add(at->second, own, *node, c.count);
      }
    if (!has_terms && nothing_in(s->unwelcome)) return {.skip = true};
    s->matches_itself = means_all(own.affinity, own, cluster.namespace_labels(own.ns));
    return {.state = std::move(s)};
  }

  verdict filter(const pod_view& pod, const node_view& node, const plugin_state* given,
                 const cluster_view&) const override {
    auto& s = static_cast<const state&>(*given);
    if (!near_wanted(*pod.is, s, node)) return verdict::never("node(s) didn't match pod affinity rules");
    for (auto& t : pod.is->anti_affinity)
      if (count_at(s.unwanted, node, t.topology_key) > 0)
        return verdict::no("node(s) didn't match pod anti-affinity rules");
    for (auto& [key, of_key] : s.unwelcome)
      if (!of_key.empty() && count_at(s.unwelcome, node, key) > 0)
        return verdict::no("node(s) didn't satisfy existing pods anti-affinity rules");
    return {};
  }

  void moved(plugin_state& given, const pod_view& pod, const pod_view& other, const node_view& node, int n,
             const cluster_view& cluster) const override {
    static_cast<state&>(given).add(relate(*pod.is, *other.is, cluster), *pod.is, node, n);
  }

  std::unique_ptr<plugin_state> prescore(const pod_view& pod, std::span<const node_view* const>,
                                         const cluster_view& cluster) const override {
    auto& own = *pod.is;
    const bool prefers = !own.preferred_affinity.empty() || !own.preferred_anti_affinity.empty();
    if (ignores_preferred_ && !prefers) return nullptr;
    auto out = std::make_unique<score_state>();
    struct pull {
      const affinity_term* term;
      std::int64_t weight;
    };
    std::unordered_map<const pod_class*, std::vector<pull>> known;
    auto find_pulls = [&](const pod_class& other) {
      std::vector<pull> pulls;
      auto& theirs = cluster.namespace_labels(other.ns);
      auto& ours = cluster.namespace_labels(own.ns);
      for (auto& t : own.preferred_affinity)
        if (means(t, other, theirs)) pulls.push_back({&t, t.weight});
      for (auto& t : own.preferred_anti_affinity)
        if (means(t, other, theirs)) pulls.push_back({&t, -t.weight});
      if (hard_weight_ > 0)
        for (auto& t : other.affinity)
          if (means(t, own, ours)) pulls.push_back({&t, hard_weight_});
      for (auto& t : other.preferred_affinity)
        if (means(t, own, ours)) pulls.push_back({&t, t.weight});
      for (auto& t : other.preferred_anti_affinity)
        if (means(t, own, ours)) pulls.push_back({&t, -t.weight});
      return pulls;
    };
    bool any = false;
    for (auto node : cluster.nodes()) {
      if (node->labels.empty()) continue;
      for (auto& c : node->classes) {
        if (!prefers && !c.is->has_affinity()) continue;
        auto [at, fresh] = known.try_emplace(c.is.get());
        if (fresh) at->second = find_pulls(*c.is);
        for (auto& p : at->second)
          if (auto value = node->labels.find(p.term->topology_key)) {
            out->scores[p.term->topology_key][*value] += p.weight * c.count;
            any = true;
          }
      }
    }
    if (!any) return nullptr;
    return out;
  }
  std::int64_t score(const pod_view&, const node_view& node, const plugin_state& given,
                     const cluster_view&) const override {
    auto& s = static_cast<const score_state&>(given);
    std::int64_t sum = 0;
    for (auto& [key, of_key] : s.scores) sum += count_at(s.scores, node, key);
    return sum;
  }
  void normalise(std::span<std::int64_t> scores, std::span<const node_view* const>,
                 const plugin_state&) const override {
    auto [least, most] = std::minmax_element(scores.begin(), scores.end());
    const auto low = *least, range = *most - *least;
    for (auto& s : scores)
      s = range > 0 ? static_cast<std::int64_t>(static_cast<double>(score_max) *
                                                (static_cast<double>(s - low) / static_cast<double>(range)))
                    : 0;
  }

  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    switch (e.what) {
      case cluster_event::kind::everything:
      case cluster_event::kind::pending_updated:
      case cluster_event::kind::namespaces: return true;
      case cluster_event::kind::node: return e.node_changes & (node_added | node_labels);
      // A pod that came may be wanted, one that went or changed may have been in the way.
      case cluster_event::kind::pod_added: return !pod.is->affinity.empty();
      case cluster_event::kind::pod_updated: return true;
      case cluster_event::kind::pod_removed: return !pod.is->anti_affinity.empty() || !e.pod->is->anti_affinity.empty();
      default: return false;
    }
  }

 private:
  // The first of pods that want to be near each other may go anywhere where the topology is known.
  static bool near_wanted(const pod_class& pod, const state& s, const node_view& node) {
    bool near = true;
    for (auto& t : pod.affinity) {
      if (!node.labels.find(t.topology_key)) return false;
      near &= count_at(s.wanted, node, t.topology_key) > 0;
    }
    return near || (nothing_in(s.wanted) && s.matches_itself);
  }
  std::int64_t hard_weight_;
  bool ignores_preferred_;
};

}  // namespace

plugin_result make_inter_pod_affinity(const json::value& a) {
  auto weight = a["hardPodAffinityWeight"].as_integer(1);
  if (weight < 0 || weight > 100)
    return fail(errc::invalid,
                fmt::format("hardPodAffinityWeight: Invalid value: {}: not in valid range [0, 100]", weight));
  return std::make_unique<inter_pod_affinity>(weight, a["ignorePreferredTermsOfExistingPods"].as_bool());
}

}  // namespace kedge::control::scheduler
