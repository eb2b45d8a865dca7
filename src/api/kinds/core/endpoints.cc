// endpoints.cc: Endpoints.
#include "api/kinds/core/warnings.h"
#include "api/registry/kind_rules.h"

namespace kedge::api {
namespace {

void check_address(causes& out, const json::value& a, const place& at) {
  auto ip = a["ip"].as_string(), host = a["hostname"].as_string();
  const place of_ip(at, "ip");
  add_problems(out, of_ip, ip, check_ip(ip));
  if (!host.empty()) add_problems(out, place(at, "hostname"), host, check_dns1123_label(host));
  if (auto& node = a["nodeName"]; node.is_string())
    add_problems(out, place(at, "nodeName"), node, check_dns1123_subdomain(node.as_string()));
  add_problems(out, of_ip, ip, check_endpoint_ip(ip));
}

void check_port(causes& out, const json::value& p, const place& at, bool name_needed) {
  if (auto name = p["name"].as_string(); !name.empty())
    add_problems(out, place(at, "name"), name, check_dns1123_label(name));
  else if (name_needed)
    out.push_back(required(place(at, "name")));
  add_problems(out, place(at, "port"), p["port"].as_integer(), check_port_number(p["port"].as_integer()));
  one_of_needed(out, p, at, "protocol", {"SCTP", "TCP", "UDP"});
  if (auto& app = p["appProtocol"]; app.is_string())
    add_problems(out, place(at, "appProtocol"), app, check_qualified_name(app.as_string()));
}

void validate(causes& out, const json::value& o) {
  auto& subsets = o["subsets"];
  const place at("subsets");
  for (std::size_t i = 0; i < subsets.size(); ++i) {
    const place here(at, i);
    auto& s = subsets[i];
    if (s["addresses"].empty() && s["notReadyAddresses"].empty())
      out.push_back(required(here, "must specify `addresses` or `notReadyAddresses`"));
    for (auto list : {"addresses", "notReadyAddresses"})
      for (std::size_t j = 0; j < s[list].size(); ++j) check_address(out, s[list][j], place(here, list, j));
    for (std::size_t j = 0; j < s["ports"].size(); ++j)
      check_port(out, s["ports"][j], place(here, "ports", j), s["ports"].size() > 1);
  }
}

// What stands already may stay as it is.
void validate_update(causes& out, const json::value& o, const json::value& old) {
  if (!(o["subsets"] == old["subsets"])) validate(out, o);
}

void warn(warnings& out, const json::value& o, const json::value*) {
  if (o["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"].as_string() == "endpoint-controller") return;
  auto& subsets = o["subsets"];
  const place at("subsets");
  for (std::size_t i = 0; i < subsets.size(); ++i) {
    const place here(at, i);
    for (auto list : {"addresses", "notReadyAddresses"})
      for (std::size_t j = 0; j < subsets[i][list].size(); ++j) {
        const place of_address(here, list, j);
        warn_ip(out, subsets[i][list][j]["ip"].as_string(), place(of_address, "ip"));
      }
  }
}

}  // namespace

const kind_rules kinds::endpoints{.group = "",
                                  .resource = "endpoints",
                                  .create_by_update = true,
                                  .validate = validate,
                                  .validate_update = validate_update,
                                  .warn = warn};

}  // namespace kedge::api
