// dns_service.h: Service kube-system/kube-dns, under which K3s has the cluster's DNS. Each node answers at its address
// itself.
#pragma once

#include <string>
#include <vector>

#include "api/objects.h"

namespace kedge::supervisor {

// The object; null without addresses.
json::value dns_service(const std::vector<std::string>& addresses);

// Made when it is missing, so that nothing else gets its addresses (--cluster-dns) and who looks for it finds it. Fails
// when another Service has one of them.
task<result<void>> make_dns_service(api::objects& objects, std::vector<std::string> addresses);

}  // namespace kedge::supervisor
