// node_affinity.cc: NodeAffinity: spec.nodeSelector and node affinity, and what the profile adds to them.
#include "control/scheduler/plugin.h"

namespace kedge::control::scheduler {
namespace {

// The nodes that are named by every term; nullopt when some term names none.
std::optional<std::set<std::string>> named_nodes(const node_selector& selector) {
  std::set<std::string> out;
  for (auto& term : selector.terms) {
    std::optional<std::set<std::string>> of_term;
    for (auto& f : term.fields) {
      if (f.key != "metadata.name" || f.op != "In") continue;
      std::set<std::string> named(f.values.begin(), f.values.end());
      if (of_term) std::erase_if(named, [&](auto& n) { return !of_term->contains(n); });
      of_term = std::move(named);
    }
    if (!of_term) return std::nullopt;
    out.merge(*of_term);
  }
  return out;
}

class node_affinity final : public plugin {
 public:
  node_affinity(std::optional<node_selector> added, std::vector<preferred_term> added_preferred)
      : added_(std::move(added)), added_preferred_(std::move(added_preferred)) {}

  std::string_view name() const noexcept override { return "NodeAffinity"; }
  bool filters() const noexcept override { return true; }
  bool scores() const noexcept override { return true; }

  prefiltered prefilter(const pod_view& pod, const cluster_view&) const override {
    auto& wanted = pod.is->nodes;
    if (!wanted.demands() && !added_) return {.skip = true};
    prefiltered out;
    if (!wanted.required || wanted.required->terms.empty()) return out;
    auto named = named_nodes(*wanted.required);
    if (named && named->empty())
      out.refused = verdict::never("pod affinity terms conflict");
    else
      out.only = std::move(named);
    return out;
  }
  verdict filter(const pod_view& pod, const node_view& node, const plugin_state*, const cluster_view&) const override {
    if (added_ && !added_->matches(node.name, node.labels))
      return verdict::never("node(s) didn't match scheduler-enforced node affinity");
    if (pod.is->nodes.matches(node.name, node.labels)) return {};
    return verdict::never("node(s) didn't match Pod's node affinity/selector");
  }
  std::unique_ptr<plugin_state> prescore(const pod_view& pod, std::span<const node_view* const>,
                                         const cluster_view&) const override {
    if (pod.is->preferred_nodes.empty() && added_preferred_.empty()) return nullptr;
    return std::make_unique<no_state>();
  }
  std::int64_t score(const pod_view& pod, const node_view& node, const plugin_state&,
                     const cluster_view&) const override {
    std::int64_t sum = 0;
    for (auto* list : {&added_preferred_, &pod.is->preferred_nodes})
      for (auto& p : *list)
        if (p.term.matches(node.name, node.labels)) sum += p.weight;
    return sum;
  }
  void normalise(std::span<std::int64_t> scores, std::span<const node_view* const>,
                 const plugin_state&) const override {
    normalise_to_max(scores, false);
  }
  bool may_help(const cluster_event& e, const pod_view& pod) const override {
    if (e.what == cluster_event::kind::everything || e.what == cluster_event::kind::pending_updated) return true;
    return e.what == cluster_event::kind::node && (e.node_changes & (node_added | node_labels)) &&
           (!added_ || added_->matches(e.node->name, e.node->labels)) &&
           pod.is->nodes.matches(e.node->name, e.node->labels);
  }

 private:
  std::optional<node_selector> added_;
  std::vector<preferred_term> added_preferred_;
};

}  // namespace

plugin_result make_node_affinity(const json::value& a) {
  auto& added = a["addedAffinity"];
  std::optional<node_selector> required;
  if (added["requiredDuringSchedulingIgnoredDuringExecution"].is_object())
    required = node_selector::of(added["requiredDuringSchedulingIgnoredDuringExecution"]);
  return std::make_unique<node_affinity>(std::move(required),
                                         preferred_of(added["preferredDuringSchedulingIgnoredDuringExecution"]));
}

}  // namespace kedge::control::scheduler
