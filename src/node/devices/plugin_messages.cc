#include "node/devices/plugin_messages.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/protobuf_wire.h"
#include "json/utf8.h"
#include "node/limits.h"
#include "node/plugins/limits.h"

namespace kedge::node {

namespace {

std::unexpected<error> malformed(std::string_view name) {
  return fail(errc::protocol, "the device plugin's " + std::string(name) + " is malformed");
}

bool decode_pair(std::string_view message, std::pair<std::string, std::string>& out) {
  wire::fields r(message);
  while (r.next()) {
    if (r.field() == 1) out.first = r.bytes();
    if (r.field() == 2) out.second = r.bytes();
  }
  return r.ok();
}

bool decode_nodes(std::string_view topology, std::vector<std::int64_t>& out) {
  wire::fields r(topology);
  while (r.next()) {
    if (r.field() != 1) continue;
    std::int64_t id = 0;
    wire::fields node(r.bytes());
    while (node.next())
      if (node.field() == 1) id = static_cast<std::int64_t>(node.number());
    if (!node.ok()) return false;
    out.push_back(id);
  }
  return r.ok();
}

bool decode_device(std::string_view message, plugin_device& out) {
  wire::fields r(message);
  while (r.next()) switch (r.field()) {
      case 1:
        if (!json::is_utf8(r.bytes())) return false;  // the checkpoint that names it couldn't be read again
        out.id = r.bytes();
        break;
      case 2: out.healthy = r.bytes() == "Healthy"; break;
      case 3:
        if (!decode_nodes(r.bytes(), out.numa_nodes)) return false;
        break;
      default: break;
    }
  return r.ok();
}

bool decode_mount(std::string_view message, container_mount& out) {
  wire::fields r(message);
  while (r.next()) switch (r.field()) {
      case 1: out.container_path = r.bytes(); break;
      case 2: out.host_path = r.bytes(); break;
      case 3: out.read_only = r.number() != 0; break;
      default: break;
    }
  return r.ok();
}

bool decode_specification(std::string_view message, container_device& out) {
  wire::fields r(message);
  while (r.next()) switch (r.field()) {
      case 1: out.container_path = r.bytes(); break;
      case 2: out.host_path = r.bytes(); break;
      case 3: out.permissions = r.bytes(); break;
      default: break;
    }
  return r.ok();
}

void put_ids(wire::writer& w, int field, const device_ids& ids) {
  for (auto& id : ids) w.message(field, id);
}

// Adds `one` unless there is one of the same name.
template <typename T, typename Name>
void add_new(std::vector<T>& to, T one, Name name) {
  if (std::none_of(to.begin(), to.end(), [&](auto& other) { return name(other) == name(one); }))
    to.push_back(std::move(one));
}

std::string node_of(std::int64_t id) {
  return wire::writer().message(1, wire::writer().number(1, static_cast<std::uint64_t>(id)).take()).take();
}

void put_devices(wire::writer& w, int field, const std::string& resource, const devices_by_node& all) {
  for (auto& [node, ids] : all)
    for (auto& id : ids) {
      wire::writer one;
      one.text(1, resource);
      one.message(2, id);
      if (node >= 0) one.message(3, node_of(node));
      w.message(field, one.take());
    }
}

// Packed, as repeated numbers of proto3 are.
void put_cpus(wire::writer& w, int field, const std::set<int>& cpus) {
  if (cpus.empty()) return;
  std::string packed;
  for (auto cpu : cpus) wire::put_varint(static_cast<std::uint64_t>(cpu), packed);
  w.message(field, packed);
}

void put_memory(wire::writer& w, int field, const std::vector<memory_block>& memory) {
  for (auto& block : memory) {
    wire::writer nodes;
    for (auto n : block.nodes) nodes.message(1, wire::writer().number(1, static_cast<std::uint64_t>(n)).take());
    w.message(field, wire::writer().text(1, block.type).number(2, block.size).message(3, nodes.take()).take());
  }
}

std::string encode_pod(const pod_has& pod) {
  wire::writer w;
  w.text(1, pod.name);
  w.text(2, pod.ns);
  for (auto& c : pod.containers) {
    wire::writer container;
    container.text(1, c.name);
    for (auto& [resource, all] : c.devices) put_devices(container, 2, resource, all);
    put_cpus(container, 3, c.cpus);
    put_memory(container, 4, c.memory);
    w.message(3, container.take());
  }
  return w.take();
}

}  // namespace

result<plugin_registration> decode_registration(std::string_view message) {
  plugin_registration out;
  wire::fields r(message);
  while (r.next()) switch (r.field()) {
      case 1: out.version = r.bytes(); break;
      case 2: out.endpoint = r.bytes(); break;
      case 3: out.resource = r.bytes(); break;
      default: break;
    }
  if (!r.ok()) return malformed("RegisterRequest");
  return out;
}

result<plugin_options> decode_plugin_options(std::string_view message) {
  plugin_options out;
  wire::fields r(message);
  while (r.next()) {
    if (r.field() == 1) out.pre_start = r.number() != 0;
    if (r.field() == 2) out.preferred = r.number() != 0;
  }
  if (!r.ok()) return malformed("DevicePluginOptions");
  return out;
}

result<std::vector<plugin_device>> decode_devices(std::string_view message) {
  std::vector<plugin_device> out;
  wire::fields r(message);
  while (r.next()) {
    if (r.field() != 1) continue;
    if (out.size() == plugin_devices_max)
      return fail(errc::too_large, fmt::format("it has more than {} devices", plugin_devices_max));
    if (!decode_device(r.bytes(), out.emplace_back())) return malformed("ListAndWatchResponse");
  }
  if (!r.ok()) return malformed("ListAndWatchResponse");
  return out;
}

std::string encode_allocation(const device_ids& ids) { return wire::writer().message(1, encode_pre_start(ids)).take(); }

std::string encode_pre_start(const device_ids& ids) {
  wire::writer w;
  put_ids(w, 1, ids);
  return w.take();
}

std::string encode_preference(const device_ids& available, const device_ids& must, std::size_t size) {
  wire::writer w;
  put_ids(w, 1, available);
  put_ids(w, 2, must);
  w.number(3, size);
  return wire::writer().message(1, w.take()).take();
}

result<device_ids> decode_preference(std::string_view message) {
  device_ids out;
  wire::fields all(message);
  bool first = true;
  while (all.next()) {
    if (all.field() != 1 || !std::exchange(first, false)) continue;
    wire::fields r(all.bytes());
    while (r.next())
      if (r.field() == 1) out.emplace(r.bytes());
    if (!r.ok()) return malformed("PreferredAllocationResponse");
  }
  if (!all.ok()) return malformed("PreferredAllocationResponse");
  return out;
}

result<std::optional<std::string>> first_allocation(std::string_view message) {
  std::optional<std::string> out;
  wire::fields r(message);
  while (r.next())
    if (r.field() == 1 && !out) out = r.bytes();
  if (!r.ok()) return malformed("AllocateResponse");
  if (out) {
    if (out->size() > allocation_bytes_max)
      return fail(errc::too_large, fmt::format("a container would get {} bytes of options", out->size()));
    device_options checked;
    KEDGE_CHECK(add_allocation(*out, checked));
  }
  return out;
}

result<void> add_allocation(std::string_view message, device_options& to) {
  wire::fields r(message);
  auto first = [](auto& one) -> auto& { return one.first; };
  auto path = [](auto& one) -> auto& { return one.container_path; };
  bool fine = true;
  while (fine && r.next()) switch (r.field()) {
      case 1:
      case 4: {
        std::pair<std::string, std::string> one;
        fine = decode_pair(r.bytes(), one);
        add_new(r.field() == 1 ? to.env : to.annotations, std::move(one), first);
        break;
      }
      case 2: {
        container_mount one;
        fine = decode_mount(r.bytes(), one);
        add_new(to.mounts, std::move(one), path);
        break;
      }
      case 3: {
        container_device one;
        fine = decode_specification(r.bytes(), one);
        add_new(to.devices, std::move(one), path);
        break;
      }
      case 5: {
        std::pair<std::string, std::string> name;
        fine = decode_pair(r.bytes(), name);
        add_new(to.cdi_devices, std::move(name.first), [](auto& one) -> auto& { return one; });
        break;
      }
      default: break;
    }
  if (!fine || !r.ok()) return malformed("ContainerAllocateResponse");
  return {};
}

std::string encode_pods(const std::vector<pod_has>& pods) {
  wire::writer w;
  for (auto& p : pods) w.message(1, encode_pod(p));
  return w.take();
}

std::string encode_one_pod(const pod_has& pod) { return wire::writer().message(1, encode_pod(pod)).take(); }

std::string encode_allocatable(const std::vector<std::pair<std::string, devices_by_node>>& devices,
                               const std::set<int>& cpus, const std::vector<memory_block>& memory) {
  wire::writer w;
  for (auto& [resource, all] : devices) put_devices(w, 1, resource, all);
  put_cpus(w, 2, cpus);
  put_memory(w, 3, memory);
  return w.take();
}

result<pod_asked_for> decode_pod_asked_for(std::string_view message) {
  pod_asked_for out;
  wire::fields r(message);
  while (r.next()) {
    if (r.field() == 1) out.name = r.bytes();
    if (r.field() == 2) out.ns = r.bytes();
  }
  if (!r.ok()) return fail(errc::invalid, "GetPodResourcesRequest is malformed");
  return out;
}

}  // namespace kedge::node
