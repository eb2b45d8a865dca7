// webhook_client.h: where a webhook is called: a URL, or a Service of the cluster.
#pragma once

#include "meta/validate.h"

namespace kedge::api {

// Of admission's and conversion's webhooks: exactly one of the two, and that well-formed. `at`: of the clientConfig.
void check_webhook_client(causes& out, const json::value& config, const place& at);

}  // namespace kedge::api
