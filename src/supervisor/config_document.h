// config_document.h: the answer to GET /v1-k3s/config: what an agent must know of its cluster, in K3s's field names.
#pragma once

#include <string>

#include "json/value.h"
#include "supervisor/config.h"

namespace kedge::supervisor {

// `ipsec_psk`: 96 hexadecimal characters; `sans`: the serving certificate's names. Tokens and datastore settings are
// never part of it.
json::value config_document(const config& c, const std::string& ipsec_psk, const std::vector<std::string>& sans);

// Flag → value of what all servers of a cluster must agree on (K3s's CriticalControlArgs).
json::value critical_settings(const config& c);

}  // namespace kedge::supervisor
