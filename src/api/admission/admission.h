// admission.h: what the cluster's rules change in a write, or refuse of it.
//
//   exchange ─▶ authenticator ─▶ user ─▶ authorizer(attributes) ─▶ handler ─▶ admission (mutating, then validating) ─▶
//   store
//
// All three read the cluster from a snapshot. Webhooks are other people's servers, for which admission waits.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "api/registry/registry.h"
#include "api/request/attributes.h"
#include "api/tracing/span.h"
#include "json/value.h"
#include "meta/status.h"
#include "store/store.h"

namespace kedge::api {

enum class operation : unsigned char { create, update, remove, connect };  // in the order of plugin.h's bits

struct admission_request {
  operation what;
  const attributes& who;
  std::string kind;                  // "Pod"
  json::value* object = nullptr;     // create, update: may be changed by mutate(); null for remove
  const json::value* old = nullptr;  // update, remove
  bool dry_run = false;
  std::vector<std::string> warnings;                                  // texts for Warning headers
  std::vector<std::pair<std::string, std::string>> annotations = {};  // for the audit log

  // What webhooks are told besides.
  const served* asked = nullptr;              // as the URL names it; null: no webhook is asked
  const json::value* owned = nullptr;         // metadata.managedFields of `object`, which stand apart
  const json::value* owned_before = nullptr;  // and of `old`
  store::revision revision = 0;               // of the stored object that `object` replaces; 0: it says itself
  store::revision revision_before = 0;        // and of `old`
  std::function<void()> let_go = {};          // before another server is waited for: what others wait for meanwhile
  const tracing::live_span* span = nullptr;   // what it is a part of; null: nobody is told
  std::function<json::value()> tell_options = {};  // CreateOptions, DeleteOptions …; null: there are none
};

class admission {
 public:
  virtual ~admission() = default;
  virtual task<api_result<void>> mutate(admission_request& r, const store::snapshot& cluster) = 0;
  virtual task<api_result<void>> validate(admission_request& r, const store::snapshot& cluster) = 0;
};

}  // namespace kedge::api
