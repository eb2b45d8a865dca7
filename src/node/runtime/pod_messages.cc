#include "node/runtime/pod_messages.h"

#include "base/protobuf_wire.h"

namespace kedge::node {

namespace {

constexpr std::string_view pod_uid_label = "io.kubernetes.pod.uid", pod_name_label = "io.kubernetes.pod.name",
                           pod_namespace_label = "io.kubernetes.pod.namespace";

std::unexpected<error> malformed(std::string_view message) {
  return fail(errc::protocol, "the container runtime answered with a malformed " + std::string(message));
}

std::uint64_t bits(std::int64_t n) { return static_cast<std::uint64_t>(n); }

// --- requests

void put_map(wire::writer& w, unsigned field, const text_map& m) {
  for (auto& [key, value] : m) {
    wire::writer entry;
    entry.text(1, key);
    entry.text(2, value);
    w.message(field, entry.take());
  }
}
void put_all(wire::writer& w, unsigned field, const std::vector<std::string>& all) {
  for (auto& text : all) w.message(field, text);
}
void put_number(wire::writer& w, unsigned field, std::optional<std::int64_t> n) {
  if (!n) return;
  wire::writer value;
  value.number(1, bits(*n));
  w.message(field, value.take());
}
// Packed, as proto3 writes repeated numbers.
void put_numbers(wire::writer& w, unsigned field, const std::vector<std::int64_t>& all) {
  if (all.empty()) return;
  std::string packed;
  for (auto n : all) {
    auto v = bits(n);
    for (; v >= 0x80; v >>= 7) packed += static_cast<char>(v | 0x80);
    packed += static_cast<char>(v);
  }
  w.message(field, packed);
}
std::string id_mapping(const id_range& ids) { return wire::writer().number(1, ids.first).number(3, ids.length).take(); }

// UserNamespace: mode 1, uids 2, gids 3.
std::string users(const std::optional<id_range>& ids) {
  wire::writer w;
  w.number(1, static_cast<std::uint64_t>(ids ? namespace_mode::pod : namespace_mode::node));
  if (ids) w.message(2, id_mapping(*ids)).message(3, id_mapping(*ids));
  return w.take();
}

std::string namespaces(const namespace_modes& n) {
  wire::writer w;
  w.number(1, static_cast<std::uint64_t>(n.network));
  w.number(2, static_cast<std::uint64_t>(n.pid));
  w.number(3, static_cast<std::uint64_t>(n.ipc));
  w.text(4, n.target_id);
  w.message(5, users(n.users));
  return w.take();
}
std::string profile(const security_profile& p) {
  wire::writer w;
  w.number(1, static_cast<std::uint64_t>(p.kind));
  w.text(2, p.name);
  return w.take();
}
// As runtimes of before 2024 read it.
std::string profile_text(const security_profile& p) {
  return p.kind == profile_kind::runtime_default ? "runtime/default"
         : p.kind == profile_kind::localhost     ? "localhost/" + p.name
                                                 : "unconfined";
}
std::string selinux(const selinux_label& l) {
  wire::writer w;
  w.text(1, l.user);
  w.text(2, l.role);
  w.text(3, l.type);
  w.text(4, l.level);
  return w.take();
}

std::string dns(const dns_settings& d) {
  wire::writer w;
  put_all(w, 1, d.servers);
  put_all(w, 2, d.searches);
  put_all(w, 3, d.options);
  return w.take();
}

std::string port(const port_mapping& p) {
  wire::writer w;
  w.number(1, p.protocol == "UDP" ? 1 : p.protocol == "SCTP" ? 2 : 0);
  w.number(2, bits(p.container_port));
  w.number(3, bits(p.host_port));
  w.text(4, p.host_ip);
  return w.take();
}

// What is mounted belongs to the pod's users, whoever owns it on the machine.
std::string mount(const container_mount& m, const std::optional<id_range>& users) {
  wire::writer w;
  w.text(1, m.container_path);
  w.text(2, m.host_path);
  w.number(3, m.read_only);
  w.number(4, m.selinux_relabel);
  w.number(5, bits(m.propagation));
  if (users) w.message(6, id_mapping(*users)).message(7, id_mapping(*users));
  w.number(8, m.recursive_read_only);
  if (!m.image.empty()) w.message(9, wire::writer().text(1, m.image).text(18, m.user_image).take());
  w.text(10, m.image_sub_path);
  return w.take();
}

std::string device(const container_device& d) {
  wire::writer w;
  w.text(1, d.container_path);
  w.text(2, d.host_path);
  w.text(3, d.permissions);
  return w.take();
}

std::string resources(const container_resources& r) {
  wire::writer w;
  w.number(1, bits(r.cpu_period));
  w.number(2, bits(r.cpu_quota));
  w.number(3, bits(r.cpu_shares));
  w.number(4, bits(r.memory_limit));
  w.number(5, bits(r.oom_score_adj));
  w.text(6, r.cpus);
  w.text(7, r.memory_nodes);
  for (auto& [size, limit] : r.hugepages) {
    wire::writer page;
    page.text(1, size);
    page.number(2, limit);
    w.message(8, page.take());
  }
  put_map(w, 9, r.unified);
  w.number(10, bits(r.memory_swap_limit));
  return w.take();
}

std::string sandbox_linux(const sandbox_config& c) {
  wire::writer security;
  security.message(1, namespaces(c.namespaces));
  if (c.selinux) security.message(2, selinux(*c.selinux));
  put_number(security, 3, c.run_as_user);
  put_numbers(security, 5, c.supplemental_groups);
  security.number(6, c.privileged);
  put_number(security, 8, c.run_as_group);
  security.message(9, profile({.kind = profile_kind::runtime_default, .name = {}}));
  security.number(11, c.strict_groups);
  wire::writer w;
  w.text(1, c.cgroup_parent);
  w.message(2, security.take());
  put_map(w, 3, c.sysctls);
  w.message(4, resources(c.overhead));
  w.message(5, resources(c.resources));
  return w.take();
}

std::string container_security(const container_config& c) {
  wire::writer w;
  if (!c.add_capabilities.empty() || !c.drop_capabilities.empty()) {
    wire::writer capabilities;
    put_all(capabilities, 1, c.add_capabilities);
    put_all(capabilities, 2, c.drop_capabilities);
    w.message(1, capabilities.take());
  }
  w.number(2, c.privileged);
  w.message(3, namespaces(c.namespaces));
  if (c.selinux) w.message(4, selinux(*c.selinux));
  put_number(w, 5, c.run_as_user);
  w.text(6, c.run_as_username);
  w.number(7, c.read_only_root);
  put_numbers(w, 8, c.supplemental_groups);
  w.number(11, c.no_new_privileges);
  put_number(w, 12, c.run_as_group);
  put_all(w, 13, c.masked_paths);
  put_all(w, 14, c.read_only_paths);
  w.message(15, profile(c.seccomp));
  if (c.apparmor) {
    w.text(9, profile_text(*c.apparmor));
    w.message(16, profile(*c.apparmor));
  }
  w.number(17, c.strict_groups);
  return w.take();
}

// --- answers

bool decode_map(std::string_view message, text_map& out) {
  wire::fields r(message);
  auto& [key, value] = out.emplace_back();
  while (r.next()) {
    if (r.field() == 1) key = r.bytes();
    if (r.field() == 2) value = r.bytes();
  }
  return r.ok();
}
// Of labels, the one named.
bool label_of(std::string_view message, std::string_view name, std::string& out) {
  wire::fields r(message);
  std::string_view key, value;
  while (r.next()) {
    if (r.field() == 1) key = r.bytes();
    if (r.field() == 2) value = r.bytes();
  }
  if (key == name) out = value;
  return r.ok();
}
// Metadata: name 1, and of a sandbox uid 2, namespace 3, attempt 4; of a container attempt 2.
bool decode_sandbox_metadata(std::string_view message, sandbox_info& out) {
  wire::fields r(message);
  while (r.next()) switch (r.field()) {
      case 1: out.name = r.bytes(); break;
      case 2: out.uid = r.bytes(); break;
      case 3: out.ns = r.bytes(); break;
      case 4: out.attempt = static_cast<std::uint32_t>(r.number()); break;
      default: break;
    }
  return r.ok();
}
bool decode_container_metadata(std::string_view message, std::string& name, std::uint32_t* attempt) {
  wire::fields r(message);
  while (r.next()) {
    if (r.field() == 1) name = r.bytes();
    if (r.field() == 2 && attempt) *attempt = static_cast<std::uint32_t>(r.number());
  }
  return r.ok();
}
bool decode_first_text(std::string_view message, std::string& out) {
  wire::fields r(message);
  while (r.next())
    if (r.field() == 1) out = r.bytes();
  return r.ok();
}
bool decode_first_number(std::string_view message, std::uint64_t& out) {
  wire::fields r(message);
  while (r.next())
    if (r.field() == 1) out = r.number();
  return r.ok();
}

container_state state_of(std::uint64_t n) {
  return n <= 2 ? static_cast<container_state>(n) : container_state::unknown;
}

bool decode_sandbox(std::string_view message, sandbox_info& out) {
  wire::fields r(message);
  bool fine = true;
  out.ready = true;  // 0, the default
  while (fine && r.next()) switch (r.field()) {
      case 1: out.id = r.bytes(); break;
      case 2: fine = decode_sandbox_metadata(r.bytes(), out); break;
      case 3: out.ready = r.number() == 0; break;
      case 4: out.created_at = static_cast<std::int64_t>(r.number()); break;
      default: break;
    }
  return fine && r.ok();
}

bool decode_container(std::string_view message, container_info& out) {
  wire::fields r(message);
  bool fine = true;
  out.state = container_state::created;
  while (fine && r.next()) switch (r.field()) {
      case 1: out.id = r.bytes(); break;
      case 2: out.sandbox_id = r.bytes(); break;
      case 3: fine = decode_container_metadata(r.bytes(), out.name, &out.attempt); break;
      case 4: fine = decode_first_text(r.bytes(), out.image); break;
      case 5: out.image_ref = r.bytes(); break;
      case 10: out.image_id = r.bytes(); break;
      case 6: out.state = state_of(r.number()); break;
      case 7: out.created_at = static_cast<std::int64_t>(r.number()); break;
      case 8: fine = label_of(r.bytes(), pod_uid_label, out.pod_uid); break;
      default: break;
    }
  return fine && r.ok();
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

bool decode_status(std::string_view message, container_status& out) {
  wire::fields r(message);
  bool fine = true;
  out.state = container_state::created;
  while (fine && r.next()) switch (r.field()) {
      case 1: out.id = r.bytes(); break;
      case 2: fine = decode_container_metadata(r.bytes(), out.name, nullptr); break;
      case 3: out.state = state_of(r.number()); break;
      case 4: out.created_at = static_cast<std::int64_t>(r.number()); break;
      case 5: out.started_at = static_cast<std::int64_t>(r.number()); break;
      case 6: out.finished_at = static_cast<std::int64_t>(r.number()); break;
      case 7: out.exit_code = static_cast<int>(static_cast<std::int64_t>(r.number())); break;
      case 8: fine = decode_first_text(r.bytes(), out.image); break;
      case 9: out.image_ref = r.bytes(); break;
      case 10: out.reason = r.bytes(); break;
      case 11: out.message = r.bytes(); break;
      case 12: fine = decode_map(r.bytes(), out.labels); break;
      case 13: fine = decode_map(r.bytes(), out.annotations); break;
      case 14: fine = decode_mount(r.bytes(), out.mounts.emplace_back()); break;
      case 15: out.log_path = r.bytes(); break;
      case 17: out.image_id = r.bytes(); break;
      default: break;
    }
  return fine && r.ok();
}

// PodSandboxNetworkStatus: ip 1, additional_ips 2 (PodIP: ip 1).
bool decode_addresses(std::string_view message, std::vector<std::string>& out) {
  wire::fields r(message);
  bool fine = true;
  while (fine && r.next()) {
    if (r.field() == 1 && !r.bytes().empty()) out.insert(out.begin(), std::string(r.bytes()));
    if (r.field() == 2) fine = decode_first_text(r.bytes(), out.emplace_back());
  }
  return fine && r.ok();
}

bool decode_sandbox_status_message(std::string_view message, sandbox_status& out) {
  wire::fields r(message);
  bool fine = true;
  out.ready = true;
  while (fine && r.next()) switch (r.field()) {
      case 3: out.ready = r.number() == 0; break;
      case 5: fine = decode_addresses(r.bytes(), out.ips); break;
      case 7: fine = decode_map(r.bytes(), out.labels); break;
      case 8: fine = decode_map(r.bytes(), out.annotations); break;
      default: break;
    }
  return fine && r.ok();
}

bool decode_image(std::string_view message, image_info& out) {
  wire::fields r(message);
  bool fine = true;
  while (fine && r.next()) switch (r.field()) {
      case 1: out.id = r.bytes(); break;
      case 3: out.digests.emplace_back(r.bytes()); break;
      case 4: out.size_bytes = r.number(); break;
      case 5: {
        std::uint64_t uid = 0;
        fine = decode_first_number(r.bytes(), uid);
        out.uid = static_cast<std::int64_t>(uid);
        break;
      }
      case 6: out.username = r.bytes(); break;
      default: break;
    }
  return fine && r.ok();
}

bool decode_stored_image(std::string_view message, stored_image& out) {
  wire::fields r(message);
  while (r.next()) switch (r.field()) {
      case 1: out.id = r.bytes(); break;
      case 2:
      case 3: out.names.emplace_back(r.bytes()); break;
      case 4: out.size_bytes = r.number(); break;
      case 8: out.pinned = r.number() != 0; break;
      default: break;
    }
  return r.ok();
}

// A message's fields that are UInt64Value, by number.
struct wrapped_number {
  unsigned field;
  std::uint64_t& to;
};
bool decode_wrapped(std::string_view message, std::initializer_list<wrapped_number> wanted, std::int64_t* at) {
  wire::fields r(message);
  while (r.next()) {
    if (r.field() == 1 && at) *at = static_cast<std::int64_t>(r.number());
    for (auto& w : wanted)
      if (static_cast<int>(w.field) == r.field() && !decode_first_number(r.bytes(), w.to)) return false;
  }
  return r.ok();
}

bool decode_attributes(std::string_view message, container_usage& out) {
  wire::fields r(message);
  bool fine = true;
  while (fine && r.next()) switch (r.field()) {
      case 1: out.id = r.bytes(); break;
      case 2: fine = decode_container_metadata(r.bytes(), out.name, nullptr); break;
      case 3:
        fine = label_of(r.bytes(), pod_uid_label, out.pod_uid) && label_of(r.bytes(), pod_name_label, out.pod_name) &&
               label_of(r.bytes(), pod_namespace_label, out.pod_namespace);
        break;
      default: break;
    }
  return fine && r.ok();
}

bool decode_one_usage(std::string_view message, container_usage& out) {
  wire::fields r(message);
  bool fine = true;
  while (fine && r.next()) switch (r.field()) {
      case 1: fine = decode_attributes(r.bytes(), out); break;
      case 2: fine = decode_wrapped(r.bytes(), {{2, out.cpu_nanoseconds}}, &out.at); break;
      case 3:
        fine = decode_wrapped(r.bytes(),
                              {{2, out.memory_working_set},
                               {4, out.memory_usage},
                               {5, out.memory_rss},
                               {6, out.page_faults},
                               {7, out.major_page_faults}},
                              nullptr);
        break;
      case 4: fine = decode_wrapped(r.bytes(), {{3, out.disk_bytes}, {4, out.inodes}}, nullptr); break;
      default: break;
    }
  return fine && r.ok();
}

// Answers that are a list in field `field`.
template <typename T, typename F>
result<std::vector<T>> decode_list(std::string_view message, F decode, std::string_view name) {
  std::vector<T> out;
  wire::fields r(message);
  while (r.next())
    if (r.field() == 1 && !decode(r.bytes(), out.emplace_back())) return malformed(name);
  if (!r.ok()) return malformed(name);
  return out;
}

}  // namespace

std::string encode_resources(const container_resources& r) { return resources(r); }

std::string encode_sandbox_config(const sandbox_config& c) {
  wire::writer metadata;
  metadata.text(1, c.name);
  metadata.text(2, c.uid);
  metadata.text(3, c.ns);
  metadata.number(4, c.attempt);
  wire::writer w;
  w.message(1, metadata.take());
  w.text(2, c.hostname);
  w.text(3, c.log_directory);
  w.message(4, dns(c.dns));
  for (auto& p : c.ports) w.message(5, port(p));
  put_map(w, 6, c.labels);
  put_map(w, 7, c.annotations);
  w.message(8, sandbox_linux(c));
  return w.take();
}

std::string encode_container_config(const container_config& c) {
  wire::writer metadata, image, linux_part, w;
  metadata.text(1, c.name);
  metadata.number(2, c.attempt);
  image.text(1, c.image);
  image.text(18, c.user_image);
  linux_part.message(1, resources(c.resources));
  linux_part.message(2, container_security(c));
  w.message(1, metadata.take());
  w.message(2, image.take());
  put_all(w, 3, c.command);
  put_all(w, 4, c.args);
  w.text(5, c.working_dir);
  put_map(w, 6, c.env);
  for (auto& m : c.mounts) w.message(7, mount(m, c.namespaces.users));
  for (auto& d : c.devices) w.message(8, device(d));
  put_map(w, 9, c.labels);
  put_map(w, 10, c.annotations);
  w.text(11, c.log_path);
  w.number(12, c.stdin_open);
  w.number(13, c.stdin_once);
  w.number(14, c.tty);
  w.message(15, linux_part.take());
  for (auto& name : c.cdi_devices) w.message(17, wire::writer().text(1, name).take());
  w.number(18, bits(c.stop_signal));
  return w.take();
}

result<std::vector<sandbox_info>> decode_sandboxes(std::string_view message) {
  return decode_list<sandbox_info>(message, decode_sandbox, "ListPodSandboxResponse");
}
result<std::vector<container_info>> decode_containers(std::string_view message) {
  return decode_list<container_info>(message, decode_container, "ListContainersResponse");
}
result<std::vector<container_usage>> decode_usage(std::string_view message) {
  return decode_list<container_usage>(message, decode_one_usage, "ListContainerStatsResponse");
}

result<std::vector<stored_image>> decode_stored_images(std::string_view message) {
  return decode_list<stored_image>(message, decode_stored_image, "ListImagesResponse");
}

result<sandbox_status> decode_sandbox_status(std::string_view message) {
  auto all = decode_list<sandbox_status>(message, decode_sandbox_status_message, "PodSandboxStatusResponse");
  if (!all) return fail(all.error());
  if (all->empty()) return malformed("PodSandboxStatusResponse: it has no status");
  return std::move(all->front());
}

result<container_status> decode_container_status(std::string_view message) {
  auto all = decode_list<container_status>(message, decode_status, "ContainerStatusResponse");
  if (!all) return fail(all.error());
  if (all->empty()) return malformed("ContainerStatusResponse: it has no status");
  return std::move(all->front());
}

result<std::optional<image_info>> decode_image_status(std::string_view message) {
  auto all = decode_list<image_info>(message, decode_image, "ImageStatusResponse");
  if (!all) return fail(all.error());
  if (all->empty() || all->front().id.empty()) return std::optional<image_info>();
  return std::optional<image_info>(std::move(all->front()));
}

result<exec_result> decode_exec_result(std::string_view message) {
  exec_result out;
  wire::fields r(message);
  while (r.next()) switch (r.field()) {
      case 1: out.out = r.bytes(); break;
      case 2: out.err = r.bytes(); break;
      case 3: out.exit_code = static_cast<int>(static_cast<std::int64_t>(r.number())); break;
      default: break;
    }
  if (!r.ok()) return malformed("ExecSyncResponse");
  return out;
}

result<std::string> decode_text(std::string_view message) {
  std::string out;
  if (!decode_first_text(message, out)) return malformed("answer");
  return out;
}

}  // namespace kedge::node
