// support.h: real loops, sockets and certificates for the tests of net.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>

#include "net/http/client.h"
#include "net/http/server.h"
#include "net/tls.h"
#include "reactor/loop.h"
#include "reactor/sync.h"

namespace kedge::test {

struct pem_pair {
  std::string certificate, key;
};
// A self-signed P-256 certificate for localhost and 127.0.0.1 that is its own CA.
// With an empty `names` it has its common name alone.
pem_pair make_certificate(const std::string& common_name, const char* names = "DNS:localhost,IP:127.0.0.1");

// Runs `body` on a fresh loop of each backend, with a deadline for all of it.
void on_each_backend(const std::function<task<void>()>& body);

// A handler from a function.
class function_handler final : public net::http::handler {
 public:
  using function = std::function<task<void>(net::http::exchange&)>;
  explicit function_handler(function f) : function_(std::move(f)) {}
  task<void> serve(net::http::exchange& e) override { return function_(e); }

 private:
  function function_;
};

// A server on 127.0.0.1 while it lives.
class running_server {
 public:
  explicit running_server(function_handler::function f, net::http::server_options options = {});
  ~running_server();
  net::http::server& get() noexcept { return server_; }
  reactor::endpoint at() const { return server_.listening(0).at(0); }

 private:
  function_handler handler_;
  net::http::server server_;
  reactor::scope scope_;
};
net::http::server_options with_tls(const pem_pair& p, bool http2 = false);

// Sends `text`, and reads until the peer's end or `quiet` passes without a byte.
task<std::string> raw_exchange(reactor::endpoint at, std::string text, duration quiet = std::chrono::milliseconds(300),
                               bool half_close = false);

}  // namespace kedge::test
