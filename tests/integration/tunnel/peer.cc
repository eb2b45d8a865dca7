// peer.cc: one end of a tunnel as a program, for the test that pairs it with remotedialer's (peer.go has the same
// commands).
//
//   peer server <tunnel address> <control address>   nodes connect to the first; a connection to the second sends one
//   line
//                                                    "host:port\n" and is then a stream to there, through node "edge-1"
//                                                    SIGTERM closes all tunnels, and ends when they have ended
//   peer client <server address>                     allows every target but port 1; syncs each second
#include <csignal>
#include <cstdio>
#include <cstring>

#include "base/strings.h"
#include "net/http/server.h"
#include "reactor/signal.h"
#include "tunnel/client.h"
#include "tunnel/server.h"

namespace {

using namespace kedge;

class upgrades final : public net::http::handler {
 public:
  explicit upgrades(tunnel::server& s) : server_(s) {}
  task<void> serve(net::http::exchange& e) override { return server_.serve(e, "edge-1"); }

 private:
  tunnel::server& server_;
};

// Copies both ways; the first end of either direction closes both.
task<void> join(std::unique_ptr<reactor::stream> a, std::unique_ptr<reactor::stream> b, reactor::buffer first) {
  auto copy = [](reactor::stream& from, reactor::stream& to, reactor::event& over) -> task<void> {
    for (;;) {
      auto piece = co_await from.receive();
      if (!piece || piece->empty() || !co_await to.send(piece->view())) break;
    }
    over.set();
  };
  if (!first.empty() && !co_await b->send(first.view())) co_return;
  reactor::event done;
  reactor::scope ways;
  ways.spawn(copy(*a, *b, done));
  ways.spawn(copy(*b, *a, done));
  co_await done.wait();
}

task<void> control(tunnel::server& s, std::unique_ptr<reactor::stream> c) {
  auto head = co_await c->receive();
  if (!head) co_return;
  auto text = as_text(head->view());
  auto end = text.find('\n');
  if (end == text.npos) co_return;
  auto target = co_await s.dial("edge-1", "tcp", std::string(text.substr(0, end)));
  if (!target) co_return;
  head->consume(end + 1);
  co_await join(std::move(c), std::move(*target), std::move(*head));
}

task<int> run_server(std::string tunnel_address, std::string control_address) {
  tunnel::server server({&reactor::loop::current()});
  upgrades handler(server);
  net::http::server http(handler, {.listen = {*reactor::parse_endpoint(tunnel_address)}});
  reactor::scope scope;
  // A killed predecessor's ring holds its listeners for a moment longer: again until the address is free.
  scope.spawn([](net::http::server& h) -> task<void> {
    for (;;) {
      auto ended = co_await h.run(0);
      std::fprintf(stderr, "%s\n", ended.error().message.c_str());
      co_await reactor::sleep_for(std::chrono::milliseconds(20));
    }
  }(http));
  auto listener = reactor::os_network().listen(*reactor::parse_endpoint(control_address));
  while (!listener) {
    co_await reactor::sleep_for(std::chrono::milliseconds(20));
    listener = reactor::os_network().listen(*reactor::parse_endpoint(control_address));
  }
  auto stop = reactor::signal_waiter::make({SIGTERM});
  if (!stop) co_return 1;
  std::puts("listening");
  std::fflush(stdout);
  scope.spawn([](reactor::listener& l, tunnel::server& s, reactor::scope& streams) -> task<void> {
    for (;;) {
      auto c = co_await l.accept();
      if (!c) co_return;
      streams.spawn(control(s, std::move(*c)));
    }
  }(**listener, server, scope));
  (void)co_await stop->next();
  server.close();
  while (!server.sessions().empty()) co_await reactor::sleep_for(std::chrono::milliseconds(5));
  co_return 0;
}

task<int> run_client(std::string server) {
  tunnel::client client({.allow = [](std::string_view, std::string_view address) { return !address.ends_with(":1"); },
                         .session = {.sync_interval = std::chrono::seconds(1)},
                         .retry_interval = std::chrono::milliseconds(200)});
  client.set_servers({std::move(server)});
  co_await client.run();
  co_return 0;
}

}  // namespace

int main(int count, char** arguments) {
  auto backend = kedge::reactor::make_backend(kedge::reactor::io_backend::automatic);
  if (!backend) return 1;
  kedge::reactor::loop loop(std::move(*backend));
  if (count == 4 && !std::strcmp(arguments[1], "server")) return loop.run_until(run_server(arguments[2], arguments[3]));
  if (count == 3 && !std::strcmp(arguments[1], "client")) return loop.run_until(run_client(arguments[2]));
  std::fputs("peer server <tunnel address> <control address> | peer client <server address>\n", stderr);
  return 2;
}
