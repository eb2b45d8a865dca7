// network.cc: services, endpoints and ingress.
#include <fmt/format.h>

#include "api/printers/prints.h"
#include "base/strings.h"

namespace kedge::api::print {
namespace {

std::string balancer_addresses(const json::value& o) {
  std::string out;
  auto& list = o["status"]["loadBalancer"]["ingress"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i) out += ',';
    out += or_text(list[i]["ip"], list[i]["hostname"].as_string());
  }
  return out;
}

std::string external_ip(const json::value& o) {
  auto type = o["spec"]["type"].as_string();
  if (type == "ExternalName") return std::string(o["spec"]["externalName"].as_string());
  auto given = o["spec"]["externalIPs"].empty() ? std::string() : joined(o["spec"]["externalIPs"]);
  if (type != "LoadBalancer") return given.empty() ? "<none>" : given;
  auto out = balancer_addresses(o);
  if (!given.empty()) out += (out.empty() ? "" : ",") + given;
  return out.empty() ? "<pending>" : out;
}

std::string service_ports(const json::value& ports) {
  std::string out;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (i) out += ',';
    out += std::to_string(ports[i]["port"].as_integer());
    if (auto n = ports[i]["nodePort"].as_integer(); n > 0) out += fmt::format(":{}", n);
    out += fmt::format("/{}", ports[i]["protocol"].as_string());
  }
  return out.empty() ? "<none>" : out;
}

// The first few of a longer list, as kubectl cuts it.
struct short_list {
  std::size_t most, count = 0;
  std::string text;
  void add(std::string_view item) {
    if (count++ >= most) return;
    if (!text.empty()) text += ',';
    text += item;
  }
  std::string done(std::string_view otherwise) const {
    if (count == 0) return std::string(otherwise);
    return count > most ? fmt::format("{} + {} more...", text, count - most) : text;
  }
};

}  // namespace

table_row endpoints(const json::value& o, wall_time now) {
  short_list list{.most = 3};
  for (std::size_t i = 0; i < o["subsets"].size(); ++i) {
    auto& s = o["subsets"][i];
    if (s["ports"].empty())
      for (std::size_t a = 0; a < s["addresses"].size(); ++a) list.add(s["addresses"][a]["ip"].as_string());
    for (std::size_t p = 0; p < s["ports"].size(); ++p)
      for (std::size_t a = 0; a < s["addresses"].size(); ++a) {
        auto ip = s["addresses"][a]["ip"].as_string();
        list.add(ip.find(':') == std::string_view::npos
                     ? fmt::format("{}:{}", ip, s["ports"][p]["port"].as_integer())
                     : fmt::format("[{}]:{}", ip, s["ports"][p]["port"].as_integer()));
      }
  }
  return {{name_cell(o), list.done("<none>"), age_of(o, now)}, {}};
}

table_row endpoint_slice(const json::value& o, wall_time now) {
  short_list ports{.most = 3}, addresses{.most = 3};
  for (std::size_t i = 0; i < o["ports"].size(); ++i) {
    auto& p = o["ports"][i];
    ports.add(p["port"].is_integer() ? std::to_string(p["port"].as_integer()) : or_text(p["name"], "*"));
  }
  for (std::size_t i = 0; i < o["endpoints"].size(); ++i)
    for (std::size_t a = 0; a < o["endpoints"][i]["addresses"].size(); ++a)
      addresses.add(o["endpoints"][i]["addresses"][a].as_string());
  return {{name_cell(o), o["addressType"], ports.done("<unset>"), addresses.done("<unset>"), age_of(o, now)}, {}};
}

table_row service(const json::value& o, wall_time now) {
  auto ip = o["spec"]["clusterIPs"].size() ? o["spec"]["clusterIPs"][0] : o["spec"]["clusterIP"];
  return {{name_cell(o), o["spec"]["type"], or_text(ip, "<none>"), external_ip(o), service_ports(o["spec"]["ports"]),
           age_of(o, now), format_labels(o["spec"]["selector"])},
          {}};
}

table_row ingress(const json::value& o, wall_time now) {
  short_list hosts{.most = 3};
  for (std::size_t i = 0; i < o["spec"]["rules"].size(); ++i)
    if (auto h = o["spec"]["rules"][i]["host"].as_string(); !h.empty()) hosts.add(h);
  return {{name_cell(o),
           or_text(o["spec"]["ingressClassName"],
                   or_text(o["metadata"]["annotations"]["kubernetes.io/ingress.class"], "<none>")),
           hosts.done("*"), balancer_addresses(o), o["spec"]["tls"].empty() ? "80" : "80, 443", age_of(o, now)},
          {}};
}

table_row ingress_class(const json::value& o, wall_time now) {
  auto& p = o["spec"]["parameters"];
  std::string text = "<none>";
  if (p.is_object()) {
    text = p["kind"].as_string();
    if (auto g = p["apiGroup"].as_string(); !g.empty()) text += fmt::format(".{}", g);
    text += fmt::format("/{}", p["name"].as_string());
  }
  return {{name_cell(o), o["spec"]["controller"], text, age_of(o, now)}, {}};
}

table_row ip_address(const json::value& o, wall_time) {
  auto& p = o["spec"]["parentRef"];
  auto resource = std::string(p["resource"].as_string());
  if (auto g = p["group"].as_string(); !g.empty()) resource += fmt::format(".{}", g);
  return {{name_cell(o), fmt::format("{}/{}/{}", resource, p["namespace"].as_string(), p["name"].as_string())}, {}};
}

table_row network_policy(const json::value& o, wall_time now) {
  return {{name_cell(o), format_selector(o["spec"]["podSelector"]), age_of(o, now)}, {}};
}
table_row service_cidr(const json::value& o, wall_time now) {
  return {{name_cell(o), joined(o["spec"]["cidrs"]), age_of(o, now)}, {}};
}

}  // namespace kedge::api::print
