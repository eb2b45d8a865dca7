#include "control/scheduler/preemption.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace kedge::control::scheduler {

bool more_important(const pod_ref& a, const pod_ref& b) {
  if (a->is->priority != b->is->priority) return a->is->priority > b->is->priority;
  return a->started < b->started;
}

namespace {

// A node with and without some of its pods, and what the filters know then.
class experiment {
 public:
  experiment(const profile& by, const pod_view& pod, const filter_states& states, const node_view& node,
             const cluster_view& cluster)
      : by_(by), pod_(pod), states_(states.clone()), node_(node), cluster_(cluster) {}

  void remove(const pod_ref& p) {
    node_.remove(*p);
    tell(*p, -1);
  }
  void add(const pod_ref& p) {
    node_.add(p);
    tell(*p, 1);
  }
  refusal fits() const { return scheduler::fits(by_, states_, pod_, node_, cluster_); }

 private:
  void tell(const pod_view& other, int n) {
    for (std::size_t i = 0; i < by_.filters.size(); ++i)
      if (auto& s = states_.of[i]; !s.skip && s.state) by_.filters[i]->moved(*s.state, pod_, other, node_, n, cluster_);
  }
  const profile& by_;
  const pod_view& pod_;
  filter_states states_;
  node_view node_;
  const cluster_view& cluster_;
};

// Of `pods`, in order, those whose going some budget doesn't allow any more, and the others.
void split_by_budgets(const std::vector<pod_ref>& pods, std::span<const budget_view> budgets,
                      std::vector<pod_ref>& violating, std::vector<pod_ref>& others) {
  std::vector<std::int64_t> left;
  for (auto& b : budgets) left.push_back(b.allowed);
  for (auto& p : pods) {
    bool violates = false;
    for (std::size_t i = 0; i < budgets.size() && !p->is->labels.empty(); ++i) {
      auto& b = budgets[i];
      if (b.ns != p->ns || b.selector.everything() || !matches(b.selector, p->is->labels)) continue;
      if (std::find(b.disrupted.begin(), b.disrupted.end(), p->name) != b.disrupted.end()) continue;
      if (--left[i] < 0) violates = true;
    }
    (violates ? violating : others).push_back(p);
  }
}

// The fewest pods of `node` that must go: all of less priority go, then each that may stay comes back.
refusal try_node(const profile& by, const pod_view& pod, const filter_states& states, const node_view& node,
                 const cluster_view& cluster, preemption_candidate& out) {
  std::vector<pod_ref> lower;
  for (auto& p : node.pods)
    if (p->is->priority < pod.is->priority) lower.push_back(p);
  if (lower.empty()) return {verdict::never("No preemption victims found for incoming pod"), nullptr};
  experiment e(by, pod, states, node, cluster);
  for (auto& p : lower) e.remove(p);
  if (auto no = e.fits(); !no.why) return no;
  std::sort(lower.begin(), lower.end(), more_important);
  std::vector<pod_ref> violating, others;
  split_by_budgets(lower, cluster.budgets(), violating, others);
  auto bring_back = [&](const pod_ref& p) {
    e.add(p);
    if (e.fits().why) return true;
    e.remove(p);
    out.victims.push_back(p);
    return false;
  };
  for (auto& p : violating)
    if (!bring_back(p)) ++out.violations;
  for (auto& p : others) bring_back(p);
  std::sort(out.victims.begin(), out.victims.end(), more_important);
  out.node = &node;
  return {};
}

// kube-scheduler's order: fewest broken budgets, lowest greatest priority, least sum, fewest, those that started last.
const preemption_candidate& best_of(const std::vector<preemption_candidate>& all) {
  auto sum = [](const preemption_candidate& c) {
    std::int64_t out = 0;
    for (auto& v : c.victims) out += v->is->priority + std::int64_t(std::numeric_limits<std::int32_t>::max()) + 1;
    return out;
  };
  // The earliest start among the victims of the greatest priority.
  auto earliest = [](const preemption_candidate& c) {
    auto out = c.victims.front()->started;
    for (auto& v : c.victims)
      if (v->is->priority == c.victims.front()->is->priority) out = std::min(out, v->started);
    return out;
  };
  return *std::min_element(all.begin(), all.end(), [&](auto& a, auto& b) {
    if (a.violations != b.violations) return a.violations < b.violations;
    auto pa = a.victims.front()->is->priority, pb = b.victims.front()->is->priority;
    if (pa != pb) return pa < pb;
    auto sa = sum(a), sb = sum(b);
    if (sa != sb) return sa < sb;
    if (a.victims.size() != b.victims.size()) return a.victims.size() < b.victims.size();
    return earliest(a) > earliest(b);
  });
}

}  // namespace

std::string_view why_not_preempting(const pod_view& pod, const outcome& refused, const cluster_view& cluster) {
  if (pod.is->never_preempts) return "not eligible due to preemptionPolicy=Never.";
  if (pod.nominated.empty()) return {};
  auto node = cluster.find_node(pod.nominated);
  if (!node) return {};
  for (auto& [n, no] : refused.why.of_nodes)
    if (n == node && no.why.what == verdict::kind::unresolvable) return {};
  for (auto& p : node->pods)
    if (p->is->priority < pod.is->priority && p->terminating && p->preempted)
      return "not eligible due to a terminating pod on the nominated node.";
  return {};
}

preemption_candidates find_candidates(const profile& by, const pod_view& pod, const outcome& refused,
                                      const cluster_view& cluster, random_source& random) {
  preemption_candidates out;
  out.why.nodes = cluster.nodes().size();
  std::vector<const node_view*> may_help;
  for (auto& [node, no] : refused.why.of_nodes)
    if (no.why.what == verdict::kind::unschedulable) may_help.push_back(node);
  if (may_help.empty()) return out;
  const auto wanted =
      std::max(static_cast<std::int64_t>(may_help.size()) * by.candidates_percent / 100, by.candidates_least);
  // A search that goes on begins with the node that it began with: what was found of it so far counts.
  const auto start = refused.first ? *refused.first % may_help.size() : random.below(may_help.size());
  bool clean = false;  // one without a broken budget
  for (std::size_t i = 0; i < may_help.size(); ++i) {
    auto& node = *may_help[(start + i) % may_help.size()];
    preemption_candidate c;
    auto no = try_node(by, pod, refused.states, node, cluster, c);
    out.unfinished = no.why.what == verdict::kind::unfinished;
    if (out.unfinished) break;
    if (!no.why) {
      out.why.of_nodes.emplace_back(&node, std::move(no));
      continue;
    }
    if (c.victims.empty()) continue;  // it fits as it is: the next try will see it
    clean |= c.violations == 0;
    out.all.push_back(std::move(c));
    if (clean && static_cast<std::int64_t>(out.all.size()) >= wanted) break;
  }
  return out;
}

preemption find_victims(const profile& by, const pod_view& pod, const outcome& refused, const cluster_view& cluster,
                        random_source& random) {
  if (auto why = why_not_preempting(pod, refused, cluster); !why.empty())
    return {
        .unfinished = false, .chosen = {}, .clears_nomination = false, .message = fmt::format("preemption: {}", why)};
  return choose_victims(find_candidates(by, pod, refused, cluster, random));
}

preemption choose_victims(preemption_candidates found) {
  preemption out;
  out.unfinished = found.unfinished;
  if (out.unfinished) return out;
  if (found.all.empty()) {
    found.why.of_others = verdict::never("Preemption is not helpful for scheduling");
    out.message = "preemption: " + found.why.text();
    out.clears_nomination = true;
    return out;
  }
  out.chosen = best_of(found.all);
  out.message = fmt::format("preemption: found a potential placement for pod on node {}, preempting {} victims",
                            out.chosen.node->name, out.chosen.victims.size());
  return out;
}

}  // namespace kedge::control::scheduler
