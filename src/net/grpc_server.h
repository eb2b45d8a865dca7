// grpc_server.h: the answering side of gRPC, as far as unary calls: on a unix socket, over http::server with
// plain_http2 (device plugins register so, and monitors ask what containers have).
#pragma once

#include <string>

#include "net/http/handler.h"

namespace kedge::net::grpc {

// `answer` gives the message that answers "/package.Service/Method"; an error becomes the call's status: Unimplemented
// (errc::unsupported), NotFound, InvalidArgument (errc::invalid), Unavailable, and Unknown, as an error of grpc-go's
// is.
class service : public http::handler {
 public:
  task<void> serve(http::exchange& e) final;

 private:
  virtual task<result<std::string>> answer(std::string method, std::string message) = 0;
};

}  // namespace kedge::net::grpc
