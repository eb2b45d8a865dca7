// affinity.h: which nodes a pod may go to, and beside which pods.
#pragma once

#include "api/kinds/core/pod_options.h"
#include "meta/validate.h"

namespace kedge::api {

void check_affinity(causes& out, const json::value& affinity, const place& at, const pod_options& options);
void check_spread(causes& out, const json::value& constraints, const place& at, const pod_options& options);
void check_tolerations(causes& out, const json::value& list, const place& at, const pod_options& options);

// nodeSelectorTerms of pods and PersistentVolumes. `any_values`: of labels; an older object has bad ones.
void check_node_selector(causes& out, const json::value& selector, const place& at, bool any_values);
void check_node_selector_term(causes& out, const json::value& term, const place& at, bool any_values);
// Whether a term asks for values that no label has.
bool has_bad_label_values(const json::value& node_selector_terms);
bool has_bad_values_in_affinity(const json::value& affinity);  // of pods' labels

// matchLabelKeys against the selector that they add to: as it is asked of new objects.
void check_label_keys(causes& out, const json::value& term, const place& at);

}  // namespace kedge::api
