// requests.h: CertificateSigningRequests as their controllers look at them: what was decided, and what kubelets may ask
// for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/plan.h"
#include "crypto/request.h"

namespace kedge::control {

inline const api::resource_id certificate_requests{"certificates.k8s.io", "v1", "certificatesigningrequests"};

namespace signers {
inline constexpr std::string_view api_client = "kubernetes.io/kube-apiserver-client";
inline constexpr std::string_view kubelet_client = "kubernetes.io/kube-apiserver-client-kubelet";
inline constexpr std::string_view kubelet_serving = "kubernetes.io/kubelet-serving";
}  // namespace signers

// Whether there is a condition of the type, whatever its status says: an approval is one by being there.
bool has_condition(const json::value& request, std::string_view type);
bool has_certificate(const json::value& request);
// spec.request; nullopt when it can't be read, which the API refuses to store.
std::optional<crypto::certificate_request> request_in(const json::value& request);

// Why a request isn't one that the signer signs, in kube-controller-manager's words; empty: it is. `request` is the
// object, `asked` what is in it.
std::string refusal(std::string_view signer, const json::value& request, const crypto::certificate_request& asked);

}  // namespace kedge::control
