// A driver of devices that registers with a node by itself, for tests: DRAPlugin v1 and pluginregistration over gRPC on
// unix sockets. Every claim that is prepared gets one device, with a CDI name made of the claim's.
//
//   dra_driver NAME SOCKET REGISTRATION_SOCKET FOLDER
//
//   FOLDER/calls           a line of JSON for each call: its method and the claims' names
//   FOLDER/fail-<method>   while it is there, each claim is answered with the text in it
//   FOLDER/registered      what the node said of the registration
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/protobuf_wire.h"
#include "json/write.h"
#include "net/grpc.h"
#include "net/http/server.h"
#include "reactor/backends.h"
#include "reactor/scope.h"

using namespace kedge;
using json::value;

namespace {

struct claim {
  std::string ns, uid, name;
};

std::vector<claim> claims_in(std::string_view message) {
  std::vector<claim> out;
  wire::fields request(message);
  while (request.next()) {
    if (request.field() != 1) continue;
    claim c;
    wire::fields one(request.bytes());
    while (one.next()) switch (one.field()) {
        case 1: c.ns = one.bytes(); break;
        case 2: c.uid = one.bytes(); break;
        case 3: c.name = one.bytes(); break;
        default: break;
      }
    out.push_back(std::move(c));
  }
  return out;
}

class driver final : public net::http::handler {
 public:
  driver(std::string name, std::string socket, std::string folder)
      : name_(std::move(name)), socket_(std::move(socket)), folder_(std::move(folder)) {}

  task<void> serve(net::http::exchange& e) override {
    constexpr std::size_t prefix_bytes = 5;
    const auto path = e.request().path;
    const auto method = path.substr(path.rfind('/') + 1);
    auto body = co_await e.read_all();
    auto message = body && body->size() >= prefix_bytes ? body->substr(prefix_bytes) : std::string();
    auto answer = act(path, method, message);
    net::http::response head;
    head.headers.add("content-type", "application/grpc");
    if (!co_await e.start(head)) co_return;
    if (answer && !co_await e.write(net::grpc::frame_message(*answer))) co_return;
    net::http::headers status;
    constexpr std::string_view fine = "0", unimplemented = "12";
    status.add("grpc-status", std::string(answer ? fine : unimplemented));
    (void)co_await e.finish(status);
  }

 private:
  std::optional<std::string> act(std::string_view path, const std::string& method, std::string_view message) const {
    using w = wire::writer;
    if (path == "/pluginregistration.Registration/GetInfo")
      return w().text(1, "DRAPlugin").text(2, name_).text(3, socket_).text(4, "v1.DRAPlugin").take();
    if (path == "/pluginregistration.Registration/NotifyRegistrationStatus") {
      std::ofstream(folder_ + "/registered") << message;
      return std::string();
    }
    if (!path.starts_with("/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/")) return std::nullopt;
    auto claims = claims_in(message);
    json::array names;
    for (auto& c : claims) names.emplace_back(c.name);
    std::ofstream(folder_ + "/calls", std::ios::app)
        << json::write(value(json::object{{"method", method}, {"claims", std::move(names)}})) << "\n";
    std::string problem;
    std::getline(std::ifstream(folder_ + "/fail-" + method), problem);
    std::string out;
    const bool prepares = method == "NodePrepareResources";
    for (auto& c : claims) {
      w answer;
      if (!problem.empty())
        answer.text(prepares ? 2 : 1, problem);
      else if (prepares)
        answer.message(1,
                       w().text(2, "pool").text(3, "device").text(4, fmt::format("{}/claim={}", name_, c.uid)).take());
      out += w().message(1, w().text(1, c.uid).message(2, answer.take()).take()).take();
    }
    return out;
  }

  const std::string name_, socket_, folder_;
};

task<int> run(std::string name, std::string socket, std::string registration, std::string folder) {
  driver d(std::move(name), socket, std::move(folder));
  net::http::server own(d, {.listen = {reactor::endpoint::unix_path(socket)}, .plain_http2 = true});
  net::http::server registers(d, {.listen = {reactor::endpoint::unix_path(registration)}, .plain_http2 = true});
  reactor::scope first;
  first.spawn([](net::http::server& s) -> task<void> { (void)co_await s.run(0); }(own));
  co_await own.ready(0).wait();
  auto ended = co_await registers.run(0);
  std::fprintf(stderr, "%s\n", ended ? "it ended" : ended.error().message.c_str());
  co_return 1;
}

}  // namespace

int main(int count, char** arguments) {
  constexpr int arguments_count = 5;
  if (count != arguments_count) {
    std::fputs("dra_driver NAME SOCKET REGISTRATION_SOCKET FOLDER\n", stderr);
    return 2;
  }
  auto backend = reactor::make_backend(reactor::io_backend::automatic);
  if (!backend) return 1;
  reactor::loop loop(std::move(*backend));
  return loop.run_until(run(arguments[1], arguments[2], arguments[3], arguments[4]));
}
