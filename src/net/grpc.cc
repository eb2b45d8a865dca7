#include "net/grpc.h"

#include "base/strings.h"

namespace kedge::net::grpc {

namespace {

constexpr std::string_view names[] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};
constexpr std::size_t prefix_bytes = 5;  // compressed flag, length
constexpr int refused_retries_max = 2;

errc code_of(int status) {
  switch (static_cast<code>(status)) {
    case code::cancelled: return errc::cancelled;
    case code::invalid_argument:
    case code::out_of_range: return errc::invalid;
    case code::deadline_exceeded: return errc::timeout;
    case code::not_found: return errc::not_found;
    case code::already_exists: return errc::already_exists;
    case code::permission_denied: return errc::forbidden;
    case code::resource_exhausted: return errc::exhausted;
    case code::failed_precondition:
    case code::aborted: return errc::conflict;
    case code::unimplemented: return errc::unsupported;
    case code::unavailable: return errc::unavailable;
    case code::data_loss: return errc::corrupt;
    case code::unauthenticated: return errc::unauthenticated;
    default: return errc::internal;
  }
}

// grpc/doc/PROTOCOL-HTTP2.md: what a status-less answer of a proxy or a wrong server means.
int status_of_http(int http) {
  switch (http) {
    case 400: return static_cast<int>(code::internal);
    case 401: return static_cast<int>(code::unauthenticated);
    case 403: return static_cast<int>(code::permission_denied);
    case 404: return static_cast<int>(code::unimplemented);
    case 429:
    case 502:
    case 503:
    case 504: return static_cast<int>(code::unavailable);
    default: return static_cast<int>(code::unknown);
  }
}

}  // namespace

error status_error(int status, std::string_view message) {
  auto name = status > 0 && status < static_cast<int>(std::size(names)) ? names[status] : std::string_view("Unknown");
  auto text = percent_decode(message, false);
  return {code_of(status), std::string(name) + ": " + (text ? *text : std::string(message))};
}

std::string frame_message(std::string_view message) {
  std::string out(1, '\0');
  append_be32(out, static_cast<std::uint32_t>(message.size()));
  out += message;
  return out;
}

// At the end of the body: grpc-status from the trailers, or from the head of an answer without messages.
result<void> call::status() {
  auto text = exchange_->trailers().get("grpc-status");
  auto message = exchange_->trailers().get("grpc-message");
  if (text.empty()) return fail(errc::protocol, "the gRPC server sent no status");
  auto n = parse_uint(text);
  if (n && *n == 0) return {};
  return fail(status_error(static_cast<int>(n.value_or(2)), message));
}

task<result<std::optional<std::string>>> call::next() {
  if (!std::exchange(checked_, true)) {
    KEDGE_CO_TRY(auto* head, co_await exchange_->head());
    if (auto only = head->headers.get("grpc-status"); !only.empty()) {
      auto n = parse_uint(only);
      if (n && *n == 0) co_return std::nullopt;
      co_return fail(status_error(static_cast<int>(n.value_or(2)), head->headers.get("grpc-message")));
    }
    if (head->status != 200)
      co_return fail(status_error(status_of_http(head->status), "HTTP status " + std::to_string(head->status)));
    if (!head->headers.get("content-type").starts_with("application/grpc"))
      co_return fail(errc::protocol, "the answer is not gRPC");
  }
  for (;;) {
    if (buffered_.size() >= prefix_bytes) {
      auto* p = as_bytes(buffered_).data();
      if (p[0] != std::byte(0)) co_return fail(errc::unsupported, "a compressed gRPC message");
      auto size = load_be32(p + 1);
      if (size > grpc_message_max_bytes)
        co_return fail(errc::too_large, "a gRPC message of " + std::to_string(size) + " bytes");
      if (buffered_.size() - prefix_bytes >= size) {
        std::string message = buffered_.substr(prefix_bytes, size);
        buffered_.erase(0, prefix_bytes + size);
        co_return std::optional(std::move(message));
      }
    }
    KEDGE_CO_TRY(auto piece, co_await exchange_->read());
    if (piece.empty()) {
      if (!buffered_.empty()) co_return fail(errc::protocol, "a gRPC message was cut short");
      KEDGE_CO_CHECK(status());
      co_return std::nullopt;
    }
    buffered_ += as_text(piece.view());
  }
}

channel::channel(http::target to, std::size_t message_max_bytes, reactor::network* network)
    : client_(network), to_(std::move(to)), message_max_(message_max_bytes) {
  to_.http2 = true;
}

task<result<void>> call::send(std::string message) {
  auto framed = frame_message(message);
  const bytes parts[] = {as_bytes(framed)};
  co_return co_await exchange_->write(parts);
}

task<result<void>> call::finish() { co_return co_await exchange_->finish(); }

http::client_request channel::request_to(std::string method, http::headers metadata) const {
  http::client_request r{.to = to_, .method = "POST", .path = std::move(method), .headers = std::move(metadata)};
  r.headers.set("content-type", "application/grpc");
  r.headers.set("te", "trailers");
  return r;
}

task<result<std::unique_ptr<call>>> channel::converse(std::string method, http::headers metadata) {
  auto r = request_to(std::move(method), std::move(metadata));
  r.streams = true;
  KEDGE_CO_TRY(auto x, co_await client_.open(std::move(r)));
  co_return std::make_unique<call>(std::move(x));
}

task<result<std::unique_ptr<call>>> channel::stream(std::string method, std::string message, http::headers metadata) {
  if (message.size() > message_max_) co_return fail(errc::too_large, "the gRPC request is too large");
  auto r = request_to(std::move(method), std::move(metadata));
  r.body = frame_message(message);
  KEDGE_CO_TRY(auto x, co_await client_.open(std::move(r)));
  co_return std::make_unique<call>(std::move(x));
}

task<result<std::string>> channel::unary(std::string method, std::string message, http::headers metadata) {
  for (int attempt = 0;; ++attempt) {
    KEDGE_CO_TRY(auto c, co_await stream(method, message, metadata));
    auto answer = co_await c->next();
    // A server that goes away while we ask has done nothing of it; the next one has it.
    if (!answer && c->refused() && attempt < refused_retries_max) continue;
    if (!answer) co_return fail(std::move(answer).error());
    if (!*answer) co_return fail(errc::protocol, "the gRPC server sent no answer");
    KEDGE_CO_TRY(auto more, co_await c->next());  // the status
    if (more) co_return fail(errc::protocol, "the gRPC server sent two answers to a unary call");
    co_return std::move(**answer);
  }
}

}  // namespace kedge::net::grpc
