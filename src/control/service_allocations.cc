// service_allocations.cc: gives back cluster IPs and node ports that no Service has: their server died, or lost its
// client, between taking them and writing the Service. One that nobody has may be about to be written, so that it stays
// for a while.
#include <map>

#include "api/write/reservations.h"
#include "base/log.h"
#include "control/controller.h"
#include "json/parse.h"

namespace kedge::control {

namespace {

constexpr auto check_interval = std::chrono::minutes(3);  // kube-apiserver's repair loops
// Longer than any request lives, and than a server that was stopped and wakes goes on with one.
constexpr auto grace = std::chrono::minutes(10);

const api::resource_id services{"", "v1", "services"};
const api::resource_id addresses{"networking.k8s.io", "v1", "ipaddresses"};
constexpr std::string_view node_ports = "nodeports";

bool has_port(const json::value& service, std::string_view port) {
  auto is = [&](const json::value& v) { return v.is_integer() && std::to_string(v.as_integer()) == port; };
  auto& ports = service["spec"]["ports"];
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (is(ports[i]["nodePort"])) return true;
  return is(service["spec"]["healthCheckNodePort"]);
}

bool has_address(const json::value& service, std::string_view address) {
  if (service["spec"]["clusterIP"].as_string() == address) return true;
  auto& all = service["spec"]["clusterIPs"];
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].as_string() == address) return true;
  return false;
}

struct unused {
  store::revision at;
  time_point since;
};
using unused_map = std::map<std::string, unused>;  // by key

}  // namespace

task<void> run_service_allocations(context& c) {
  auto& store = c.objects.objects_store();
  auto port_prefix = api::reservations_prefix(node_ports), address_prefix = c.objects.prefix(addresses);
  unused_map seen;
  for (;;) {
    unused_map now_unused;
    auto now = reactor::loop::current().now();
    auto note = [&](const store::object_ref& o) {
      auto key = std::string(o->key());
      auto known = seen.find(key);
      bool same = known != seen.end() && known->second.at == o->mod();
      now_unused.emplace(std::move(key), unused{o->mod(), same ? known->second.since : now});
    };
    auto rows = store.current();
    rows.scan(port_prefix, {}, [&](const store::object_ref& o) {
      auto r = api::parse_reservation(*o);
      auto service = c.objects.get(services, r.ns, r.name);
      if (!service || (*service)["metadata"]["uid"].as_string() != r.uid ||
          !has_port(*service, name_under(port_prefix, o->key())))
        note(o);
      return true;
    });
    rows.scan(address_prefix, {}, [&](const store::object_ref& o) {
      auto v = json::parse(o->bytes());
      if (!v || (*v)["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"].as_string() != "ipallocator.k8s.io")
        return true;
      auto& parent = (*v)["spec"]["parentRef"];
      if (parent["resource"].as_string() != "services") return true;
      auto service = c.objects.get(services, parent["namespace"].as_string(), parent["name"].as_string());
      if (!service || !has_address(*service, name_under(address_prefix, o->key()))) note(o);
      return true;
    });
    rows = {};
    seen = std::move(now_unused);
    for (auto& [key, u] : seen) {
      if (now - u.since < grace) continue;
      log::info("{} is given back: no service has it", key);
      (void)co_await store.write({store::write_kind::remove, key, {}, u.at, 0});
    }
    co_await reactor::sleep_for(check_interval);
  }
}

}  // namespace kedge::control
