#include "node/cri.h"

#include "base/strings.h"
#include "node/limits.h"
#include "reactor/sync.h"

namespace kedge::node {

namespace {

// One unary call without arguments: all requests that we make are the empty message. gRPC over HTTP/2: a message is a flag
// byte (0: not compressed) and its length as four bytes, then its bytes; the outcome is in the trailers.
constexpr std::string_view empty_message("\0\0\0\0\0", 5);

result<std::string> unframe(std::string body) {
  if (body.size() < 5 || body[0] != 0) return fail(errc::protocol, "the container runtime's answer is no gRPC message");
  auto size = load_be32(as_bytes(body).data() + 1);
  if (body.size() != 5 + std::size_t(size)) return fail(errc::protocol, "the container runtime's answer was cut short");
  body.erase(0, 5);
  return body;
}

// grpc-status by number (https://grpc.io/docs/guides/status-codes).
errc code_of(std::string_view grpc_status) {
  switch (parse_uint(grpc_status).value_or(2)) {
    case 4: return errc::timeout;
    case 5: return errc::not_found;
    case 6: return errc::already_exists;
    case 7: return errc::forbidden;
    case 8: return errc::exhausted;
    case 12: return errc::unsupported;
    case 14: return errc::unavailable;
    default: return errc::protocol;
  }
}

task<result<std::string>> unary(net::http::client& http, std::string socket, std::string method) {
  net::http::client_request r{
      .to = {.at = reactor::endpoint::unix_path(std::move(socket)), .http2 = true},
      .method = "POST",
      .path = std::move(method),
      .body = std::string(empty_message),
  };
  r.headers.add("content-type", "application/grpc");
  r.headers.add("te", "trailers");
  KEDGE_CO_TRY(auto exchange, co_await http.open(std::move(r)));
  KEDGE_CO_TRY(auto* head, co_await exchange->head());
  if (head->status != 200) co_return fail(errc::protocol, "the container runtime answered with HTTP status " + std::to_string(head->status));
  KEDGE_CO_TRY(auto body, co_await exchange->read_all(runtime_answer_bytes_max));
  // An answer without a message has its outcome in the head.
  auto& outcome = exchange->trailers().has("grpc-status") ? exchange->trailers() : head->headers;
  if (auto status = outcome.get("grpc-status"); status != "0") {
    auto message = percent_decode(outcome.get("grpc-message"), false);
    co_return fail(code_of(status), message && !message->empty() ? *message : "gRPC status " + std::string(status));
  }
  co_return unframe(std::move(body));
}

}  // namespace

result<std::string> runtime_socket(std::string_view endpoint) {
  auto path = endpoint;
  for (std::string_view prefix : {"unix://", "unix:"})
    if (path.starts_with(prefix)) {
      path.remove_prefix(prefix.size());
      break;
    }
  constexpr std::size_t sun_path_max = 107;
  if (!path.starts_with('/') || path.size() > sun_path_max)
    return fail(errc::invalid, "container runtime endpoint " + quote(endpoint) + " is not of the form unix:///path/to/socket");
  return std::string(path);
}

task<result<std::string>> cri_client::call(std::string method) {
  if (socket_.empty()) co_return fail(errc::unavailable, "no container runtime has been started yet");
  co_return co_await reactor::with_deadline(unary(*http_, socket_, "/runtime.v1." + method),
                                            reactor::loop::current().now() + runtime_deadline);
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

}  // namespace kedge::node
