#include "shim/bundle.h"

#include "base/strings.h"
#include "shim/files.h"
#include "shim/json.h"
#include "shim/limits.h"

namespace kedge::shim {

namespace {

constexpr std::size_t small_file_bytes_max = 64 * 1024;

std::string text_in(const std::string& path) { return read_file(path, small_file_bytes_max).value_or(std::string()); }

}  // namespace

result<void> write_runtime(const std::string& bundle, const runtime_options& o) {
  auto json = "{\"root\":" + json::quote(o.root) + ",\"binary_name\":" + json::quote(o.binary) +
              ",\"systemd_cgroup\":" + (o.systemd_cgroup ? "true" : "false") + "}";
  KEDGE_CHECK(write_file(bundle + "/options.json", json, 0600));
  return write_file(bundle + "/runtime", o.binary, 0600);
}

runtime_options read_runtime(const std::string& bundle) {
  runtime_options o;
  o.binary = text_in(bundle + "/runtime");
  auto options = text_in(bundle + "/options.json");
  if (auto root = json::member(options, "root")) o.root = json::text_of(*root).value_or(std::string());
  o.systemd_cgroup = json::member(options, "systemd_cgroup").value_or("false") == "true";
  return o;
}

result<int> read_pid(const std::string& file) {
  KEDGE_TRY(auto text, read_file(file, small_file_bytes_max));
  auto pid = parse_int(trim(text));
  if (!pid || *pid <= 1 || *pid > INT32_MAX) return fail(errc::corrupt, file + " has no pid");
  return static_cast<int>(*pid);
}

void write_exit(const std::string& bundle, const exit_state& e) {
  // Where it can't be written (no space) a crash makes 137 of it, as with the Go shim.
  (void)write_file(bundle + "/exit",
                   std::to_string(e.status) + " " + std::to_string(e.at.tv_sec) + " " + std::to_string(e.at.tv_nsec),
                   0600);
}

result<exit_state> read_exit(const std::string& bundle) {
  KEDGE_TRY(auto text, read_file(bundle + "/exit", small_file_bytes_max));
  auto parts = split(text, ' ');
  if (parts.size() != 3) return fail(errc::corrupt, bundle + "/exit");
  auto status = parse_uint(parts[0]), seconds = parse_uint(parts[1]), rest = parse_uint(parts[2]);
  if (!status || !seconds || !rest) return fail(errc::corrupt, bundle + "/exit");
  exit_state out;
  out.status = static_cast<std::uint32_t>(*status);
  out.at.tv_sec = static_cast<time_t>(*seconds);
  out.at.tv_nsec = static_cast<long>(*rest);
  return out;
}

bool shares_pids(const std::string& bundle) {
  auto config = read_file(bundle + "/config.json", config_bytes_max);
  if (!config) return true;
  auto on_linux = json::member(*config, "linux");
  if (!on_linux) return true;
  auto namespaces = json::member(*on_linux, "namespaces");
  if (!namespaces) return true;
  json::elements all(*namespaces);
  while (auto one = all.next()) {
    auto path = json::member(*one, "path");
    if (json::member(*one, "type") == "\"pid\"" && (!path || *path == "\"\"")) return false;
  }
  return true;
}

std::string group_of(const std::string& bundle, const std::string& id) {
  constexpr std::string_view labels[] = {"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"};
  auto config = read_file(bundle + "/config.json", config_bytes_max);
  auto annotations = config ? json::member(*config, "annotations") : std::nullopt;
  if (!annotations) return id;
  for (auto label : labels)
    if (auto value = json::member(*annotations, label))
      if (auto text = json::text_of(*value); text && !text->empty()) return *text;
  return id;
}

}  // namespace kedge::shim
