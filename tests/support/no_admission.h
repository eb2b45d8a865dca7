// no_admission.h: admission that lets everything through, for tests of what comes before and behind it.
#pragma once

#include "api/admission/admission.h"

namespace kedge::tests {

class no_admission final : public api::admission {
 public:
  task<api::api_result<void>> mutate(api::admission_request&, const store::snapshot&) override {
    co_return api::api_result<void>();
  }
  task<api::api_result<void>> validate(api::admission_request&, const store::snapshot&) override {
    co_return api::api_result<void>();
  }
};

}  // namespace kedge::tests
