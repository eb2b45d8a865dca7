// service_addresses.h: cluster IPs and node ports.
//
// A cluster IP belongs to whoever created the IPAddress object of its name: the store decides between servers. Node ports have
// no such object: taken are those of existing services and those that a create of this process holds at the moment.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/status.h"
#include "base/random.h"
#include "json/value.h"
#include "store/store.h"

namespace kedge::api {

struct service_ranges {
  std::string cluster_cidr = "10.43.0.0/16";  // K3s' --service-cidr; IPv4
  int first_port = 30000, last_port = 32767;
  // Ports held by writes that are under way, one flag a port. Relaxed is enough: a flag guards no other memory, and
  // exchange() alone decides who has it.
  std::shared_ptr<std::vector<std::atomic<bool>>> held = std::make_shared<std::vector<std::atomic<bool>>>(65536);
};

// What one write allocated: given back unless kept.
class allocation {
 public:
  allocation(store::store& s, const service_ranges& r) : store_(s), ranges_(r) {}
  allocation(const allocation&) = delete;
  allocation& operator=(const allocation&) = delete;
  ~allocation();

  // Fills in and claims addresses and ports of `service`; `old` is null on create. 422 causes as the real server's.
  task<api_result<void>> claim(json::value& service, const json::value* old, bool dry_run, const store::snapshot& cluster, random_source& random);
  // Undoes the claims of addresses (the write failed).
  task<void> give_back();
  // Gives back what `old` had and `service` (null: deleted) no longer has.
  static task<void> release(store::store& s, const json::value& old, const json::value* service);

 private:
  task<api_result<void>> claim_address(json::value& service, bool dry_run, const store::snapshot& cluster, random_source& random);
  api_result<void> claim_ports(json::value& service, const json::value* old, const store::snapshot& cluster, random_source& random);
  bool hold_port(int port);

  store::store& store_;
  const service_ranges& ranges_;
  std::vector<std::string> addresses_;
  std::vector<int> ports_;
};

}  // namespace kedge::api
