// cycle.h: where one pod goes: a pure function of the pod, the cluster and the profile.
//
//   prefilters ─▶ its nominated node, if that fits ─▶ filters over all nodes ─▶ scores ─▶ the best, one of the best by
//   lot
//        │ refused                                       │ none passed
//        └────────────▶ diagnosis: why, by node ◀────────┘
//
// Of more than 100 nodes the search ends when the pod fits on enough of them (percentageOfNodesToScore), as
// kube-scheduler's does; where it begins is drawn by lot, and its steps are so wide that neighbours in the list, which
// often are of one zone, don't come one after the other.
#pragma once

#include <map>

#include "base/random.h"
#include "control/scheduler/profile.h"

namespace kedge::control::scheduler {

// What the filters know of the pod; a thought experiment works on a copy.
struct filter_states {
  struct one {
    bool skip = false;
    std::unique_ptr<plugin_state> state;
  };
  std::vector<one> of;  // as profile::filters
  filter_states clone() const;
};

// What a filter of the profile knows; null: it skipped.
const plugin_state* state_of(const profile& by, const filter_states& states, const plugin* filter);

struct refusal {
  verdict why;
  const plugin* by = nullptr;
};

struct diagnosis {
  std::size_t nodes = 0;  // of the cluster
  std::string before;     // a prefilter refused all; its words
  std::vector<std::pair<const node_view*, refusal>> of_nodes;
  verdict of_others;                   // nodes that weren't looked at
  std::vector<const plugin*> plugins;  // that refused, each once
  std::string after;                   // what preemption says
  void blame(const plugin* p);
  // "0/3 nodes are available: 2 Insufficient cpu, … preemption: …", word for word.
  std::string text() const;
};

struct outcome {
  // Not yet: it is to be gone on with in another turn of the loop, from here. Nothing else counts then.
  bool unfinished = false;
  std::optional<std::size_t> first;      // the node that it began with
  const node_view* node = nullptr;       // null: refused, see why
  std::vector<const node_view*> passed;  // it fits there
  bool promised = false;                 // and that is the node that it was promised: no other was looked at
  std::int64_t score = 0;                // of the chosen one
  std::string failed;                    // the attempt ended with this error; nothing else counts then
  diagnosis why;
  filter_states states;  // for preemption; empty when a prefilter refused
};

inline constexpr std::string_view no_nodes_text = "no nodes available to schedule pods";

// `before`: of the last turn of the same attempt, when that was unfinished.
outcome place(const profile& by, const pod_view& pod, const cluster_view& cluster, random_source& random,
              outcome before = {});

// The same in two parts, for who has something to say between them: where the pod fits, and which of those nodes it
// gets. `keeps_promise`: the nominated node first. `more`: of the nodes' scores, by name.
outcome find_nodes(const profile& by, const pod_view& pod, const cluster_view& cluster, random_source& random,
                   outcome before = {}, bool keeps_promise = true);
using more_scores = std::map<std::string, std::int64_t, std::less<>>;
void choose_node(const profile& by, const pod_view& pod, const cluster_view& cluster, random_source& random,
                 outcome& found, const more_scores& more = {});

// Whether the pod fits on `node`, pods of no less priority that are to come there counted too.
refusal fits(const profile& by, const filter_states& states, const pod_view& pod, const node_view& node,
             const cluster_view& cluster);

// For those who want to know all of it: each node's score, by plugin.
struct node_score {
  const node_view* node;
  std::int64_t total;
  std::vector<std::int64_t> of;  // weighted, as profile::scorers
};
std::vector<node_score> scores_of(const profile& by, const filter_states& states, const pod_view& pod,
                                  std::span<const node_view* const> nodes, const cluster_view& cluster);

}  // namespace kedge::control::scheduler
