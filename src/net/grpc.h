// grpc.h: unary and streaming calls of gRPC over HTTP/2 (containerd, etcd). Messages are bytes: who calls
// encodes them. Deadlines as everywhere: drop the call.
#pragma once

#include <memory>
#include <string>

#include "net/http/client.h"

namespace kedge::net::grpc {

// The status codes that callers tell apart (grpc/doc/statuscodes.md has all seventeen).
enum class code : int {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16,
};
// The error of a status: its code as the nearest errc, "NotFound: no such container" as the message.
error status_error(int status, std::string_view message);

// A streaming call: the server's messages, and the client's where it streams too.
class call {
 public:
  explicit call(std::unique_ptr<http::client_exchange> x) noexcept : exchange_(std::move(x)) {}
  // The next message; nullopt at the end of a call that ended well, else its status as the error.
  task<result<std::optional<std::string>>> next();
  // Whether the server said that it has done nothing of it.
  bool refused() const noexcept { return exchange_->refused(); }
  // Of a call made by converse(): another message, and that there are no more. May run beside next(). errc::closed: the
  // server has ended the call; next() tells why.
  task<result<void>> send(std::string message);
  task<result<void>> finish();

 private:
  result<void> status();
  std::unique_ptr<http::client_exchange> exchange_;
  std::string buffered_;
  bool checked_ = false;
};

class channel {
 public:
  // `to.http2` is set here; `to.at` is mostly a unix socket. `network` null: this machine's.
  explicit channel(http::target to, std::size_t message_max_bytes = grpc_message_max_bytes,
                   reactor::network* network = nullptr);

  // "/runtime.v1.RuntimeService/Version", the encoded request; the encoded answer.
  task<result<std::string>> unary(std::string method, std::string message, http::headers metadata = {});
  task<result<std::unique_ptr<call>>> stream(std::string method, std::string message, http::headers metadata = {});
  // Both sides stream.
  task<result<std::unique_ptr<call>>> converse(std::string method, http::headers metadata = {});

 private:
  http::client_request request_to(std::string method, http::headers metadata) const;

  http::client client_;
  http::target to_;
  std::size_t message_max_;
};

// The five bytes before a message, and the message.
std::string frame_message(std::string_view message);

}  // namespace kedge::net::grpc
