#include "shim/messages.h"

#include <charconv>

#include "base/protobuf_wire.h"
#include "base/strings.h"

namespace kedge::shim {

namespace {

std::unexpected<error> malformed() { return fail(errc::invalid, "a malformed message"); }

bool read_any(std::string_view message, any& out) {
  wire::fields in(message);
  while (in.next()) {
    if (in.field() == 1) out.type = in.bytes();
    if (in.field() == 2) out.value = in.bytes();
  }
  return in.ok();
}

// Mount: type 1, source 2, target 3, options 4.
bool read_mount(std::string_view message, mount_request& out) {
  wire::fields in(message);
  while (in.next()) switch (in.field()) {
      case 1: out.type = in.bytes(); break;
      case 2: out.source = in.bytes(); break;
      case 3: out.target = in.bytes(); break;
      case 4: out.options.push_back(in.bytes()); break;
      default: break;
    }
  return in.ok();
}

}  // namespace

result<any> decode_any(std::string_view message) {
  any out;
  if (!read_any(message, out)) return malformed();
  return out;
}

result<any> decode_start(std::string_view message) {
  constexpr std::uint64_t of_any = 2, extension = 8;  // the fields of an any end with 2; all BootstrapParams have more
  any plain, extended;
  bool is_plain = true;
  wire::fields in(message);
  while (in.next()) {
    if (in.field() > of_any) is_plain = false;
    if (in.field() != extension) continue;
    wire::fields one(in.bytes());
    any found;
    while (one.next())
      if (one.field() == 1 && !read_any(one.bytes(), found)) return malformed();
    if (!one.ok()) return malformed();
    if (found.type.ends_with(".Options")) extended = found;
  }
  if (!in.ok() || (is_plain && !read_any(message, plain))) return malformed();
  return is_plain ? plain : extended;
}

std::string encode_any(std::string_view type, std::string_view value) {
  return wire::writer().text(1, type).text(2, value).take();
}

// CreateTaskRequest.
result<create_request> decode_create(std::string_view message) {
  create_request r;
  wire::fields in(message);
  while (in.next()) switch (in.field()) {
      case 1: r.id = in.bytes(); break;
      case 2: r.bundle = in.bytes(); break;
      case 3:
        if (!read_mount(in.bytes(), r.rootfs.emplace_back())) return malformed();
        r.rootfs_bytes.push_back(in.bytes());
        break;
      case 4: r.terminal = in.number() != 0; break;
      case 5: r.in = in.bytes(); break;
      case 6: r.out = in.bytes(); break;
      case 7: r.err = in.bytes(); break;
      case 8: r.checkpoint = in.bytes(); break;
      case 10:
        if (!read_any(in.bytes(), r.options)) return malformed();
        break;
      default: break;
    }
  if (!in.ok()) return malformed();
  return r;
}

// ExecProcessRequest.
result<exec_request> decode_exec(std::string_view message) {
  exec_request r;
  wire::fields in(message);
  while (in.next()) switch (in.field()) {
      case 1: r.id = in.bytes(); break;
      case 2: r.exec_id = in.bytes(); break;
      case 3: r.terminal = in.number() != 0; break;
      case 4: r.in = in.bytes(); break;
      case 5: r.out = in.bytes(); break;
      case 6: r.err = in.bytes(); break;
      case 7:
        if (!read_any(in.bytes(), r.spec)) return malformed();
        break;
      default: break;
    }
  if (!in.ok()) return malformed();
  return r;
}

// StateRequest and its like: id 1, exec_id 2; the numbers of Kill, ResizePty and CloseIO at 3 and 4. ShutdownRequest
// has `now` at 2, which is no text and isn't looked at.
result<process_request> decode_process(std::string_view message) {
  process_request r;
  wire::fields in(message);
  while (in.next()) switch (in.field()) {
      case 1: r.id = in.bytes(); break;
      case 2: r.exec_id = in.bytes(); break;
      case 3: r.third = in.number(); break;
      case 4: r.fourth = in.number(); break;
      default: break;
    }
  if (!in.ok()) return malformed();
  return r;
}

// UpdateTaskRequest.
result<update_request> decode_update(std::string_view message) {
  update_request r;
  wire::fields in(message);
  while (in.next()) switch (in.field()) {
      case 1: r.id = in.bytes(); break;
      case 2:
        if (!read_any(in.bytes(), r.resources)) return malformed();
        break;
      default: break;
    }
  if (!in.ok()) return malformed();
  return r;
}

std::string encode_time(const timespec& t) {
  constexpr std::int64_t year_one = -62'135'596'800;
  bool unset = t.tv_sec == 0 && t.tv_nsec == 0;
  return wire::writer()
      .number(1, static_cast<std::uint64_t>(unset ? year_one : t.tv_sec))
      .number(2, static_cast<std::uint64_t>(t.tv_nsec))
      .take();
}

namespace {

// Options of runc: no_pivot_root 1, no_new_keyring 2, shim_cgroup 3, io_uid 4, io_gid 5, binary_name 6, root 7,
// systemd_cgroup 9.
bool read_options(std::string_view message, runtime_options& o) {
  wire::fields in(message);
  while (in.next()) switch (in.field()) {
      case 1: o.no_pivot_root = in.number() != 0; break;
      case 2: o.no_new_keyring = in.number() != 0; break;
      case 3: o.shim_cgroup = in.bytes(); break;
      case 4: o.io_uid = static_cast<std::uint32_t>(in.number()); break;
      case 5: o.io_gid = static_cast<std::uint32_t>(in.number()); break;
      case 6: o.binary = in.bytes(); break;
      case 7: o.root = in.bytes(); break;
      case 9: o.systemd_cgroup = in.number() != 0; break;
      default: break;
    }
  return in.ok();
}

// The options' table as TOML: a name and a plain value a line. What else the table may hold isn't ours.
result<runtime_options> read_table(std::string_view text) {
  runtime_options o;
  for (auto line : split(text, '\n')) {
    line = trim(line);
    auto equals = line.find('=');
    if (line.empty() || line.front() == '#' || line.front() == '[' || equals == std::string_view::npos) continue;
    auto name = trim(line.substr(0, equals)), value = trim(line.substr(equals + 1));
    bool quoted = value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front();
    if (quoted) value = value.substr(1, value.size() - 2);
    auto number = [&](std::uint32_t& out) {
      return std::from_chars(value.data(), value.data() + value.size(), out).ec == std::errc();
    };
    bool fine = true;
    if (name == "BinaryName") o.binary = value;
    if (name == "Root") o.root = value;
    if (name == "ShimCgroup") o.shim_cgroup = value;
    if (name == "NoPivotRoot") o.no_pivot_root = value == "true";
    if (name == "NoNewKeyring") o.no_new_keyring = value == "true";
    if (name == "SystemdCgroup") o.systemd_cgroup = value == "true";
    if (name == "IoUid") fine = number(o.io_uid);
    if (name == "IoGid") fine = number(o.io_gid);
    if (!fine) return fail(errc::invalid, "option " + std::string(name) + ": " + std::string(value) + " is no number");
  }
  return o;
}

}  // namespace

result<runtime_options> decode_options(const any& message, result<std::string> (*read_file)(const std::string& path)) {
  runtime_options o;
  if (message.type.empty()) return o;
  auto type = message.type.substr(message.type.find_last_of('/') + 1);
  if (type == "containerd.runc.v1.Options") {
    if (!read_options(message.value, o)) return malformed();
    return o;
  }
  if (type != "runtimeoptions.v1.Options")
    return fail(errc::invalid, "runtime options of the type " + std::string(type) + " are not known");
  std::string_view path, body;
  wire::fields in(message.value);
  while (in.next()) {
    if (in.field() == 2) path = in.bytes();
    if (in.field() == 3) body = in.bytes();
  }
  if (!in.ok()) return malformed();
  if (path.empty()) return read_table(body);
  KEDGE_TRY(auto text, read_file(std::string(path)));
  return read_table(text);
}

std::string encode_options(const runtime_options& o) {
  return wire::writer()
      .number(1, o.no_pivot_root)
      .number(2, o.no_new_keyring)
      .text(3, o.shim_cgroup)
      .number(4, o.io_uid)
      .number(5, o.io_gid)
      .text(6, o.binary)
      .text(7, o.root)
      .number(9, o.systemd_cgroup)
      .take();
}

}  // namespace kedge::shim
