// admission.h: what the cluster's rules change in a write, or refuse of it.
//
//   exchange ─▶ authenticator ─▶ user ─▶ authorizer(attributes) ─▶ handler ─▶ admission (mutating, then validating) ─▶
//   store
//
// All three read the cluster from a snapshot; none of them waits for another server.
#pragma once

#include <string>
#include <vector>

#include "api/request/attributes.h"
#include "json/value.h"
#include "meta/status.h"
#include "store/store.h"

namespace kedge::api {

enum class operation : unsigned char { create, update, remove, connect };  // in the order of plugin.h's bits

struct admission_request {
  operation what;
  const attributes& who;
  std::string kind;                      // "Pod"
  json::value* object = nullptr;         // create, update: may be changed by mutate(); null for remove
  const json::value* old = nullptr;      // update, remove
  const json::value* options = nullptr;  // CreateOptions, DeleteOptions … as given, may be null
  bool dry_run = false;
  std::vector<std::string> warnings;  // texts for Warning headers
};

class admission {
 public:
  virtual ~admission() = default;
  virtual task<api_result<void>> mutate(admission_request& r, const store::snapshot& cluster) = 0;
  virtual task<api_result<void>> validate(admission_request& r, const store::snapshot& cluster) = 0;
};

}  // namespace kedge::api
