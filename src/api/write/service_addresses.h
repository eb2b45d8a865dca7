// service_addresses.h: cluster IPs and node ports.
//
// A cluster IP belongs to whoever created the IPAddress object of its name; it is of the server's ranges, or of one
// that a ServiceCIDR which is ready adds. A node port belongs to whoever has its reservation (reservations.h): the
// store decides between servers. What a server took and, because it died, never gave to a service, the leader gives
// back (control/service_allocations.cc). Ports of services without a reservation (a K3s database's) are taken too.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "api/registry/service_ranges.h"
#include "base/random.h"
#include "json/value.h"
#include "meta/status.h"
#include "store/store.h"

namespace kedge::api {

// What one write allocated: given back unless kept.
class allocation {
 public:
  allocation(store::store& s, const service_ranges& r) : store_(s), ranges_(r) {}
  allocation(const allocation&) = delete;
  allocation& operator=(const allocation&) = delete;

  // Fills in and claims addresses and ports of `service`; `old` is null on create. 422 causes as the real server's.
  task<api_result<void>> claim(json::value& service, const json::value* old, bool dry_run,
                               const store::snapshot& cluster, random_source& random);
  // Undoes the claims (the write failed).
  task<void> give_back();
  // Gives back what `old` had and `service` (null: deleted) no longer has.
  static task<void> release(store::store& s, const json::value& old, const json::value* service);

 private:
  task<api_result<void>> claim_addresses(json::value& service, const json::value* old, bool dry_run,
                                         const store::snapshot& cluster, random_source& random);
  task<api_result<std::string>> pick_address(const json::value& service, std::string family, bool dry_run,
                                             const store::snapshot& cluster, random_source& random);
  task<api_result<bool>> take_address(ip_address a, const json::value& service, bool dry_run,
                                      const store::snapshot& cluster, random_source& random);
  task<api_result<void>> claim_ports(json::value& service, const json::value* old, bool dry_run,
                                     const store::snapshot& cluster, random_source& random);
  task<api_result<bool>> take_port(int port, const json::value& service, bool dry_run, const store::snapshot& cluster);
  task<api_result<int>> pick_port(const json::value& service, const std::set<int>& taken, bool dry_run,
                                  const store::snapshot& cluster, random_source& random);

  store::store& store_;
  const service_ranges& ranges_;
  std::vector<std::string> addresses_;
  std::vector<int> ports_;
  std::string uid_;  // of the service
};

}  // namespace kedge::api
