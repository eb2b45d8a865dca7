#include "node/devices/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/bytes.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "node/limits.h"

namespace kedge::node {

namespace {

using json::value;

device_ids without(const device_ids& all, const device_ids& some) {
  device_ids out;
  std::set_difference(all.begin(), all.end(), some.begin(), some.end(), std::inserter(out, out.end()));
  return out;
}

// Nodes beyond those that can be are nobody's.
numa_mask mask_of_device(const plugin_device& d) {
  numa_mask out = 0;
  for (auto n : d.numa_nodes)
    if (n >= 0 && n <= numa_node_max) out |= mask_of(static_cast<int>(n));
  return out;
}

// --- the kubelet's checksum: FNV-1a over its printed form of the Go value

std::uint32_t fnv1a(std::string_view text) {
  std::uint32_t h = 2'166'136'261U;
  for (unsigned char c : text) h = (h ^ c) * 16'777'619U;
  return h;
}

std::string print_list(const value& list) {
  auto* all = list.array();
  if (!all) return "<nil>";
  std::vector<std::string> parts;
  for (auto& one : *all) parts.emplace_back(one.as_string());
  return "[" + join(parts, " ") + "]";
}

// A map of lists; with numbers for keys these are in their order as numbers.
std::string print_map(const value& map, bool by_number) {
  auto* all = map.object();
  if (!all) return "<nil>";
  std::vector<std::pair<std::string, const value*>> members;
  for (auto& [name, v] : *all) members.emplace_back(name, &v);
  std::ranges::sort(members, [&](auto& a, auto& b) {
    return by_number ? parse_int(a.first).value_or(0) < parse_int(b.first).value_or(0) : a.first < b.first;
  });
  std::vector<std::string> parts;
  for (auto& [name, v] : members) parts.push_back(name + ":" + print_list(*v));
  return "map[" + join(parts, " ") + "]";
}

std::string print_bytes(const value& base64) {
  if (!base64.is_string()) return "<nil>";
  std::string out = "[";
  for (unsigned char c : unbase64(base64.as_string()).value_or("")) {
    if (out.size() > 1) out += ' ';
    out += std::to_string(c);
  }
  return out + "]";
}

std::uint32_t checksum_of(const value& data) {
  std::string entries = "<nil>";
  if (auto* all = data["PodDeviceEntries"].array()) {
    std::vector<std::string> parts;
    for (auto& e : *all)
      parts.push_back(
          fmt::format("{{PodUID:(string){} ContainerName:(string){} ResourceName:(string){} "
                      "DeviceIDs:(checkpoint.DevicesPerNUMA){} "
                      "AllocResp:([]uint8){}}}",
                      e["PodUID"].as_string(), e["ContainerName"].as_string(), e["ResourceName"].as_string(),
                      print_map(e["DeviceIDs"], true), print_bytes(e["AllocResp"])));
    entries = "[" + join(parts, " ") + "]";
  }
  return fnv1a(
      fmt::format("(checkpoint.checkpointData){{PodDeviceEntries:([]checkpoint.PodDevicesEntry){} "
                  "RegisteredDevices:(map[string][]string){}}}",
                  entries, print_map(data["RegisteredDevices"], false)));
}

}  // namespace

device_ids ids_of(const devices_by_node& devices) {
  device_ids out;
  for (auto& [node, ids] : devices) out.insert(ids.begin(), ids.end());
  return out;
}

bool device_choice::take(const device_ids& from) {
  for (auto& id : from) {
    if (needed == 0) break;
    if (taken.insert(id).second) --needed;
  }
  return needed == 0;
}

device_ids device_ledger::resource_state::healthy() const {
  device_ids out;
  if (!lost_at)
    for (auto& [id, d] : devices)
      if (d.healthy) out.insert(id);
  return out;
}

void device_ledger::connect(std::string_view resource) {
  auto& r = resources_[std::string(resource)];
  r.registered = true;
  r.lost_at.reset();
}

std::set<std::string> device_ledger::update(std::string_view resource, std::vector<plugin_device> devices) {
  auto& r = resources_[std::string(resource)];
  std::set<std::string> changed;
  std::map<std::string, plugin_device, std::less<>> now;
  for (auto& d : devices) now.insert_or_assign(d.id, std::move(d));
  for (auto& [uid, containers] : given_)
    for (auto& [name, has] : containers) {
      auto mine = has.find(resource);
      if (mine == has.end()) continue;
      for (auto& id : ids_of(mine->second.devices)) {
        auto before = r.devices.find(id), after = now.find(id);
        if (after != now.end() && (before == r.devices.end() || before->second.healthy != after->second.healthy))
          changed.insert(uid);
      }
    }
  r.devices = std::move(now);
  r.registered = true;
  r.lost_at.reset();
  return changed;
}

void device_ledger::disconnect(std::string_view resource, time_point now) {
  auto r = resources_.find(resource);
  if (r != resources_.end() && !r->second.lost_at) r->second.lost_at = now;
}

bool device_ledger::expire(time_point now) {
  bool any = false;
  for (auto& [name, r] : resources_) {
    if (!r.registered || !r.lost_at || now - *r.lost_at <= plugin_grace) continue;
    r.registered = false;
    r.devices.clear();
    any = true;
  }
  return any;
}

device_counts device_ledger::counts() const {
  device_counts out;
  for (auto& [name, r] : resources_)
    out[name] = {static_cast<std::int64_t>(r.devices.size()),
                 r.lost_at ? 0 : std::ranges::count_if(r.devices, [](auto& d) { return d.second.healthy; })};
  return out;
}

bool device_ledger::knows(std::string_view resource) const {
  auto r = resources_.find(resource);
  return (r != resources_.end() && r->second.registered) || !in_use(resource).empty();
}

device_ids device_ledger::in_use(std::string_view resource) const {
  device_ids out;
  for (auto& [uid, containers] : given_)
    for (auto& [name, has] : containers)
      if (auto mine = has.find(resource); mine != has.end()) out.merge(ids_of(mine->second.devices));
  return out;
}

numa_hints device_ledger::hints(std::string_view resource, std::size_t required, const device_ids& mine,
                                const device_ids& reusable, numa_mask machine) const {
  auto r = resources_.find(resource);
  if (r == resources_.end()) return std::nullopt;
  auto& all = r->second.devices;
  if (std::ranges::none_of(all, [](auto& d) { return !d.second.numa_nodes.empty(); })) return std::nullopt;
  const bool again = !mine.empty();
  auto may = again ? mine : without(r->second.healthy(), in_use(resource));
  may.insert(reusable.begin(), reusable.end());
  if (again ? mine.size() != required : may.size() < required) return std::vector<numa_hint>();

  // Devices by the nodes that they are near to: there are few kinds, and may be many devices.
  struct kind {
    std::size_t there = 0, free = 0;
    bool must = false;
  };
  std::map<numa_mask, kind> kinds;
  numa_mask of_devices = 0;
  for (auto& [id, d] : all) {
    auto nodes = mask_of_device(d);
    auto& k = kinds[nodes];
    of_devices |= nodes;
    ++k.there;
    if (may.contains(id)) ++k.free;
    if (!again && reusable.contains(id) && !d.numa_nodes.empty()) k.must = true;
  }
  of_devices &= machine;
  if (of_devices == 0) of_devices = machine;
  int least = count_of(of_devices);
  std::vector<numa_hint> out;
  each_subset(of_devices, [&](numa_mask m) {
    std::size_t there = 0, free = 0;
    bool has_all = true;
    for (auto& [nodes, k] : kinds) {
      if ((nodes & m) != 0) {
        there += k.there;
        free += k.free;
      } else {
        has_all &= !k.must;
      }
    }
    if (there >= required) least = std::min(least, count_of(m));
    if (has_all && free >= required) out.push_back({m, false});
  });
  for (auto& h : out) h.preferred = count_of(*h.nodes) == least;
  return out;
}

result<std::optional<device_choice>> device_ledger::begin(std::string_view uid, std::string_view container,
                                                          std::string_view resource, std::size_t required,
                                                          const device_ids& reusable,
                                                          const std::optional<numa_mask>& near) const {
  device_choice out{.needed = required, .taken = {}, .available = {}, .aligned = {}, .unaligned = {}, .unplaced = {}};
  auto* has = find(uid, container, resource);
  auto mine = has ? ids_of(has->devices) : device_ids();
  if (has && mine.size() != required)
    return fail(errc::invalid,
                fmt::format("pod \"{}\" container \"{}\" changed request for resource \"{}\" from {} to {}", uid,
                            container, resource, mine.size(), required));
  if (has) out.needed = 0;
  auto r = resources_.find(resource);
  if (r == resources_.end() || !r->second.registered)
    return fail(errc::unavailable, fmt::format("cannot allocate unregistered device {}", resource));
  auto healthy = r->second.healthy();
  if (healthy.empty())
    return fail(errc::unavailable,
                fmt::format("no healthy devices present; cannot allocate unhealthy devices {}", resource));
  if (!std::includes(healthy.begin(), healthy.end(), mine.begin(), mine.end()))
    return fail(errc::unavailable,
                fmt::format("previously allocated devices are no longer healthy; cannot allocate unhealthy devices {}",
                            resource));
  if (out.needed == 0 || out.take(reusable)) return out.taken.empty() ? std::optional<device_choice>() : out;
  out.available = without(healthy, in_use(resource));
  if (out.available.size() < out.needed)
    return fail(errc::exhausted,
                fmt::format("requested number of devices unavailable for {}. Requested: {}, Available: {}", resource,
                            out.needed, out.available.size()));
  const bool any_placed = std::ranges::any_of(r->second.devices, [](auto& d) { return !d.second.numa_nodes.empty(); });
  for (auto& id : out.available) {
    auto& nodes = r->second.devices.find(id)->second.numa_nodes;
    if (!near || !any_placed || nodes.empty())
      out.unplaced.insert(id);
    else if ((mask_of_device(r->second.devices.find(id)->second) & *near) != 0)
      out.aligned.insert(id);
    else
      out.unaligned.insert(id);
  }
  return out;
}

void device_ledger::give(std::string_view uid, std::string_view container, std::string_view resource,
                         const device_ids& ids, std::string response) {
  device_allocation a{.devices = {}, .response = std::move(response)};
  auto& known = resources_[std::string(resource)].devices;
  for (auto& id : ids) {
    auto d = known.find(id);
    if (d == known.end() || d->second.numa_nodes.empty())
      a.devices[-1].push_back(id);
    else
      for (auto node : d->second.numa_nodes) a.devices[node].push_back(id);
  }
  given_[std::string(uid)][std::string(container)].insert_or_assign(std::string(resource), std::move(a));
}

const device_ledger::of_container* device_ledger::find(std::string_view uid, std::string_view container) const {
  auto pod = given_.find(uid);
  if (pod == given_.end()) return nullptr;
  auto c = pod->second.find(container);
  return c == pod->second.end() ? nullptr : &c->second;
}

const device_allocation* device_ledger::find(std::string_view uid, std::string_view container,
                                             std::string_view resource) const {
  auto* c = find(uid, container);
  if (!c) return nullptr;
  auto r = c->find(resource);
  return r == c->end() ? nullptr : &r->second;
}

std::vector<plugin_device> device_ledger::devices(std::string_view resource) const {
  std::vector<plugin_device> out;
  if (auto r = resources_.find(resource); r != resources_.end())
    for (auto& [id, d] : r->second.devices) {
      out.push_back(d);
      out.back().healthy = d.healthy && !r->second.lost_at;
    }
  return out;
}

void device_ledger::keep_only(const std::set<std::string, std::less<>>& uids) {
  std::erase_if(given_, [&](auto& one) { return !uids.contains(one.first); });
}

std::string device_ledger::checkpoint() const {
  json::array entries;
  for (auto& [uid, containers] : given_)
    for (auto& [container, has] : containers)
      for (auto& [resource, a] : has) {
        value ids{json::object{}};
        for (auto& [node, list] : a.devices) {
          json::array all;
          for (auto& id : list) all.emplace_back(id);
          ids.set(std::to_string(node), std::move(all));
        }
        entries.push_back(json::object{{"PodUID", uid},
                                       {"ContainerName", container},
                                       {"ResourceName", resource},
                                       {"DeviceIDs", std::move(ids)},
                                       {"AllocResp", base64(as_bytes(a.response))}});
      }
  value registered{json::object{}};
  for (auto& [name, r] : resources_) {
    if (!r.registered) continue;
    json::array ids;
    for (auto& id : r.healthy()) ids.emplace_back(id);
    registered.set(name, std::move(ids));
  }
  value data(json::object{{"PodDeviceEntries", std::move(entries)}, {"RegisteredDevices", std::move(registered)}});
  auto sum = static_cast<std::int64_t>(checksum_of(data));
  return json::write(value(json::object{{"Data", std::move(data)}, {"Checksum", sum}}));
}

result<void> device_ledger::restore(std::string_view text) {
  KEDGE_TRY(auto file, json::parse(text));
  auto& data = file["Data"];
  if (file["Checksum"].as_integer() != static_cast<std::int64_t>(checksum_of(data)))
    return fail(errc::corrupt, "checkpoint is corrupted");
  if (auto* all = data["PodDeviceEntries"].array())
    for (auto& e : *all) {
      auto response = unbase64(e["AllocResp"].as_string());
      device_options checked;
      if (!response || !add_allocation(*response, checked)) continue;  // the kubelet passes over it, too
      device_allocation a{.devices = {}, .response = *std::move(response)};
      if (auto* nodes = e["DeviceIDs"].object())
        for (auto& [node, ids] : *nodes)
          if (auto n = parse_int(node); n && ids.array())
            for (auto& id : *ids.array()) a.devices[*n].emplace_back(id.as_string());
      given_[std::string(e["PodUID"].as_string())][std::string(e["ContainerName"].as_string())].insert_or_assign(
          std::string(e["ResourceName"].as_string()), std::move(a));
    }
  // Its plugin isn't there yet: it has none until it registers.
  if (auto* all = data["RegisteredDevices"].object())
    for (auto& [name, ids] : *all) resources_[name].registered = true;
  return {};
}

}  // namespace kedge::node
