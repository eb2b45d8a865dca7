// signer_name.h: names of those who sign certificates (example.com/signer), and of the trust bundles that are theirs.
#pragma once

#include <string>
#include <string_view>

#include "meta/validate.h"

namespace kedge::api {

bool is_kubernetes_signer(std::string_view name) noexcept;
void check_signer_name(causes& out, std::string_view name, const place& at);

// "example.com:signer:bundle" → "example.com/signer"; empty for a bundle of nobody.
std::string signer_in_bundle_name(std::string_view bundle);
// The name of a ClusterTrustBundle of `signer`, or of nobody ("").
problems check_trust_bundle_name(std::string_view name, std::string_view signer);

}  // namespace kedge::api
