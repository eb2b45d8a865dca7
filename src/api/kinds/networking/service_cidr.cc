// service_cidr.cc: ServiceCIDR.
#include "api/registry/kind_rules.h"
#include "base/ip.h"
#include "meta/internal_form.h"

namespace kedge::api {
namespace {

constexpr std::string_view unchangeable = "field is immutable";

void check(causes& out, const json::value& spec) {
  auto& list = spec["cidrs"];
  const place at("spec.cidrs");
  if (list.empty()) return out.push_back(required(at, "at least one CIDR required"));
  if (list.size() > 2)
    return out.push_back(
        invalid_value(at, internal_form("networking/v1.ServiceCIDRSpec", spec), "may only hold up to 2 values"));
  for (std::size_t i = 0; i < list.size(); ++i)
    add_problems(out, place(at, i), list[i], check_canonical_cidr(list[i].as_string()));
  auto one = ip_range::parse_sloppy(list[0].as_string()), other = ip_range::parse_sloppy(list[1].as_string());
  if (one && other && one->is_v6() == other->is_v6())
    out.push_back(invalid_value(
        at, list, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"));
}

void validate(causes& out, const json::value& o) { check(out, o["spec"]); }

// A second range may come.
void validate_update(causes& out, const json::value& o, const json::value& old) {
  auto &list = o["spec"]["cidrs"], &before = old["spec"]["cidrs"];
  const place at("spec.cidrs");
  if (list.size() == before.size()) {
    for (std::size_t i = 0; i < list.size(); ++i)
      if (!(list[i] == before[i])) out.push_back(invalid_value(place(at, i), list[i], unchangeable));
  } else if (before.size() == 1 && list.size() == 2) {
    if (!(list[0] == before[0])) out.push_back(invalid_value(place(at, 0), list[0], unchangeable));
    check(out, o["spec"]);
  } else {
    out.push_back(invalid_value(at, list, unchangeable));
  }
}

void validate_part(causes&, const json::value&, const json::value&, std::string_view) {}

}  // namespace

const kind_rules kinds::service_cidrs{.group = "networking.k8s.io",
                                      .resource = "servicecidrs",
                                      .metadata_stands = true,
                                      .validate = validate,
                                      .validate_update = validate_update,
                                      .validate_part = validate_part};

}  // namespace kedge::api
