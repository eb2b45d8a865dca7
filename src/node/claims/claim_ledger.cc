#include "node/claims/claim_ledger.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>

#include "json/parse.h"
#include "json/write.h"

namespace kedge::node {

namespace {

using json::value;

std::string key_of(std::string_view ns, std::string_view name) { return fmt::format("{}/{}", ns, name); }

std::int64_t checksum_of(std::string_view text) {
  return static_cast<std::int64_t>(
      ::crc32(0, reinterpret_cast<const unsigned char*>(text.data()), static_cast<unsigned>(text.size())));
}

value list_of(const std::vector<std::string>& texts) {
  json::array out;
  for (auto& t : texts) out.emplace_back(t);
  return out;
}

std::vector<std::string> texts_of(const value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  return out;
}

value state_of(const prepared_claim& c) {
  value pods{json::object{}}, drivers{json::object{}};
  for (auto& uid : c.pods) pods.set(uid, json::object{});
  for (auto& [driver, devices] : c.drivers) {
    json::array all;
    for (auto& d : devices)
      all.push_back(json::object{{"PoolName", d.pool},
                                 {"DeviceName", d.name},
                                 {"ShareID", d.share_id ? value(*d.share_id) : value()},
                                 {"RequestNames", list_of(d.requests)},
                                 {"CDIDeviceIDs", list_of(d.cdi_devices)}});
    drivers.set(driver, json::object{{"Devices", std::move(all)}});
  }
  return json::object{{"ClaimUID", c.id.uid},
                      {"ClaimName", c.id.name},
                      {"Namespace", c.id.ns},
                      {"PodUIDs", std::move(pods)},
                      {"DriverState", std::move(drivers)}};
}

prepared_claim claim_of(const value& state) {
  prepared_claim out;
  out.id = {std::string(state["Namespace"].as_string()), std::string(state["ClaimUID"].as_string()),
            std::string(state["ClaimName"].as_string())};
  if (auto pods = state["PodUIDs"].object())
    for (auto& p : *pods) out.pods.insert(p.name);
  if (auto drivers = state["DriverState"].object())
    for (auto& d : *drivers) {
      auto& devices = out.drivers[d.name];
      for (std::size_t i = 0; i < d.value["Devices"].size(); ++i) {
        auto& one = d.value["Devices"][i];
        auto& share = one["ShareID"];
        devices.push_back({std::string(one["PoolName"].as_string()), std::string(one["DeviceName"].as_string()),
                           share.is_string() ? std::optional<std::string>(share.as_string()) : std::nullopt,
                           texts_of(one["RequestNames"]), texts_of(one["CDIDeviceIDs"])});
      }
    }
  return out;
}

}  // namespace

result<prepared_claim> claim_to_prepare(const value& claim) {
  auto& m = claim["metadata"];
  auto& allocation = claim["status"]["allocation"];
  auto name = m["name"].as_string();
  if (!allocation.is_object()) return fail(errc::invalid, fmt::format("ResourceClaim {}: not allocated", name));
  prepared_claim out;
  out.id = {std::string(m["namespace"].as_string()), std::string(m["uid"].as_string()), std::string(name)};
  auto& results = allocation["devices"]["results"];
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i]["skipNodeOperations"].empty())
      return fail(errc::invalid,
                  fmt::format("ResourceClaim {}: DRAOptionalNodeOperations feature gate is disabled on kubelet", name));
    out.drivers[std::string(results[i]["driver"].as_string())];
  }
  return out;
}

result<void> claim_ledger::use(const prepared_claim& claim, std::string_view pod_uid) {
  auto& slot = claims_.try_emplace(key_of(claim.id.ns, claim.id.name), claim).first->second;
  if (slot.id.uid != claim.id.uid)
    return fail(errc::conflict, fmt::format("old ResourceClaim with same name {} and different UID {} still exists "
                                            "(previous pod force-deleted?!)",
                                            claim.id.name, slot.id.uid));
  if (slot.unpreparing) return fail(errc::conflict, fmt::format("ResourceClaim {} is being unprepared", claim.id.name));
  slot.pods.emplace(pod_uid);
  return {};
}

prepared_claim* claim_ledger::find(std::string_view ns, std::string_view name) {
  auto it = claims_.find(key_of(ns, name));
  return it == claims_.end() ? nullptr : &it->second;
}

const prepared_claim* claim_ledger::find(std::string_view ns, std::string_view name) const {
  auto it = claims_.find(key_of(ns, name));
  return it == claims_.end() ? nullptr : &it->second;
}

void claim_ledger::erase(std::string_view ns, std::string_view name) { claims_.erase(key_of(ns, name)); }

std::vector<claim_id> claim_ledger::claims_of(std::string_view pod_uid) const {
  std::vector<claim_id> out;
  for (auto& [key, c] : claims_)
    if (c.pods.contains(pod_uid)) out.push_back(c.id);
  return out;
}

std::set<std::string, std::less<>> claim_ledger::pods() const {
  std::set<std::string, std::less<>> out;
  for (auto& [key, c] : claims_) out.insert(c.pods.begin(), c.pods.end());
  return out;
}

std::vector<std::string> claim_ledger::cdi_devices(std::string_view ns, std::string_view name,
                                                   std::string_view request) const {
  std::vector<std::string> out;
  auto c = find(ns, name);
  if (!c) return out;
  for (auto& [driver, devices] : c->drivers)
    for (auto& d : devices)
      if (request.empty() || d.requests.empty() || std::ranges::find(d.requests, request) != d.requests.end())
        out.insert(out.end(), d.cdi_devices.begin(), d.cdi_devices.end());
  return out;
}

std::string claim_ledger::checkpoint() const {
  json::array list;
  for (auto& [key, c] : claims_) list.push_back(state_of(c));
  auto data = json::write(value(json::object{{"kind", "DRACheckpoint"},
                                             {"apiVersion", "checkpoint.dra.kubelet.k8s.io/v1"},
                                             {"ClaimInfoStateList", std::move(list)}}));
  auto sum = checksum_of(data);
  return json::write(value(json::object{{"Data", std::move(data)}, {"Checksum", sum}}));
}

result<void> claim_ledger::restore(std::string_view text) {
  KEDGE_TRY(auto file, json::parse(text));
  auto data = file["Data"].as_string();
  if (file["Checksum"].as_integer() != checksum_of(data)) return fail(errc::corrupt, "checkpoint is corrupted");
  KEDGE_TRY(auto read, json::parse(data));
  auto& list = read["ClaimInfoStateList"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto c = claim_of(list[i]);
    claims_.insert_or_assign(key_of(c.id.ns, c.id.name), std::move(c));
  }
  return {};
}

}  // namespace kedge::node
