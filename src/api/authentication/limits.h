// limits.h: the bounds of this room, with the reason for each number.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace kedge::api {

// Verified service account tokens that one core remembers (signature checks are the expensive part; bound objects are
// looked up again each time). Every pod has one token.
inline constexpr std::size_t verified_tokens_max = 4'096;

// How long a connection's bearer token counts as checked while the cluster stays as it is: its times are in whole
// seconds.
inline constexpr std::chrono::seconds token_recheck{1};
// How long a connection's certificate of the wrong time is refused before it is looked at again: a clock may have been
// set. That costs some hundred microseconds.
inline constexpr std::chrono::seconds certificate_recheck{1};

// A bearer token longer than this is refused before anything is computed. The real ones are below 2 KiB.
inline constexpr std::size_t bearer_token_max_bytes = 16 * 1024;

// TokenRequest: the least and greatest validity that a client may ask for (kube-apiserver's numbers).
inline constexpr std::int64_t token_seconds_min = 600;
inline constexpr std::int64_t token_seconds_max = std::int64_t{1} << 32;
inline constexpr std::int64_t token_seconds_default = 3'600;
// A token asked for with exactly this validity, for the API itself and bound to a pod, is one that the ServiceAccount
// admission plugin put there: it is issued for a year, so that clients that never reread it survive; `warnafter` tells.
inline constexpr std::int64_t token_seconds_injected = 3'607;
inline constexpr std::int64_t token_seconds_extended = 365 * 24 * 3'600;

// A token stays good this long after the object that it is bound to began to be deleted: the pod's last requests.
inline constexpr std::chrono::seconds bound_object_leeway{60};

// Extra fields and groups taken over from front proxy and impersonation headers: hostile headers are already bounded by
// HTTP's limits; this bounds what is kept per user.
inline constexpr std::size_t user_groups_max = 1'024;

// --- issuers of JWTs
// kube-apiserver's: between two attempts at an issuer that could not be asked, and the time of one.
inline constexpr std::chrono::seconds oidc_retry_pause{10}, oidc_fetch_time{30};
// Between two looks at an issuer's keys because a token was signed by none of them: such tokens come as often as their
// sender likes, and who has rotated his keys waits no longer than this.
inline constexpr std::chrono::seconds oidc_refresh_pause{1};
// go-oidc's: how far an issuer's clock may be ahead.
inline constexpr std::chrono::minutes oidc_not_before_leeway{5};
// Discovery documents and key sets: some KiB.
inline constexpr std::size_t oidc_document_max_bytes = 1024 * 1024;

// --- tokens that others vouch for
// kube-apiserver's: how long an issuer's good token is taken as such without another look.
inline constexpr std::chrono::seconds token_good_time{10};
// Answers that one core remembers.
inline constexpr std::size_t source_answers_max = 4'096;

}  // namespace kedge::api
