#include "node/runtime/cri.h"

#include "base/log.h"
#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "node/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

result<std::string> runtime_socket(std::string_view endpoint) {
  auto path = endpoint;
  for (std::string_view prefix : {"unix://", "unix:"})
    if (path.starts_with(prefix)) {
      path.remove_prefix(prefix.size());
      break;
    }
  constexpr std::size_t sun_path_max = 107;
  if (!path.starts_with('/') || path.size() > sun_path_max)
    return fail(errc::invalid,
                "container runtime endpoint " + quote(endpoint) + " is not of the form unix:///path/to/socket");
  return std::string(path);
}

void cri_client::use(const std::string& socket) {
  if (socket == socket_) return;
  socket_ = socket;
  channel_ = std::make_unique<net::grpc::channel>(net::http::target{.at = reactor::endpoint::unix_path(socket)},
                                                  runtime_answer_bytes_max, network_);
}

task<result<std::string>> cri_client::call(std::string method, std::string message, duration within) {
  if (!channel_) co_return fail(errc::unavailable, "no container runtime has been started yet");
  co_return co_await reactor::with_deadline(channel_->unary("/runtime.v1." + method, std::move(message)),
                                            reactor::loop::current().now() + within);
}

task<result<cri_version>> cri_client::version() {
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/Version"));
  co_return decode_version_response(answer);
}
task<result<cri_status>> cri_client::status() {
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/Status"));
  co_return decode_status_response(answer);
}
task<result<std::vector<runtime_image>>> cri_client::list_images() {
  KEDGE_CO_TRY(auto answer, co_await call("ImageService/ListImages"));
  co_return decode_list_images_response(answer);
}
task<result<std::vector<cri_filesystem>>> cri_client::image_fs_info() {
  KEDGE_CO_TRY(auto answer, co_await call("ImageService/ImageFsInfo"));
  co_return decode_image_fs_info_response(answer);
}
task<void> cri_client::warn_of_systemd(std::string endpoint) {
  auto answer = co_await call("RuntimeService/RuntimeConfig");
  if (auto systemd = answer ? decode_uses_systemd(*answer) : result<bool>(false); systemd && *systemd)
    log::warning(
        "the container runtime at {} makes control groups by systemd, which Kedge's node doesn't: it is to use "
        "cgroupfs "
        "(containerd: SystemdCgroup = false; cri-o: cgroup_manager = \"cgroupfs\")",
        endpoint);
}
task<result<void>> cri_client::checkpoint(std::string container_id, std::string location,
                                          std::int64_t timeout_seconds) {
  wire::writer w;
  w.text(1, container_id);
  w.text(2, location);
  w.number(3, static_cast<std::uint64_t>(timeout_seconds));
  const duration within = timeout_seconds > 0 ? duration(std::chrono::seconds(timeout_seconds)) : runtime_work_deadline;
  auto answer = co_await call("RuntimeService/CheckpointContainer", w.take(), within);
  if (!answer) co_return fail(std::move(answer).error());
  co_return result<void>();
}

}  // namespace kedge::node
