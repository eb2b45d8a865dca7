// placement.h: what a pod says about the nodes that it may run on (node selectors, affinity, tolerations), and what a
// node says about pods (taints). Parsed once; pure. k8s.io/component-helpers/scheduling/corev1.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/scheduler/labels.h"

namespace kedge::control::scheduler {

struct taint {
  std::string key, value, effect;
  friend bool operator==(const taint&, const taint&) = default;
};
std::vector<taint> taints_of(const json::value& node);

struct toleration {
  std::string key, op, value, effect;
  bool tolerates(const taint& t) const noexcept;
};
std::vector<toleration> tolerations_of(const json::value& list);
bool tolerated(const std::vector<toleration>& by, const taint& t) noexcept;
// The first taint that keeps pods away (NoSchedule, NoExecute) and isn't tolerated; null when there is none.
const taint* untolerated(const std::vector<taint>& taints, const std::vector<toleration>& by) noexcept;

struct node_requirement {
  std::string key, op;
  std::vector<std::string> values;
  // `value`: null when the node lacks the key. Nothing is matched by a requirement that can't be understood.
  bool matches(const std::string* value) const noexcept;
};

struct node_term {
  std::vector<node_requirement> expressions, fields;
  static node_term of(const json::value& term);
  // An empty term selects nothing. Without a name, fields aren't asked for.
  bool matches(std::string_view node_name, const label_set& labels) const noexcept;
};

// Any of the terms.
struct node_selector {
  std::vector<node_term> terms;
  static node_selector of(const json::value& selector);  // {"nodeSelectorTerms": [...]}
  bool matches(std::string_view node_name, const label_set& labels) const noexcept;
};

struct preferred_term {
  std::int64_t weight = 0;
  node_term term;
};
std::vector<preferred_term> preferred_of(const json::value& list);

// spec.nodeSelector and the required node affinity together.
struct node_demand {
  std::vector<std::pair<std::string, std::string>> labels;
  std::optional<node_selector> required;
  static node_demand of(const json::value& pod_spec);
  bool demands() const noexcept { return !labels.empty() || required; }
  bool matches(std::string_view node_name, const label_set& node_labels) const noexcept;
};

}  // namespace kedge::control::scheduler
