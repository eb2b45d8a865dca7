#include "api/write/service_addresses.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/write/reservations.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

constexpr std::string_view address_prefix = "/registry/ipaddresses/";
constexpr std::string_view range_prefix = "/registry/servicecidrs/";
constexpr std::string_view service_prefix = "/registry/services/specs/";
constexpr std::string_view node_ports = "nodeports";

// Beyond this many that are tried, the range counts as full: each is a look into the snapshot.
constexpr int random_tries = 256;
constexpr std::uint64_t tries_in_order_max = 65'536;
constexpr std::uint64_t tries_in_a_turn = 512;

bool is_usable(const ip_range& r) { return r.is_v4() ? r.prefix() <= 30 : r.prefix() >= 64 && r.prefix() <= 126; }

// The number of the last address that a Service may have; the first is 1. IPv4's last is the network's broadcast.
std::uint64_t last_of(const ip_range& r) { return r.is_v4() ? r.size() - 1 : r.size(); }

bool gives(const ip_range& r, const ip_address& a) {
  return r.contains(a) && a != r.network() && !(r.is_v4() && a == r.at(r.size()));
}

// Ready means that every server has heard of it, and that it isn't about to go.
bool is_ready(const json::value& range) {
  if (range["metadata"]["deletionTimestamp"].is_string()) return false;
  auto& conditions = range["status"]["conditions"];
  for (std::size_t i = 0; i < conditions.size(); ++i)
    if (conditions[i]["type"].as_string() == "Ready") return conditions[i]["status"].as_string() == "True";
  return false;
}

// The server's own first, then what objects add.
std::vector<ip_range> ranges_of(const service_ranges& own, std::string_view family, const store::snapshot& cluster) {
  std::vector<ip_range> out;
  auto add = [&](const ip_range& r) {
    if (service_ranges::family(r) == family && is_usable(r) && std::ranges::find(out, r) == out.end()) out.push_back(r);
  };
  for (auto& r : own.cidrs) add(r);
  cluster.scan(range_prefix, {}, [&](const store::object_ref& o) {
    auto v = json::parse(o->bytes());
    if (!v || !is_ready(*v)) return true;
    auto& list = (*v)["spec"]["cidrs"];
    for (std::size_t i = 0; i < list.size(); ++i)
      if (auto r = ip_range::parse(list[i].as_string())) add(*r);
    return true;
  });
  return out;
}

json::value address_object(const ip_address& ip, const json::value& service, wall_time now, random_source& random) {
  auto& m = service["metadata"];
  return json::object{
      {"kind", "IPAddress"},
      {"apiVersion", "networking.k8s.io/v1"},
      {"metadata",
       json::object{{"name", ip.text()},
                    {"uid", random.uuid()},
                    {"creationTimestamp", format_rfc3339(now)},
                    {"labels", json::object{{"ipaddress.kubernetes.io/ip-family", ip.is_v4() ? "IPv4" : "IPv6"},
                                            {"ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"}}}}},
      {"spec", json::object{{"parentRef", json::object{{"group", ""},
                                                       {"resource", "services"},
                                                       {"namespace", m["namespace"]},
                                                       {"name", m["name"]}}}}}};
}

bool wants_ports(const json::value& service) {
  auto type = service["spec"]["type"].as_string();
  if (type == "NodePort") return true;
  return type == "LoadBalancer" && service["spec"]["allocateLoadBalancerNodePorts"].as_bool(true);
}

std::string protocol_of(const json::value& port) { return std::string(port["protocol"].as_string("TCP")); }

void collect_ports(const json::value& service, std::set<int>& out) {
  auto& ports = service["spec"]["ports"];
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (auto n = ports[i]["nodePort"].as_integer()) out.insert(static_cast<int>(n));
  if (auto n = service["spec"]["healthCheckNodePort"].as_integer()) out.insert(static_cast<int>(n));
}

std::set<int> taken_ports(const store::snapshot& cluster, std::string_view except_uid) {
  std::set<int> out;
  cluster.scan(service_prefix, {}, [&](const store::object_ref& o) {
    if (o->bytes().find("\"nodePort\"") == std::string_view::npos &&
        o->bytes().find("\"healthCheckNodePort\"") == std::string_view::npos)
      return true;
    auto v = json::parse(o->bytes());
    if (v && (except_uid.empty() || (*v)["metadata"]["uid"].as_string() != except_uid)) collect_ports(*v, out);
    return true;
  });
  return out;
}

std::vector<std::string> addresses_of(const json::value& service) {
  std::vector<std::string> out;
  auto add = [&](const json::value& v) {
    auto ip = std::string(v.as_string());
    if (!ip.empty() && ip != "None" && std::ranges::find(out, ip) == out.end()) out.push_back(std::move(ip));
  };
  add(service["spec"]["clusterIP"]);
  auto& list = service["spec"]["clusterIPs"];
  for (std::size_t i = 0; i < list.size(); ++i) add(list[i]);
  return out;
}

status refuse(const json::value& service, cause c) {
  return invalid("", "Service", service["metadata"]["name"].as_string(), {std::move(c)});
}

}  // namespace

task<void> allocation::give_back() {
  for (auto& ip : addresses_)
    (void)co_await store_.write({store::write_kind::remove, std::string(address_prefix) + ip, {}, 0, 0});
  addresses_.clear();
  for (int p : ports_) co_await drop_reservation(store_, node_ports, std::to_string(p), uid_);
  ports_.clear();
}

task<void> allocation::release(store::store& s, const json::value& old, const json::value* service) {
  std::set<int> had, has;
  collect_ports(old, had);
  if (service) collect_ports(*service, has);
  for (int p : had)
    if (!has.contains(p))
      co_await drop_reservation(s, node_ports, std::to_string(p), old["metadata"]["uid"].as_string());
  auto gone = addresses_of(old);
  if (service)
    for (auto& kept : addresses_of(*service)) std::erase(gone, kept);
  for (auto& ip : gone) (void)co_await s.write({store::write_kind::remove, std::string(address_prefix) + ip, {}, 0, 0});
}

task<api_result<void>> allocation::claim(json::value& service, const json::value* old, bool dry_run,
                                         const store::snapshot& cluster, random_source& random) {
  auto type = service["spec"]["type"].as_string();
  if (type == "ExternalName") co_return api_result<void>();
  if (service["spec"]["clusterIP"].as_string() != "None")
    KEDGE_CO_CHECK(co_await claim_addresses(service, old, dry_run, cluster, random));
  if (!service["spec"]["clusterIP"].as_string().empty() && service["spec"]["clusterIPs"].empty())
    service.member("spec").set("clusterIPs", json::array{service["spec"]["clusterIP"]});
  uid_ = service["metadata"]["uid"].as_string();
  co_return co_await claim_ports(service, old, dry_run, cluster, random);
}

// One of each of the Service's families, in their order.
task<api_result<void>> allocation::claim_addresses(json::value& service, const json::value* old, bool dry_run,
                                                   const store::snapshot& cluster, random_source& random) {
  const auto had = old ? addresses_of(*old) : std::vector<std::string>();
  json::array chosen;
  const auto families = service["spec"]["ipFamilies"].size();
  for (std::size_t i = 0; i < families; ++i) {
    auto family = std::string(service["spec"]["ipFamilies"][i].as_string());
    auto wanted = std::string(service["spec"]["clusterIPs"][i].as_string());
    if (wanted.empty()) {
      KEDGE_CO_TRY(wanted, co_await pick_address(service, family, dry_run, cluster, random));
    } else if (std::ranges::find(had, wanted) == had.end()) {
      auto refused = [&](std::string why) {
        return fail(refuse(service, invalid_value("spec.clusterIPs", service["spec"]["clusterIPs"],
                                                  fmt::format("failed to allocate IP {}: {}", wanted, why))));
      };
      auto address = ip_address::parse_sloppy(wanted);
      auto all = ranges_of(ranges_, family, cluster);
      if (!address || std::ranges::none_of(all, [&](auto& r) { return gives(r, *address); })) {
        std::vector<std::string> texts;
        for (auto& r : all) texts.push_back(r.text());
        co_return refused(fmt::format("the provided IP ({}) is not in the valid range. The range of valid IPs is {}",
                                      wanted, join(texts, ",")));
      }
      KEDGE_CO_TRY(auto ours, co_await take_address(*address, service, dry_run, cluster, random));
      if (!ours) co_return refused("provided IP is already allocated");
    }
    chosen.emplace_back(std::move(wanted));
  }
  if (chosen.empty()) co_return api_result<void>();
  auto& spec = service.member("spec");
  spec.set("clusterIP", chosen.front());
  spec.set("clusterIPs", std::move(chosen));
  co_return api_result<void>();
}

// False: it is taken.
task<api_result<bool>> allocation::take_address(ip_address a, const json::value& service, bool dry_run,
                                                const store::snapshot& cluster, random_source& random) {
  auto name = a.text();
  if (cluster.find(std::string(address_prefix) + name)) co_return false;
  if (dry_run) co_return true;
  auto object = address_object(a, service, reactor::loop::current().wall_now(), random);
  auto done =
      co_await store_.write({store::write_kind::create, std::string(address_prefix) + name, json::write(object), 0, 0});
  if (!done && done.error().code == errc::already_exists) co_return false;
  if (!done) co_return fail(from_error(done.error()));
  addresses_.push_back(std::move(name));
  co_return true;
}

// The lower band is for addresses that users choose: random ones above it, then in order, then the band.
task<api_result<std::string>> allocation::pick_address(const json::value& service, std::string family, bool dry_run,
                                                       const store::snapshot& cluster, random_source& random) {
  auto all = ranges_of(ranges_, family, cluster);
  if (all.empty()) co_return fail(internal_error("failed to allocate a serviceIP: no service range is configured"));
  for (auto& r : all) {
    const auto last = last_of(r);
    const auto band =
        std::min<std::uint64_t>(std::min<std::uint64_t>(std::max<std::uint64_t>(16, last / 16), 256), last / 2);
    auto try_one = [&](std::uint64_t i) { return take_address(r.at(i).value(), service, dry_run, cluster, random); };
    for (int tries = 0; tries < random_tries; ++tries) {
      const auto i = band + 1 + random.below(last - band);
      KEDGE_CO_TRY(auto ours, co_await try_one(i));
      if (ours) co_return r.at(i)->text();
    }
    for (auto [first, size] : {std::pair{band + 1, last - band}, std::pair{std::uint64_t(1), band}}) {
      if (size == 0) continue;
      const auto start = random.below(size);
      for (std::uint64_t n = 0; n < std::min(size, tries_in_order_max); ++n) {
        const auto i = first + (start + n) % size;
        KEDGE_CO_TRY(auto ours, co_await try_one(i));
        if (ours) co_return r.at(i)->text();
        if (n % tries_in_a_turn == 0) co_await reactor::maybe_yield();
      }
    }
  }
  co_return fail(internal_error("failed to allocate a serviceIP: range is full"));
}

// False: it is taken.
task<api_result<bool>> allocation::take_port(int port, const json::value& service, bool dry_run,
                                             const store::snapshot& cluster) {
  auto what = std::to_string(port);
  if (cluster.find(reservation_key(node_ports, what))) co_return false;
  if (dry_run) co_return true;
  auto done = co_await reserve(store_, node_ports, what, service);
  if (!done) co_return fail(from_error(done.error()));
  if (*done) ports_.push_back(port);
  co_return *done;
}

task<api_result<int>> allocation::pick_port(const json::value& service, const std::set<int>& taken, bool dry_run,
                                            const store::snapshot& cluster, random_source& random) {
  const int count = ranges_.last_port - ranges_.first_port + 1;
  // The lower band is for ports that users choose; from a random one above it, and then the band.
  const int band = std::min({std::max(16, count / 32), 128, count / 2});
  for (auto [first, size] : {std::pair{ranges_.first_port + band, count - band}, std::pair{ranges_.first_port, band}}) {
    if (size <= 0) continue;
    const int start = static_cast<int>(random.below(static_cast<std::uint64_t>(size)));
    for (int i = 0; i < size; ++i) {
      const int p = first + (start + i) % size;
      if (taken.contains(p)) continue;
      KEDGE_CO_TRY(auto ours, co_await take_port(p, service, dry_run, cluster));
      if (ours) co_return p;
    }
  }
  co_return fail(internal_error("failed to allocate a nodePort: range is full"));
}

task<api_result<void>> allocation::claim_ports(json::value& service, const json::value* old, bool dry_run,
                                               const store::snapshot& cluster, random_source& random) {
  const bool health = service["spec"]["type"].as_string() == "LoadBalancer" &&
                      service["spec"]["externalTrafficPolicy"].as_string() == "Local";
  const bool wanted = wants_ports(service);
  auto list = service.member("spec").find("ports");
  if ((!wanted && !health) || !list || !list->array()) co_return api_result<void>();
  auto taken = taken_ports(cluster, old ? (*old)["metadata"]["uid"].as_string() : std::string_view());
  std::set<std::pair<int, std::string>> own;
  std::set<int> ours;
  if (old) collect_ports(*old, ours);
  auto& ports = *list->array();
  for (std::size_t i = 0; wanted && i < ports.size(); ++i) {
    auto n = static_cast<int>(ports[i]["nodePort"].as_integer());
    if (n == 0) continue;
    auto field = fmt::format("spec.ports[{}].nodePort", i);
    if (n < ranges_.first_port || n > ranges_.last_port)
      co_return fail(
          refuse(service,
                 invalid_value(field, n,
                               fmt::format("provided port is not in the valid range. The range of valid ports is {}-{}",
                                           ranges_.first_port, ranges_.last_port))));
    bool free = own.emplace(n, protocol_of(ports[i])).second && !taken.contains(n);
    if (free && !ours.contains(n)) {
      KEDGE_CO_TRY(free, co_await take_port(n, service, dry_run, cluster));
      ours.insert(n);
    }
    if (!free) co_return fail(refuse(service, invalid_value(field, n, "provided port is already allocated")));
  }
  // A port that the service had stays its own until it is stored without it.
  taken.insert(ours.begin(), ours.end());
  std::map<std::int64_t, std::vector<int>> chosen_for;  // node ports of a port, in order
  for (auto& p : ports)
    if (auto n = static_cast<int>(p["nodePort"].as_integer()); n != 0) chosen_for[p["port"].as_integer()].push_back(n);
  for (std::size_t i = 0; wanted && i < ports.size(); ++i) {
    if (ports[i]["nodePort"].as_integer() != 0) continue;
    int chosen = 0;
    // Ports of one service that differ in protocol only share a node port. There are three protocols, and so at most
    // three to a port.
    auto& same = chosen_for[ports[i]["port"].as_integer()];
    for (auto n : same)
      if (chosen == 0 && !own.contains({n, protocol_of(ports[i])})) chosen = n;
    if (chosen == 0) {
      KEDGE_CO_TRY(chosen, co_await pick_port(service, taken, dry_run, cluster, random));
      taken.insert(chosen);
    }
    own.emplace(chosen, protocol_of(ports[i]));
    same.push_back(chosen);
    ports[i].set("nodePort", chosen);
  }
  if (health && service["spec"]["healthCheckNodePort"].as_integer() == 0) {
    KEDGE_CO_TRY(auto p, co_await pick_port(service, taken, dry_run, cluster, random));
    service.member("spec").set("healthCheckNodePort", p);
  }
  co_return api_result<void>();
}

}  // namespace kedge::api
