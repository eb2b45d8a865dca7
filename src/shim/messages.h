// messages.h: what containerd asks a shim and is told, in protobuf (containerd's api/runtime/task/v2 and v3, which are
// equal on the wire, api/events, api/types). Views are into the message.
#pragma once

#include <time.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace kedge::shim {

// google.protobuf.Any
struct any {
  std::string_view type, value;
};
result<any> decode_any(std::string_view message);
// The options in what `start` is given at its standard input: they themselves, or, from containerd 2.3 on, an extension
// of its BootstrapParams (api/runtime/bootstrap/v1); of the empty type when there are none.
result<any> decode_start(std::string_view message);
std::string encode_any(std::string_view type, std::string_view value);

struct mount_request {
  std::string_view type, source, target;
  std::vector<std::string_view> options;
};

struct create_request {
  std::string_view id, bundle, in, out, err, checkpoint;
  bool terminal = false;
  std::vector<mount_request> rootfs;
  std::vector<std::string_view> rootfs_bytes;  // the same, as they are told on in the event
  any options;
};
result<create_request> decode_create(std::string_view message);

struct exec_request {
  std::string_view id, exec_id, in, out, err;
  bool terminal = false;
  any spec;
};
result<exec_request> decode_exec(std::string_view message);

// All other requests: who is meant, and the numbers and texts that some of them have.
struct process_request {
  std::string_view id, exec_id;
  std::uint64_t third = 0, fourth = 0;  // Kill: signal, all; ResizePty: width, height; CloseIO: stdin
};
result<process_request> decode_process(std::string_view message);

struct update_request {
  std::string_view id;
  any resources;
};
result<update_request> decode_update(std::string_view message);

enum class status : unsigned { unknown = 0, created = 1, running = 2, stopped = 3, paused = 4, pausing = 5 };

// Of a Timestamp that was never set Go's zero time is written, as the Go shim writes it.
std::string encode_time(const timespec& t);

// How containers are run; containerd.runc.v1.Options, or a table of the same names in containerd's configuration
// (runtimeoptions.v1.Options, for runtimes whose type is not runc's).
struct runtime_options {
  std::string binary, root, shim_cgroup;
  bool no_pivot_root = false, no_new_keyring = false, systemd_cgroup = false;
  std::uint32_t io_uid = 0, io_gid = 0;
};
// `read_file` reads the file that config_path names.
result<runtime_options> decode_options(const any& message, result<std::string> (*read_file)(const std::string& path));
std::string encode_options(const runtime_options& o);

}  // namespace kedge::shim
