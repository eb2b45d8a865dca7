// claim_spec.h: what a claim of a volume asks for: of PersistentVolumeClaims, of StatefulSets' and ephemeral volumes'
// templates.
#pragma once

#include "meta/validate.h"

namespace kedge::api {

struct claim_options {
  bool any_label_values = false;  // an older object's selector has bad ones
  bool any_api_group = false;     // an older object's data source has one
};

void check_claim_spec(causes& out, const json::value& spec, const place& at, const claim_options& options);
// ReadWriteOnce … of claims and volumes.
void check_access_modes(causes& out, const json::value& modes, const place& at);

// Texts for Warning headers: amounts that are no whole bytes.
void warn_claim_spec(std::vector<std::string>& out, const json::value& spec, const place& at);

}  // namespace kedge::api
