// services.h: which groups' versions other servers answer for: the APIServices that point to a service.
//
//   store's events of APIServices ─▶ an `api_service` for each that points elsewhere ─▶ a new table ─▶ swapped in:
//   requests that run keep the one they began with
//
// Those that point nowhere are this server's own; discovery has them from the registry.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/value.h"
#include "reactor/scope.h"
#include "reactor/sync.h"
#include "store/store.h"

namespace kedge::api::aggregation {

// What an APIService says of who answers and how he is known. Immutable, for any core.
struct api_service {
  std::string name, group, version;  // "v1alpha1.wardle.example.com"
  std::string service_namespace, service_name;
  std::uint16_t port = 443;  // of the service
  std::string ca_pem;        // empty: the system's authorities
  bool insecure = false;     // whoever answers is believed
  std::int64_t group_priority = 0, version_priority = 0;
  bool available = false;  // as its condition says

  std::string path() const { return "/apis/" + group + "/" + version; }
  std::string tls_name() const { return service_name + "." + service_namespace + ".svc"; }
  // Whether both lead to the same server, known by the same.
  bool leads_as(const api_service& other) const noexcept;
  friend bool operator==(const api_service&, const api_service&) = default;
};
using api_service_ref = std::shared_ptr<const api_service>;

// nullopt: it points to no service, or isn't one that may: the core group and the APIServices' own stay here.
std::optional<api_service> parse_api_service(const json::value& object);

// Immutable.
class service_table {
 public:
  service_table() = default;
  explicit service_table(std::vector<api_service_ref> all);

  bool empty() const noexcept { return all_.empty(); }
  const std::vector<api_service_ref>& all() const noexcept { return all_; }  // by name
  api_service_ref find(std::string_view group, std::string_view version) const noexcept;
  api_service_ref find_name(std::string_view name) const noexcept;
  // Who answers for a path as it is asked for, not decoded: "/apis/G/V" and what is below. null: this server.
  api_service_ref at_path(std::string_view path) const noexcept;

 private:
  std::vector<api_service_ref> all_;
};

// One a core, used on that core.
class services {
 public:
  // Reads what is there. `s` must outlive this.
  explicit services(store::store& s) : store_(s) { refresh(); }

  const std::shared_ptr<const service_table>& current() const noexcept { return now_; }
  // Looks at the store's state as this core sees it.
  void refresh();
  // Follows the APIServices from now on, until this is dropped.
  void follow() { following_.spawn(keep()); }
  // Until another table is there.
  auto changed() noexcept { return changed_.wait(); }

 private:
  task<void> keep();

  struct known {
    store::object_ref source;
    api_service_ref service;  // null: it points to none
  };
  store::store& store_;
  std::map<std::string, known, std::less<>> known_;  // by name
  std::shared_ptr<const service_table> now_ = std::make_shared<const service_table>();
  reactor::event changed_;    // pulsed
  reactor::scope following_;  // last: it ends first
};

const std::string& api_services_prefix();

}  // namespace kedge::api::aggregation
