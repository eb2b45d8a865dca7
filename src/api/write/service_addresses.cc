#include "api/write/service_addresses.h"

#include <arpa/inet.h>
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
constexpr std::string_view service_prefix = "/registry/services/specs/";
constexpr std::string_view node_ports = "nodeports";

struct range {
  std::uint32_t first = 0, size = 0;  // without the network's own address
};

std::optional<std::uint32_t> ipv4(std::string_view text) {
  in_addr a{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &a) != 1) return std::nullopt;
  return ntohl(a.s_addr);
}

std::string ipv4_text(std::uint32_t n) {
  return fmt::format("{}.{}.{}.{}", n >> 24, (n >> 16) & 255, (n >> 8) & 255, n & 255);
}

range parse_cidr(std::string_view cidr) {
  auto slash = cidr.find('/');
  auto base = ipv4(cidr.substr(0, slash));
  auto bits = slash == std::string_view::npos ? std::optional<std::uint64_t>() : parse_uint(cidr.substr(slash + 1));
  if (!base || !bits || *bits > 30 || *bits == 0) return {};
  const std::uint32_t size = std::uint32_t{1} << (32 - *bits);
  // The first address is the network's, the last the broadcast's.
  return {(*base & ~(size - 1)) + 1, size - 2};
}

json::value address_object(const std::string& ip, const json::value& service, wall_time now, random_source& random) {
  auto& m = service["metadata"];
  return json::object{
      {"kind", "IPAddress"},
      {"apiVersion", "networking.k8s.io/v1"},
      {"metadata",
       json::object{{"name", ip},
                    {"uid", random.uuid()},
                    {"creationTimestamp", format_rfc3339(now)},
                    {"labels", json::object{{"ipaddress.kubernetes.io/ip-family", "IPv4"},
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
  auto ip = std::string(old["spec"]["clusterIP"].as_string());
  if (ip.empty() || ip == "None" || (service && (*service)["spec"]["clusterIP"].as_string() == ip)) co_return;
  (void)co_await s.write({store::write_kind::remove, std::string(address_prefix) + ip, {}, 0, 0});
}

task<api_result<void>> allocation::claim(json::value& service, const json::value* old, bool dry_run,
                                         const store::snapshot& cluster, random_source& random) {
  auto type = service["spec"]["type"].as_string();
  if (type == "ExternalName") co_return api_result<void>();
  auto ip = service["spec"]["clusterIP"].as_string();
  const bool has_already = old && !ip.empty() && (*old)["spec"]["clusterIP"].as_string() == ip;
  if (ip != "None" && !has_already) KEDGE_CO_CHECK(co_await claim_address(service, dry_run, cluster, random));
  if (!service["spec"]["clusterIP"].as_string().empty() && service["spec"]["clusterIPs"].empty())
    service.member("spec").set("clusterIPs", json::array{service["spec"]["clusterIP"]});
  uid_ = service["metadata"]["uid"].as_string();
  co_return co_await claim_ports(service, old, dry_run, cluster, random);
}

task<api_result<void>> allocation::claim_address(json::value& service, bool dry_run, const store::snapshot& cluster,
                                                 random_source& random) {
  const auto all = parse_cidr(ranges_.cluster_cidr);
  auto& spec = service.member("spec");
  auto& l = reactor::loop::current();
  auto wanted = std::string(service["spec"]["clusterIP"].as_string());
  auto refused = [&](std::string why) {
    json::value shown = json::array{json::value(wanted)};
    return fail(refuse(
        service, invalid_value("spec.clusterIPs", shown, fmt::format("failed to allocate IP {}: {}", wanted, why))));
  };
  if (!wanted.empty()) {
    auto n = ipv4(wanted);
    if (!n || *n < all.first || *n - all.first >= all.size)
      co_return refused(fmt::format("the provided IP ({}) is not in the valid range. The range of valid IPs is {}",
                                    wanted, ranges_.cluster_cidr));
    if (cluster.find(std::string(address_prefix) + wanted)) co_return refused("provided IP is already allocated");
    if (dry_run) co_return api_result<void>();
    auto done = co_await store_.write({store::write_kind::create, std::string(address_prefix) + wanted,
                                       json::write(address_object(wanted, service, l.wall_now(), random)), 0, 0});
    if (!done && done.error().code == errc::already_exists) co_return refused("provided IP is already allocated");
    if (!done) co_return fail(from_error(done.error()));
    addresses_.push_back(wanted);
    co_return api_result<void>();
  }
  if (all.size == 0) co_return fail(internal_error("failed to allocate a serviceIP: no service range is configured"));
  // The lower band is for addresses that users choose; random above it first.
  const auto band = std::min(std::min(std::max<std::uint32_t>(16, (all.size + 2) / 16), 256u), all.size / 2);
  for (int tries = 0; tries < 512; ++tries) {
    const bool low = tries >= 256;
    auto n = low ? all.first + static_cast<std::uint32_t>(random.below(all.size))
                 : all.first + band + static_cast<std::uint32_t>(random.below(all.size - band));
    auto ip = ipv4_text(n);
    if (cluster.find(std::string(address_prefix) + ip)) continue;
    if (!dry_run) {
      auto done = co_await store_.write({store::write_kind::create, std::string(address_prefix) + ip,
                                         json::write(address_object(ip, service, l.wall_now(), random)), 0, 0});
      if (!done && done.error().code == errc::already_exists) continue;
      if (!done) co_return fail(from_error(done.error()));
      addresses_.push_back(ip);
    }
    spec.set("clusterIP", ip);
    spec.set("clusterIPs", json::array{json::value(ip)});
    co_return api_result<void>();
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
