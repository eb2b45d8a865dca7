// loopback.cc: a pod's own 127.0.0.1.

#include "node/cni/plugin.h"
#include "node/network/links.h"

namespace kedge::node::cni {

result<json::value> loopback_add(const request& r) {
  link_info lo;
  KEDGE_CHECK(netlink::in_namespace(r.network_namespace, [&]() -> result<void> {
    KEDGE_TRY(auto inside, links::open());
    KEDGE_TRY(lo, inside.find(r.interface));
    return inside.set_up(lo.index);
  }));
  if (!r.previous().is_null()) return r.previous();
  return json::value(json::object{
      {"interfaces",
       json::array{json::object{{"name", lo.name}, {"mac", mac_text(lo.mac)}, {"sandbox", r.network_namespace}}}},
      {"ips", json::array{json::object{{"interface", 0}, {"address", "127.0.0.1/8"}},
                          json::object{{"interface", 0}, {"address", "::1/128"}}}},
      {"dns", json::object{}}});
}

result<void> loopback_del(const request&) { return {}; }  // it goes with the namespace

result<void> loopback_check(const request& r) {
  return netlink::in_namespace(r.network_namespace, [&]() -> result<void> {
    KEDGE_TRY(auto inside, links::open());
    KEDGE_TRY(auto lo, inside.find(r.interface));
    if (!lo.up) return fail(errc::internal, r.interface + " is down");
    return {};
  });
}

}  // namespace kedge::node::cni
