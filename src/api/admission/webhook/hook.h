// hook.h: one webhook of a MutatingWebhookConfiguration or ValidatingWebhookConfiguration, read once when that changes.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/admission/plugin.h"
#include "api/admission/webhook/conditions.h"
#include "api/callout/target.h"
#include "meta/selector.h"

namespace kedge::api::webhook {

// Which requests it is for: one of each list, or "*".
struct rule {
  enum class scope : unsigned char { any, namespaced, cluster };
  unsigned operations = 0;  // plugin.h's bits
  std::vector<std::string> groups, versions;
  std::vector<std::pair<std::string, std::string>> resources;  // and subresource
  scope where = scope::any;
};

struct hook {
  std::string configuration, name;
  std::string id;         // another one for each webhook of all configurations
  bool mutates = false;   // else it only judges
  bool may_fail = false;  // failurePolicy: Ignore
  bool exact = false;     // matchPolicy: Exact
  bool again = false;     // reinvocationPolicy: IfNeeded
  bool dry_run = false;   // it may be called by a dry run
  std::chrono::seconds time{10};
  label_selector namespaces, objects;
  std::vector<rule> rules;
  std::shared_ptr<const conditions> if_all;  // matchConditions; null: none
  std::string review;                        // "v1", "v1beta1"; empty: none that is known here
  result<std::shared_ptr<const callout::target>> to;
};

// Those of one configuration, in order.
std::vector<hook> read_hooks(const json::value& configuration, bool mutating);

}  // namespace kedge::api::webhook
