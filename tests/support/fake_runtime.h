// fake_runtime.h: a container runtime of the test's own: CRI over gRPC on a socket, as the node's client asks it.
#pragma once

#include <map>
#include <string>

#include "base/protobuf_wire.h"
#include "net/grpc.h"
#include "net/http/server.h"

class fake_runtime final : public kedge::net::http::handler {
 public:
  // `network` null: this machine's.
  fake_runtime(std::string socket, kedge::reactor::network* network)
      : server_(*this, {.listen = {kedge::reactor::endpoint::unix_path(std::move(socket))},
                        .plain_http2 = true,
                        .network = network}) {}

  bool runtime_ready = true, network_ready = true;
  std::map<std::string, int> asked;  // by method

  // Until it is dropped.
  kedge::task<kedge::result<void>> run() { return server_.run(0); }
  kedge::task<void> serve(kedge::net::http::exchange& e) override {
    (void)co_await e.read_all();
    auto method = e.request().path.substr(e.request().path.rfind('/') + 1);
    ++asked[method];
    auto answer = kedge::net::grpc::frame_message(of(method));
    kedge::net::http::response head;
    head.headers.add("content-type", "application/grpc");
    if (!co_await e.start(head)) co_return;
    if (!co_await e.write(answer)) co_return;
    kedge::net::http::headers status;
    status.add("grpc-status", "0");
    (void)co_await e.finish(status);
  }

 private:
  using message = kedge::wire::writer;
  static std::string condition(std::string_view type, bool is) {
    return message()
        .text(1, type)
        .number(2, is)
        .text(3, is ? "" : "NotYet")
        .text(4, is ? "" : "the test says so")
        .take();
  }
  std::string of(std::string_view method) const {
    if (method == "Version") return message().text(1, "0.1.0").text(2, "fake").text(3, "1.0.0").text(4, "v1").take();
    if (method != "Status") return {};  // no images, no file systems
    auto conditions = message()
                          .message(1, condition("RuntimeReady", runtime_ready))
                          .message(1, condition("NetworkReady", network_ready))
                          .take();
    return message().message(1, conditions).take();
  }

  kedge::net::http::server server_;
};
