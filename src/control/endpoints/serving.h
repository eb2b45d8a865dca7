// serving.h: which pods serve a Service, by which of their ports and addresses. What the controllers of EndpointSlices
// and of Endpoints share.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/shell.h"
#include "meta/selector.h"

namespace kedge::control {

inline const api::resource_id services{"", "v1", "services"};
inline constexpr std::string_view trigger_note = "endpoints.kubernetes.io/last-change-trigger-time";

bool has_address(const json::value& service);  // a cluster IP, and not "None"
std::vector<std::string> families_of(const json::value& service);
// The port of the pod that the service's port means; nullopt when the pod has none of that name.
std::optional<std::int64_t> port_of(const json::value& pod, const json::value& port);
// The pods that its selector means.
std::vector<const json::value*> pods_of(const view& cluster, const json::value& service);
bool serves(const json::value& pod);  // it has an address, and hasn't ended
// Names a key, `batch` later: until then what else happens to it is the same piece of work.
void add_batched(keys& k, const std::string& key, duration batch);
// Those of a pod's addresses that are of a family ("IPv4", "IPv6").
json::array addresses_of(const json::value& pod, std::string_view family);
// When what makes a change happened, for the annotation that tells how old it is: the earliest of the service's and its
// pods' times that are new since the look before. In mind; lost, it is told once more.
class trigger_times {
 public:
  // Empty: nothing is new.
  std::string of(const std::string& key, const json::value& service, const std::vector<const json::value*>& selected);
  void forget(const std::string& key) { known_.erase(key); }

 private:
  struct times {
    std::string service;
    std::map<std::string, std::string, std::less<>> pods;  // by name
  };
  std::map<std::string, times, std::less<>> known_;
};

// The selectors of all Services, from their events: whom a pod's change concerns.
class service_selectors {
 public:
  void service_changed(const seen& s, keys& k);
  void pod_changed(const seen& s, keys& k, duration batch) const;
  void name_all(keys& k) const;

 private:
  using selectors = std::map<std::string, api::label_selector, std::less<>>;  // by service
  std::map<std::string, selectors, std::less<>> by_namespace_;
};

}  // namespace kedge::control
