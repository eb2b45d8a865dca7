#include "node/runtime/cri_pod_runtime.h"

#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "node/limits.h"
#include "node/runtime/pod_messages.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

std::string only_id(std::string_view id) {
  wire::writer w;
  w.text(1, id);
  return w.take();
}

// The kubelet's name of a call.
std::string_view operation_name(std::string_view method) {
  static constexpr std::pair<std::string_view, std::string_view> names[] = {
      {"RuntimeService/RunPodSandbox", "run_podsandbox"},
      {"RuntimeService/StopPodSandbox", "stop_podsandbox"},
      {"RuntimeService/RemovePodSandbox", "remove_podsandbox"},
      {"RuntimeService/PodSandboxStatus", "podsandbox_status"},
      {"RuntimeService/ListPodSandbox", "list_podsandbox"},
      {"RuntimeService/CreateContainer", "create_container"},
      {"RuntimeService/StartContainer", "start_container"},
      {"RuntimeService/StopContainer", "stop_container"},
      {"RuntimeService/RemoveContainer", "remove_container"},
      {"RuntimeService/ListContainers", "list_containers"},
      {"RuntimeService/ContainerStatus", "container_status"},
      {"RuntimeService/ReopenContainerLog", "reopen_container_log"},
      {"RuntimeService/UpdateContainerResources", "update_container"},
      {"RuntimeService/UpdatePodSandboxResources", "update_podsandbox_resources"},
      {"RuntimeService/ListContainerStats", "list_container_stats"},
      {"RuntimeService/ExecSync", "exec_sync"},
      {"RuntimeService/Exec", "exec"},
      {"RuntimeService/Attach", "attach"},
      {"RuntimeService/PortForward", "port_forward"},
      {"ImageService/ImageStatus", "image_status"},
      {"ImageService/PullImage", "pull_image"},
  };
  for (auto& [from, to] : names)
    if (from == method) return to;
  return method.substr(method.find('/') + 1);
}

// The filter of ListPodSandbox (label_selector 3) and ListContainers (label_selector 4) for one pod.
std::string of_pod(const std::string& uid, unsigned selector_field) {
  wire::writer entry, filter, w;
  if (uid.empty()) return {};
  entry.text(1, "io.kubernetes.pod.uid");
  entry.text(2, uid);
  filter.message(selector_field, entry.take());
  w.message(1, filter.take());
  return w.take();
}

result<void> without_missing(result<void> r) {
  if (!r && r.error().code == errc::not_found) return {};
  return r;
}

}  // namespace

// "NotFound: no such container" is how the channel has them.
std::string rpc_description(const error& e) {
  auto colon = e.message.find(": ");
  if (colon == std::string::npos || e.message.substr(0, colon).find(' ') != std::string::npos) return e.message;
  return e.message.substr(colon + 2);
}
std::string rpc_text(const error& e) {
  auto description = rpc_description(e);
  if (description.size() == e.message.size())
    return "rpc error: code = " + std::string(e.code == errc::timeout ? "DeadlineExceeded" : "Unavailable") +
           " desc = " + description;
  return "rpc error: code = " + e.message.substr(0, e.message.size() - description.size() - 2) +
         " desc = " + description;
}

void cri_pod_runtime::use(const std::string& socket) {
  if (socket == socket_ || socket.empty()) return;
  socket_ = socket;
  channel_ = std::make_shared<net::grpc::channel>(net::http::target{.at = reactor::endpoint::unix_path(socket)},
                                                  runtime_answer_bytes_max, network_);
}

void cri_pod_runtime::use_for_images(const std::string& socket) {
  images_channel_ = std::make_shared<net::grpc::channel>(net::http::target{.at = reactor::endpoint::unix_path(socket)},
                                                         runtime_answer_bytes_max, network_);
}

task<result<std::string>> cri_pod_runtime::call(std::string method, std::string message, duration within) {
  auto channel = images_channel_ && method.starts_with("ImageService/") ? images_channel_ : channel_;
  if (!channel) co_return fail(errc::unavailable, "no container runtime has been started yet");
  auto& loop = reactor::loop::current();
  const auto began = loop.now();
  auto answer =
      co_await reactor::with_deadline(channel->unary("/runtime.v1." + method, std::move(message)), began + within);
  auto& counted = operations_[std::move(method)];
  counted.took.observe(loop.now() - began);
  counted.failed += !answer;
  co_return answer;
}

void cri_pod_runtime::write_metrics(exposition& out) const {
  auto labels = [](const std::string& method) { return label_text({{"operation_type", operation_name(method)}}); };
  out.family("kubelet_runtime_operations_total", "counter",
             "[ALPHA] Cumulative number of runtime operations by operation type.");
  for (auto& [method, o] : operations_) out.sample(labels(method), o.took.count());
  out.family("kubelet_runtime_operations_errors_total", "counter",
             "[ALPHA] Cumulative number of runtime operation errors by operation type.");
  for (auto& [method, o] : operations_)
    if (o.failed > 0) out.sample(labels(method), o.failed);
  out.family("kubelet_runtime_operations_duration_seconds", "histogram",
             "[ALPHA] Duration in seconds of runtime operations. Broken down by operation type.");
  for (auto& [method, o] : operations_) o.took.write(out, labels(method));
}

task<result<void>> cri_pod_runtime::call_by_id(std::string method, std::string id, duration within) {
  auto answer = co_await call(std::move(method), only_id(id), within);
  if (!answer) co_return fail(std::move(answer).error());
  co_return result<void>();
}

task<result<std::string>> cri_pod_runtime::run_sandbox(const sandbox_config& config, std::string handler) {
  wire::writer w;
  w.message(1, encode_sandbox_config(config));
  w.text(2, handler);
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/RunPodSandbox", w.take(), runtime_work_deadline * 2));
  co_return decode_text(answer);
}
task<result<void>> cri_pod_runtime::stop_sandbox(std::string id) {
  co_return without_missing(co_await call_by_id("RuntimeService/StopPodSandbox", std::move(id), runtime_work_deadline));
}
task<result<void>> cri_pod_runtime::remove_sandbox(std::string id) {
  co_return without_missing(
      co_await call_by_id("RuntimeService/RemovePodSandbox", std::move(id), runtime_work_deadline));
}
task<result<std::vector<sandbox_info>>> cri_pod_runtime::sandboxes(std::string pod_uid) {
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/ListPodSandbox", of_pod(pod_uid, 3), runtime_work_deadline));
  co_return decode_sandboxes(answer);
}
task<result<sandbox_status>> cri_pod_runtime::status_of_sandbox(std::string id) {
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/PodSandboxStatus", only_id(id), runtime_work_deadline));
  co_return decode_sandbox_status(answer);
}

task<result<std::string>> cri_pod_runtime::create_container(std::string sandbox_id, const container_config& config,
                                                            const sandbox_config& sandbox) {
  wire::writer w;
  w.text(1, sandbox_id);
  w.message(2, encode_container_config(config));
  w.message(3, encode_sandbox_config(sandbox));
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/CreateContainer", w.take(), runtime_work_deadline));
  co_return decode_text(answer);
}
task<result<void>> cri_pod_runtime::start_container(std::string id) {
  return call_by_id("RuntimeService/StartContainer", std::move(id), runtime_work_deadline);
}
task<result<void>> cri_pod_runtime::stop_container(std::string id, std::int64_t grace_seconds) {
  wire::writer w;
  w.text(1, id);
  w.number(2, static_cast<std::uint64_t>(grace_seconds));
  auto answer = co_await call("RuntimeService/StopContainer", w.take(),
                              std::chrono::seconds(grace_seconds) + runtime_work_deadline);
  if (!answer) co_return without_missing(fail(std::move(answer).error()));
  co_return result<void>();
}
task<result<void>> cri_pod_runtime::remove_container(std::string id) {
  co_return without_missing(
      co_await call_by_id("RuntimeService/RemoveContainer", std::move(id), runtime_work_deadline));
}
// What isn't said of the resources stays as it is.
task<result<void>> cri_pod_runtime::update_resources(std::string id, container_resources resources) {
  wire::writer w;
  w.text(1, id);
  w.message(2, encode_resources(resources));
  auto answer = co_await call("RuntimeService/UpdateContainerResources", w.take(), runtime_work_deadline);
  if (!answer) co_return fail(std::move(answer).error());
  co_return result<void>();
}

// Most have nothing to do for it: containerd before 2.3 knows no such call, or says in other words that it doesn't.
task<result<void>> cri_pod_runtime::update_sandbox(std::string id, container_resources resources,
                                                   container_resources overhead) {
  wire::writer w;
  w.text(1, id);
  w.message(2, encode_resources(overhead));
  w.message(3, encode_resources(resources));
  auto answer = co_await call("RuntimeService/UpdatePodSandboxResources", w.take(), runtime_work_deadline);
  if (answer || answer.error().code == errc::unsupported) co_return result<void>();
  auto& e = answer.error();
  if (e.message.starts_with("Unknown: ") && e.message.contains("not implemented")) co_return result<void>();
  co_return fail(std::move(answer).error());
}

task<result<std::vector<container_info>>> cri_pod_runtime::containers(std::string pod_uid) {
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/ListContainers", of_pod(pod_uid, 4), runtime_work_deadline));
  co_return decode_containers(answer);
}
task<result<container_status>> cri_pod_runtime::status_of_container(std::string id) {
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/ContainerStatus", only_id(id), runtime_work_deadline));
  co_return decode_container_status(answer);
}
task<result<void>> cri_pod_runtime::reopen_log(std::string id) {
  return call_by_id("RuntimeService/ReopenContainerLog", std::move(id), runtime_work_deadline);
}
task<result<std::vector<container_usage>>> cri_pod_runtime::usage() {
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/ListContainerStats", {}, runtime_work_deadline));
  co_return decode_usage(answer);
}

task<result<exec_result>> cri_pod_runtime::exec(std::string id, std::vector<std::string> command,
                                                std::int64_t timeout_seconds) {
  wire::writer w;
  w.text(1, id);
  for (auto& word : command) w.message(2, word);
  w.number(3, static_cast<std::uint64_t>(timeout_seconds));
  auto within =
      timeout_seconds > 0 ? duration(std::chrono::seconds(timeout_seconds)) + runtime_deadline : exec_time_max;
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/ExecSync", w.take(), within));
  co_return decode_exec_result(answer);
}

task<result<std::string>> cri_pod_runtime::stream_url(std::string id, exec_request request) {
  wire::writer w;
  w.text(1, id);
  const bool attach = request.command.empty();
  if (attach) {
    w.number(2, request.in);
    w.number(3, request.tty);
    w.number(4, request.out);
    w.number(5, request.err);
  } else {
    for (auto& word : request.command) w.message(2, word);
    w.number(3, request.tty);
    w.number(4, request.in);
    w.number(5, request.out);
    w.number(6, request.err);
  }
  KEDGE_CO_TRY(auto answer, co_await call(attach ? "RuntimeService/Attach" : "RuntimeService/Exec", w.take(),
                                          runtime_work_deadline));
  co_return decode_text(answer);
}

task<result<std::string>> cri_pod_runtime::port_forward_url(std::string sandbox_id, std::vector<int> ports) {
  wire::writer w;
  w.text(1, sandbox_id);
  for (auto p : ports) w.number(2, static_cast<std::uint64_t>(p));
  KEDGE_CO_TRY(auto answer, co_await call("RuntimeService/PortForward", w.take(), runtime_work_deadline));
  co_return decode_text(answer);
}

task<result<std::optional<image_info>>> cri_pod_runtime::image(std::string name) {
  wire::writer spec, w;
  spec.text(1, name);
  w.message(1, spec.take());
  KEDGE_CO_TRY(auto answer, co_await call("ImageService/ImageStatus", w.take(), runtime_work_deadline));
  co_return decode_image_status(answer);
}

task<result<std::string>> cri_pod_runtime::pull(std::string name, const image_credentials* credentials,
                                                const sandbox_config& sandbox) {
  wire::writer spec, w;
  spec.text(1, name);
  w.message(1, spec.take());
  if (credentials) {
    wire::writer auth;
    auth.text(1, credentials->username);
    auth.text(2, credentials->password);
    auth.text(3, credentials->auth);
    auth.text(4, credentials->server_address);
    auth.text(5, credentials->identity_token);
    w.message(2, auth.take());
  }
  w.message(3, encode_sandbox_config(sandbox));
  KEDGE_CO_TRY(auto answer, co_await call("ImageService/PullImage", w.take(), image_pull_time_max));
  co_return decode_text(answer);
}

task<result<std::vector<stored_image>>> cri_pod_runtime::images() {
  KEDGE_CO_TRY(auto answer, co_await call("ImageService/ListImages", {}, runtime_work_deadline));
  co_return decode_stored_images(answer);
}

task<result<void>> cri_pod_runtime::remove_image(std::string id) {
  wire::writer spec, w;
  spec.text(1, id);
  w.message(1, spec.take());
  auto answer = co_await call("ImageService/RemoveImage", w.take(), runtime_work_deadline);
  if (!answer) co_return without_missing(fail(std::move(answer).error()));
  co_return result<void>();
}

}  // namespace kedge::node
