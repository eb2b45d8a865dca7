#include "api/metrics/callout_metrics.h"

namespace kedge::api {

std::function<void(callout::client::flaw)> count_flaws(metrics& all) {
  auto& nameless = all.counter(
      "apiserver_webhooks_x509_missing_san_total",
      "Counts the number of requests to servers missing SAN extension in their serving certificate OR the number of "
      "connection failures due to the lack of x509 certificate SAN extension missing (either/or, based on the runtime "
      "environment)",
      "");
  auto& weakly_signed = all.counter(
      "apiserver_webhooks_x509_insecure_sha1_total",
      "Counts the number of requests to servers with insecure SHA1 signatures in their serving certificate OR the "
      "number of connection failures due to the insecure SHA1 signatures (either/or, based on the runtime environment)",
      "");
  return [&nameless, &weakly_signed](callout::client::flaw f) {
    (f == callout::client::flaw::nameless ? nameless : weakly_signed).add();
  };
}

}  // namespace kedge::api
