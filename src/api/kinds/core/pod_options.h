// pod_options.h: which rules of pods don't hold, because the object as it stands breaks them already.
//
// Rules become stricter from version to version. What was stored before stays as it is, and may be changed elsewhere.
#pragma once

#include "json/value.h"

namespace kedge::api {

struct pod_options {
  bool is_pod = false;  // not a template
  bool any_deletion_cost = false;
  bool any_label_values_in_selectors = false;  // of pod affinity
  bool any_label_values_in_node_affinity = false;
  bool any_spread_selector = false;
  bool repeated_spread_keys = false;  // matchLabelKeys that the selector has, too
  bool indivisible_huge_pages = false;
  bool any_token_path = false;
  bool host_sysctls = false;
  bool comparing_tolerations = false;            // operators Gt and Lt, whose gate is off
  bool host_network_without_host_users = false;  // as well
  bool devices_without_host_users = false;
  bool restarting_init_resize = false;  // RestartContainer of init containers that are no sidecars
  bool empty_image_volumes = false;
  bool sys_admin_without_escalation = false;
};

// What `old_spec` (null: there is none) excuses, with its `old_annotations`.
pod_options options_by(const json::value& old_spec, const json::value& old_annotations);

}  // namespace kedge::api
