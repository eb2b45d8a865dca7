// endpoints.h: which endpoint of a Service a call goes to.
#pragma once

#include "api/callout/target.h"
#include "base/random.h"
#include "store/store.h"

namespace kedge::api::callout {

struct endpoint {
  std::string address;  // or the name that an ExternalName Service gives
  std::uint16_t port = 0;
  std::string node;  // that has it; empty: not known
};

// A ready one, any of them; those of the Service's first family before others. The errors are kube-apiserver's words.
result<endpoint> choose_endpoint(const store::snapshot& cluster, const service& of, random_source& random);

}  // namespace kedge::api::callout
