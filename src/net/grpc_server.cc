#include "net/grpc_server.h"

#include "base/bytes.h"
#include "base/strings.h"
#include "net/grpc.h"
#include "net/limits.h"

namespace kedge::net::grpc {

namespace {

constexpr std::size_t prefix_bytes = 5;

code code_of(errc e) {
  switch (e) {
    case errc::unsupported: return code::unimplemented;
    case errc::not_found: return code::not_found;
    case errc::invalid: return code::invalid_argument;
    case errc::unavailable: return code::unavailable;
    case errc::exhausted:
    case errc::too_large: return code::resource_exhausted;
    default: return code::unknown;
  }
}

// The one message of a unary call.
result<std::string> only_message(std::string_view body) {
  if (body.size() < prefix_bytes) return fail(errc::invalid, "the call has no message");
  auto* p = as_bytes(body).data();
  if (p[0] != std::byte(0)) return fail(errc::unsupported, "a compressed gRPC message");
  if (load_be32(p + 1) != body.size() - prefix_bytes)
    return fail(errc::invalid, "the call's message is cut short, or isn't its only one");
  return std::string(body.substr(prefix_bytes));
}

}  // namespace

task<void> service::serve(http::exchange& e) {
  e.limit_body(grpc_message_max_bytes + prefix_bytes);
  auto body = co_await e.read_all();
  if (!body) co_return e.abort();
  result<std::string> said = only_message(*body);
  if (said) said = co_await answer(e.request().path, *std::move(said));
  http::response head;
  head.headers.add("content-type", "application/grpc");
  if (!co_await e.start(head)) co_return;
  http::headers status;
  if (said) {
    auto framed = frame_message(*said);
    if (!co_await e.write(framed)) co_return;
    status.add("grpc-status", "0");
  } else {
    status.add("grpc-status", std::to_string(static_cast<int>(code_of(said.error().code))));
    status.add("grpc-message", percent_encode(said.error().message));
  }
  (void)co_await e.finish(status);
}

}  // namespace kedge::net::grpc
