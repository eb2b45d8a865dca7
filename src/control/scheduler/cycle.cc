#include "control/scheduler/cycle.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/strings.h"

namespace kedge::control::scheduler {

filter_states filter_states::clone() const {
  filter_states out;
  for (auto& o : of) out.of.push_back({o.skip, o.state ? o.state->clone() : nullptr});
  return out;
}

const plugin_state* state_of(const profile& by, const filter_states& states, const plugin* filter) {
  for (std::size_t i = 0; i < by.filters.size() && i < states.of.size(); ++i)
    if (by.filters[i] == filter) return states.of[i].skip ? nullptr : states.of[i].state.get();
  return nullptr;
}

void diagnosis::blame(const plugin* p) {
  if (p && std::find(plugins.begin(), plugins.end(), p) == plugins.end()) plugins.push_back(p);
}

std::string diagnosis::text() const {
  auto out = fmt::format("0/{} nodes are available:", nodes);
  if (!before.empty()) {
    out += fmt::format(" {}.", before);
  } else {
    std::map<std::string, std::size_t> counted;
    for (auto& [node, no] : of_nodes)
      for (auto& reason : no.why.reasons) ++counted[reason];
    if (of_nodes.size() < nodes)
      for (auto& reason : of_others.reasons) counted[reason] += nodes - of_nodes.size();
    std::vector<std::string> lines;
    for (auto& [reason, n] : counted) lines.push_back(fmt::format("{} {}", n, reason));
    std::sort(lines.begin(), lines.end());
    if (!lines.empty()) out += fmt::format(" {}.", fmt::join(lines, ", "));
  }
  if (!after.empty()) out += " " + after;
  return out;
}

namespace {

refusal run_filters(const profile& by, const filter_states& states, const pod_view& pod, const node_view& node,
                    const cluster_view& cluster) {
  for (std::size_t i = 0; i < by.filters.size(); ++i) {
    if (states.of[i].skip) continue;
    auto v = by.filters[i]->filter(pod, node, states.of[i].state.get(), cluster);
    if (!v) return {std::move(v), by.filters[i]};
  }
  return {};
}

struct before_nodes {
  filter_states states;
  std::optional<std::set<std::string>> only;
  std::vector<std::string_view> narrowed_by;
  bool refused = false;
  std::string failed;
};

before_nodes run_prefilters(const profile& by, const pod_view& pod, const cluster_view& cluster, filter_states last,
                            diagnosis& why) {
  before_nodes out;
  for (std::size_t i = 0; i < by.filters.size(); ++i) {
    auto p = by.filters[i];
    auto before =
        i < last.of.size() ? p->prefilter_again(pod, cluster, std::move(last.of[i].state)) : p->prefilter(pod, cluster);
    if (before.refused.what == verdict::kind::failed) {
      out.refused = true;
      out.failed =
          fmt::format("running PreFilter plugin {}: {}", quote(p->name()), fmt::join(before.refused.reasons, ", "));
      return out;
    }
    if (!before.refused) {
      why.before = fmt::format("{}", fmt::join(before.refused.reasons, ", "));
      why.of_others = std::move(before.refused);
      why.blame(p);
      out.refused = true;
      return out;
    }
    if (before.only) {
      out.narrowed_by.push_back(p->name());
      if (out.only)
        std::erase_if(*out.only, [&](auto& name) { return !before.only->contains(name); });
      else
        out.only = std::move(before.only);
      why.blame(p);
      if (out.only->empty()) {
        auto names = out.narrowed_by;
        std::sort(names.begin(), names.end());
        auto text = names.size() == 1
                        ? fmt::format("node(s) didn't satisfy plugin {}", names[0])
                        : fmt::format("node(s) didn't satisfy plugin(s) [{}] simultaneously", fmt::join(names, " "));
        why.before = text;
        why.of_others = verdict::never(std::move(text));
        out.refused = true;
        return out;
      }
    }
    out.states.of.push_back({before.skip, std::move(before.state)});
  }
  if (out.only) {
    auto names = out.narrowed_by;
    std::sort(names.begin(), names.end());
    why.of_others = verdict::never(fmt::format("node(s) didn't satisfy plugin(s) [{}]", fmt::join(names, " ")));
  }
  return out;
}

}  // namespace

refusal fits(const profile& by, const filter_states& states, const pod_view& pod, const node_view& node,
             const cluster_view& cluster) {
  std::vector<pod_ref> to_come;
  for (auto& p : cluster.nominated(node))
    if (p->uid != pod.uid && p->is->priority >= pod.is->priority) to_come.push_back(p);
  if (!to_come.empty()) {
    auto with = states.clone();
    auto full = node;
    for (auto& p : to_come) {
      full.add(p);
      for (std::size_t i = 0; i < by.filters.size(); ++i)
        if (!with.of[i].skip && with.of[i].state) by.filters[i]->moved(*with.of[i].state, pod, *p, full, 1, cluster);
    }
    auto no = run_filters(by, with, pod, full, cluster);
    if (!no.why) return no;
  }
  // They may not come after all, and must not be leant on.
  return run_filters(by, states, pod, node, cluster);
}

std::vector<node_score> scores_of(const profile& by, const filter_states& states, const pod_view& pod,
                                  std::span<const node_view* const> nodes, const cluster_view& cluster) {
  std::vector<node_score> out;
  out.reserve(nodes.size());
  for (auto n : nodes) out.push_back({n, 0, {}});
  std::vector<std::int64_t> column(nodes.size());
  for (auto& s : by.scorers) {
    auto state = s.of->prescore_after(state_of(by, states, s.of), pod, nodes, cluster);
    if (!state) {
      for (auto& o : out) o.of.push_back(0);
      continue;
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) column[i] = s.of->score(pod, *nodes[i], *state, cluster);
    s.of->normalise(column, nodes, *state);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      out[i].of.push_back(column[i] * s.weight);
      out[i].total += column[i] * s.weight;
    }
  }
  return out;
}

namespace {

// On how many of `nodes` nodes a pod must be found to fit.
std::size_t enough_of(const profile& by, std::size_t nodes) {
  constexpr std::int64_t least = 100, most_percent = 50, least_percent = 5, nodes_a_percent = 125;  // kube-scheduler's
  const auto n = static_cast<std::int64_t>(nodes);
  if (n < least) return nodes;
  auto percent = by.percent_of_nodes;
  if (percent == 0) percent = std::max(least_percent, most_percent - n / nodes_a_percent);
  return static_cast<std::size_t>(std::max(least, n * percent / 100));
}

// A step that goes through all of `nodes` before it comes back: some three eighths of them.
std::size_t step_through(std::size_t nodes) {
  auto step = std::max<std::size_t>(1, nodes * 3 / 8);
  while (std::gcd(step, nodes) != 1) ++step;
  return step;
}

}  // namespace

outcome find_nodes(const profile& by, const pod_view& pod, const cluster_view& cluster, random_source& random,
                   outcome before, bool keeps_promise) {
  outcome out;
  out.why.nodes = cluster.nodes().size();
  if (out.why.nodes == 0) return out;
  auto first = run_prefilters(by, pod, cluster, std::move(before.states), out.why);
  out.failed = std::move(first.failed);
  if (first.refused) return out;
  out.states = std::move(first.states);
  if (keeps_promise && !pod.nominated.empty())
    if (auto node = cluster.find_node(pod.nominated); node && (!first.only || first.only->contains(node->name))) {
      auto no = fits(by, out.states, pod, *node, cluster);
      out.unfinished = no.why.what == verdict::kind::unfinished;
      out.promised = static_cast<bool>(no.why);
      if (out.promised) out.passed.push_back(node);
    }
  auto look = [&](const node_view& node) {
    auto no = fits(by, out.states, pod, node, cluster);
    if (no.why) return out.passed.push_back(&node);
    out.unfinished = no.why.what == verdict::kind::unfinished;
    if (no.why.what == verdict::kind::failed)
      out.failed = fmt::format("running {} filter plugin: {}", quote(no.by->name()), fmt::join(no.why.reasons, ", "));
    out.why.blame(no.by);
    out.why.of_nodes.emplace_back(&node, std::move(no));
  };
  auto goes_on = [&] { return out.failed.empty() && !out.unfinished && !out.promised; };
  if (!goes_on()) return out;
  if (first.only) {
    for (auto& name : *first.only)
      if (auto node = cluster.find_node(name); node && goes_on()) look(*node);
  } else {
    const auto all = cluster.nodes();
    const auto enough = enough_of(by, all.size()), step = step_through(all.size());
    out.first = before.unfinished && before.first ? *before.first % all.size() : random.below(all.size());
    auto at = *out.first;
    for (std::size_t i = 0; i < all.size() && out.passed.size() < enough && goes_on();
         ++i, at = (at + step) % all.size())
      look(*all[at]);
  }
  return out;
}

// The best of them; of several, one by lot.
void choose_node(const profile& by, const pod_view& pod, const cluster_view& cluster, random_source& random,
                 outcome& found, const more_scores& more) {
  auto& nodes = found.passed;
  if (nodes.empty()) return;
  found.node = nodes.front();
  if (nodes.size() == 1) return;
  std::vector<std::int64_t> totals(nodes.size()), column(nodes.size());
  for (auto& s : by.scorers) {
    auto state = s.of->prescore_after(state_of(by, found.states, s.of), pod, nodes, cluster);
    if (!state) continue;
    for (std::size_t i = 0; i < nodes.size(); ++i) column[i] = s.of->score(pod, *nodes[i], *state, cluster);
    s.of->normalise(column, nodes, *state);
    for (std::size_t i = 0; i < nodes.size(); ++i) totals[i] += column[i] * s.weight;
  }
  for (std::size_t i = 0; i < nodes.size() && !more.empty(); ++i)
    if (auto told = more.find(nodes[i]->name); told != more.end()) totals[i] += told->second;
  found.score = *std::max_element(totals.begin(), totals.end());
  auto equal = static_cast<std::uint64_t>(std::count(totals.begin(), totals.end(), found.score));
  auto lot = random.below(equal);
  for (std::size_t i = 0;; ++i)
    if (totals[i] == found.score && lot-- == 0) {
      found.node = nodes[i];
      return;
    }
}

outcome place(const profile& by, const pod_view& pod, const cluster_view& cluster, random_source& random,
              outcome before) {
  auto out = find_nodes(by, pod, cluster, random, std::move(before));
  if (!out.unfinished && out.failed.empty()) choose_node(by, pod, cluster, random, out);
  return out;
}

}  // namespace kedge::control::scheduler
