// An application that nobody can reach, two servers that reach it through tunnels that it opened, and a balancer in
// front of the servers:
//
//   user ─▶ balancer ─▶ server 1 │ server 2 ═ tunnel ═▶ node ─▶ application
//
// Then server 1 goes away, and the user doesn't notice. Everything runs on one loop here; none of it need to be one
// process.
#include <fmt/format.h>

#include "kedge/balancer.h"
#include "kedge/http.h"
#include "kedge/tunnel.h"

using namespace kedge;
using namespace std::chrono_literals;
using net::http::exchange;

namespace {

struct application final : net::http::handler {
  task<void> serve(exchange& e) override { (void)co_await e.respond({}, std::string_view("hello from behind")); }
};

// Takes the node's tunnel at /connect; asks the application for everything else, through it.
class server final : public net::http::handler {
 public:
  explicit server(std::string target) : target_(std::move(target)) {}
  task<void> serve(exchange& e) override {
    if (e.request().path == "/connect") co_return co_await tunnels_.serve(e, "node");
    auto answer = co_await ask();
    (void)co_await e.respond({.status = answer ? 200 : 502, .headers = {}}, answer ? *answer : answer.error().message);
  }

 private:
  task<result<std::string>> ask() {
    KEDGE_CO_TRY(auto there, co_await tunnels_.dial("node", "tcp", target_));
    KEDGE_CO_CHECK(co_await there->send(as_bytes("GET / HTTP/1.1\r\nHost: application\r\nConnection: close\r\n\r\n")));
    std::string text;
    for (;;) {
      KEDGE_CO_TRY(auto piece, co_await there->receive());
      if (piece.empty()) break;
      text += as_text(piece.view());
    }
    co_return text.substr(std::min(text.find("\r\n\r\n"), text.size() - 4) + 4);
  }

  std::string target_;
  tunnel::server tunnels_{{&reactor::loop::current()}};
};

// A handler behind a port of its own, until it is dropped.
struct listening {
  explicit listening(net::http::handler& h) : http(h, {.listen = {{"127.0.0.1", 0}}}) {
    running.spawn([](net::http::server& s) -> task<void> { (void)co_await s.run(0); }(http));
  }
  task<std::string> address() {
    co_await http.ready(0).wait();
    co_return http.listening(0).front().text();
  }
  net::http::server http;
  reactor::scope running;
};

balancer::health health_of(tunnel::server_state s) {
  switch (s) {
    case tunnel::server_state::ok: return balancer::health::ok;
    case tunnel::server_state::failed: return balancer::health::failed;
    case tunnel::server_state::leaving: return balancer::health::leaving;
    default: return balancer::health::unknown;
  }
}

task<int> run() {
  application behind;
  listening app(behind);
  auto target = co_await app.address();
  server one(target), two(target);
  auto first = std::make_unique<listening>(one);
  listening second(two);
  std::vector<std::string> servers{co_await first->address(), co_await second.address()};

  balancer::load_balancer balanced({&reactor::loop::current()}, {.listen = {{"127.0.0.1", 0}}});
  reactor::event both;
  int up = 0;
  tunnel::client node({.allow = [&](std::string_view, std::string_view address) { return address == target; },
                       .on_state =
                           [&](const std::string& address, tunnel::server_state s) {
                             balanced.report(address, health_of(s));
                             if (s == tunnel::server_state::ok && ++up == 2) both.set();
                           },
                       .path = "/connect"});
  balanced.set_servers(servers);
  node.set_servers(servers);
  reactor::scope parts;
  parts.spawn(node.run());
  parts.spawn([](balancer::load_balancer& b) -> task<void> { (void)co_await b.run(); }(balanced));
  co_await balanced.ready().wait();
  if (!co_await both.wait_until(reactor::loop::current().now() + 10s)) co_return 1;

  for (int round = 1; round <= 2; ++round) {
    net::http::client user;
    auto asked = user.fetch({.to = {.at = balanced.listening().front()}, .path = "/"});
    auto answer = co_await reactor::with_deadline(std::move(asked), reactor::loop::current().now() + 10s);
    fmt::print("{}: {}\n", round, answer ? answer->body : answer.error().message);
    if (!answer || answer->body != "hello from behind") co_return 1;
    first.reset();  // server 1 goes, and its connections with it
  }
  co_return 0;
}

}  // namespace

int main() {
  auto backend = reactor::make_backend(reactor::io_backend::automatic);
  if (!backend) return 1;
  reactor::loop loop(*std::move(backend));
  return loop.run_until(run());
}
