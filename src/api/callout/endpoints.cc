#include "api/callout/endpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "api/callout/limits.h"
#include "base/strings.h"
#include "json/parse.h"
#include "meta/selector.h"
#include "schema/resources.h"

namespace kedge::api::callout {
namespace {

std::string prefix_of(std::string_view group, std::string_view plural, const std::string& ns) {
  return schema::resource_key_prefix(*schema::find_resource(group, "v1", plural)) + ns + "/";
}

std::vector<json::value> slices_in(const store::snapshot& cluster, const service& of) {
  std::vector<json::value> out;
  const auto which = slices_of(of.name);
  cluster.scan(prefix_of("discovery.k8s.io", "endpointslices", of.ns), {}, [&](const store::object_ref& o) {
    if (which.matches_text(o->labels_text()))
      if (auto v = json::parse(o->bytes())) out.push_back(*std::move(v));
    return out.size() < slices_max;
  });
  return out;
}

// Any order, but those of the family first.
void shuffle(std::vector<json::value>& slices, std::string_view family, random_source& random) {
  for (auto i = slices.size(); i > 1; --i) std::swap(slices[i - 1], slices[random.below(i)]);
  std::stable_partition(slices.begin(), slices.end(),
                        [&](const json::value& s) { return s["addressType"].as_string() == family; });
}

std::optional<endpoint> ready_in(const json::value& slice, std::string_view port_name, random_source& random) {
  auto &ports = slice["ports"], &endpoints = slice["endpoints"];
  for (std::size_t p = 0; p < ports.size() && !endpoints.empty(); ++p) {
    const auto port = ports[p]["port"].as_integer();
    if (ports[p]["name"].as_string() != port_name || port <= 0 || port > 65535) continue;
    const auto offset = random.below(endpoints.size());
    for (std::size_t i = 0; i < endpoints.size(); ++i) {
      auto& one = endpoints[(i + offset) % endpoints.size()];
      if (!one["conditions"]["ready"].as_bool(true)) continue;
      return endpoint{std::string(one["addresses"][0].as_string()), static_cast<std::uint16_t>(port),
                      std::string(one["nodeName"].as_string())};
    }
  }
  return std::nullopt;
}

}  // namespace

result<endpoint> choose_endpoint(const store::snapshot& cluster, const service& of, random_source& random) {
  auto found = cluster.find(prefix_of("", "services", of.ns) + of.name);
  if (!found) return fail(errc::not_found, fmt::format("service {} not found", quote(of.name)));
  KEDGE_TRY(auto stored, json::parse(found->bytes()));
  auto& spec = stored["spec"];
  if (spec["type"].as_string() == "ExternalName")
    return endpoint{std::string(spec["externalName"].as_string()), of.port, {}};
  auto& ports = spec["ports"];
  std::size_t i = 0;
  while (i < ports.size() && ports[i]["port"].as_integer() != of.port) ++i;
  if (i == ports.size())
    return fail(errc::unavailable, fmt::format("no service port {} found for service {}", of.port, quote(of.name)));
  auto slices = slices_in(cluster, of);
  shuffle(slices, spec["ipFamilies"][0].as_string(), random);
  for (auto& slice : slices)
    if (auto one = ready_in(slice, ports[i]["name"].as_string(), random)) return *std::move(one);
  return fail(errc::unavailable, fmt::format("no endpoints available for service {}", quote(of.name)));
}

}  // namespace kedge::api::callout
