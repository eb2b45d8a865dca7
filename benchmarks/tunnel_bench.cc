// tunnel_bench.cc: tunnels and the balancer without a cluster around them; benchmarks/rows/tunnels.py runs it beside
// others.
//
//   tunnel_bench idle PORT COUNT          one process serves, another keeps COUNT nodes' tunnels: "bytes each"
//   tunnel_bench stream SECONDS           bytes/s of one stream: TLS alone, through a tunnel to the node, and from it
//   tunnel_bench echo COUNT               dial + 1-byte echo through a tunnel: "microseconds each"
//   tunnel_bench backend PORT             answers a byte by itself; 'S' by a stream without end
//   tunnel_bench balance PORT BACKEND     the balancer in front of 127.0.0.1:BACKEND
//   tunnel_bench connections PORT COUNT   COUNT connections with one byte each, 32 at a time: seconds
//   tunnel_bench bytes PORT BYTES         that many bytes over 8 connections: seconds
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "balancer/balancer.h"
#include "base/log.h"
#include "crypto/certificate.h"
#include "net/http/server.h"
#include "reactor/cores.h"
#include "tunnel/client.h"
#include "tunnel/dial.h"
#include "tunnel/server.h"

namespace {

using namespace kedge;
using namespace std::chrono_literals;
using reactor::buffer;
using stream_ptr = std::unique_ptr<reactor::stream>;

constexpr std::size_t piece_bytes = 64 * 1024;

[[noreturn]] void give_up(std::string_view what, const error& e) {
  fmt::print(stderr, "tunnel_bench: {}: {}\n", what, e.message);
  std::_Exit(1);
}
template <typename T>
T must(std::string_view what, result<T> r) {
  if (!r) give_up(what, r.error());
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

// One CA, a server's certificate for 127.0.0.1, and one that every node shows.
struct identities {
  std::string ca, server_chain, server_key, node_chain, node_key;
  identities() {
    auto now = system_wall_time();
    auto authority = must("CA", crypto::authority::create("bench", now));
    auto make = [&](crypto::leaf_request leaf, std::string& chain, std::string& key_pem) {
      auto key = must("key", crypto::private_key::generate(crypto::key_kind::ecdsa_p256));
      chain = crypto::chain_pem(
          must("certificate", crypto::issue(authority, key.public_part(), leaf, now, system_random())), authority);
      key_pem = key.pem();
    };
    ca = authority.bundle_pem();
    make({.common_name = "server", .addresses = {"127.0.0.1"}, .server = true}, server_chain, server_key);
    make({.common_name = "system:node:bench", .organizations = {"system:nodes"}, .client = true}, node_chain, node_key);
    node_chain = must("leaf", crypto::parse_bundle(node_chain)).front().pem();  // as agents send it
  }
  std::shared_ptr<net::tls_server_context> for_server() const {
    return must("TLS", net::tls_server_context::make({.http2 = false, .client_ca_pem = ca}, server_chain, server_key));
  }
  std::shared_ptr<net::tls_client_context> for_node() const {
    return must("TLS", net::tls_client_context::make(
                           {.ca_pem = ca, .chain_pem = node_chain, .key_pem = node_key, .alpn = {"http/1.1"}}));
  }
};

class upgrades final : public net::http::handler {
 public:
  explicit upgrades(tunnel::server& s) : server_(s) {}
  task<void> serve(net::http::exchange& e) override { return server_.serve(e, fmt::format("node-{}", count_++)); }

 private:
  tunnel::server& server_;
  int count_ = 0;
};

task<void> serve_http(net::http::server& http) { give_up("listen", (co_await http.run(0)).error()); }

std::size_t resident_bytes() {
  auto* f = std::fopen("/proc/self/statm", "r");
  std::size_t all = 0, resident = 0;
  if (!f || std::fscanf(f, "%zu %zu", &all, &resident) != 2) std::abort();
  std::fclose(f);
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// --- idle

task<int> hold_tunnels(const identities& who, std::uint16_t port, std::size_t count) {
  std::vector<std::unique_ptr<tunnel::client>> clients;
  reactor::scope running;
  auto tls = who.for_node();
  for (std::size_t i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<tunnel::client>(
        tunnel::client_options{.tls = [tls] { return tls; }, .retry_interval = 200ms}));
    running.spawn(clients.back()->run());
    clients.back()->set_servers({reactor::endpoint{"127.0.0.1", port}.text()});
    // One after the other: a storm of handshakes is another measure.
    while (clients.back()->servers().empty() || clients.back()->servers()[0].state != tunnel::server_state::ok)
      co_await reactor::sleep_for(200us);
  }
  reactor::event never;
  co_await never.wait();
  co_return 0;
}

task<int> serve_idle(const identities& who, std::uint16_t port, std::size_t count, pid_t holder) {
  tunnel::server tunnels({&reactor::loop::current()});
  upgrades handler(tunnels);
  net::http::server http(handler, {.listen = {{"127.0.0.1", port}}, .tls = who.for_server()});
  reactor::scope scope;
  scope.spawn(serve_http(http));
  while (tunnels.sessions().size() < 32) co_await reactor::sleep_for(5ms);
  co_await reactor::sleep_for(200ms);
  auto counted = tunnels.sessions().size();
  auto before = resident_bytes();
  while (tunnels.sessions().size() < count) co_await reactor::sleep_for(50ms);
  co_await reactor::sleep_for(12s);  // each has pinged twice
  auto after = resident_bytes();
  fmt::print("{}\n", (after - before) / (tunnels.sessions().size() - counted));
  ::kill(holder, SIGKILL);
  co_return 0;
}

// --- streams between two cores

struct meter {
  std::atomic<std::uint64_t> bytes{0};  // added to on one core, read on the other at the end
};

// Takes all; or gives without end.
class endless final : public reactor::stream {
 public:
  endless(meter& m, bool gives) : meter_(m), gives_(gives) {}
  task<result<buffer>> receive() override {
    if (!gives_) co_await closed_.wait();
    if (closed_.is_set()) co_return fail(errc::closed, "closed");
    auto b = buffer::allocate(piece_bytes);
    co_return std::move(b);
  }
  task<result<void>> send(std::span<const bytes> parts) override {
    for (auto p : parts) meter_.bytes.fetch_add(p.size(), std::memory_order_relaxed);
    co_return result<void>();
  }
  result<std::size_t> try_send(std::span<const bytes> parts) override {
    std::size_t n = 0;
    for (auto p : parts) n += p.size();
    meter_.bytes.fetch_add(n, std::memory_order_relaxed);
    return n;
  }
  task<result<void>> finish() override { co_return result<void>(); }
  void close() noexcept override { closed_.set(); }
  reactor::endpoint local() const override { return {}; }
  reactor::endpoint peer() const override { return {}; }

 private:
  meter& meter_;
  bool gives_;
  reactor::event closed_;
};

task<void> pour(reactor::stream& s, const std::string& piece) {
  while (co_await s.send(as_bytes(piece))) {}
}
task<void> drink(reactor::stream& s, meter& m) {
  for (;;) {
    auto b = co_await s.receive();
    if (!b || b->empty()) co_return;
    m.bytes.fetch_add(b->size(), std::memory_order_relaxed);
  }
}

double per_second(meter& m, time_point began) {
  auto took = std::chrono::duration<double>(reactor::loop::current().now() - began).count();
  return static_cast<double>(m.bytes.load(std::memory_order_relaxed)) / took;
}

// The node's core: a tunnel client whose targets are endless streams ("0.0.0.1:…" gives, others take), or real ones.
struct node_end {
  reactor::loop& loop;
  std::unique_ptr<reactor::scope> scope;
  std::unique_ptr<tunnel::client> client;

  void start(std::shared_ptr<net::tls_client_context> tls, std::uint16_t port, meter& m) {
    loop.post([this, tls, port, &m] {
      scope = std::make_unique<reactor::scope>();
      tunnel::client_options o{.tls = [tls] { return tls; },
                               .allow = [](std::string_view, std::string_view) { return true; },
                               .retry_interval = 20ms};
      o.dial = [&m](std::string, std::string address) -> task<result<stream_ptr>> {
        if (address.starts_with("127.")) co_return co_await tunnel::dial_tcp(reactor::os_network(), address);
        co_return std::make_unique<endless>(m, address.starts_with("0.0.0.1"));
      };
      client = std::make_unique<tunnel::client>(std::move(o));
      scope->spawn(client->run());
      client->set_servers({reactor::endpoint{"127.0.0.1", port}.text()});
    });
  }
  task<bool> stop() {
    return reactor::call_on(loop, [this]() -> task<bool> {
      scope.reset();
      client.reset();
      co_return true;
    });
  }
};

struct tunnel_pair {
  identities who;
  meter node_meter;
  tunnel::server tunnels;
  upgrades handler;
  net::http::server http;
  reactor::scope scope;
  node_end node;

  explicit tunnel_pair(reactor::cores& c)
      : tunnels({&c[0]}),
        handler(tunnels),
        http(handler, {.listen = {{"127.0.0.1", 0}}, .tls = who.for_server()}),
        node{.loop = c[1]} {}
  task<void> start() {
    scope.spawn(serve_http(http));
    co_await http.ready(0).wait();
    node.start(who.for_node(), http.listening(0).at(0).port, node_meter);
    while (!tunnels.has_session("node-0")) co_await reactor::sleep_for(5ms);
  }
  task<void> stop() {
    co_await node.stop();
    scope.cancel();
  }
};

task<double> plain_tls(reactor::cores& c, const identities& who, duration time) {
  meter m;
  std::uint16_t port = 0;
  std::unique_ptr<reactor::scope> there;
  auto server_tls = who.for_server();
  co_await reactor::call_on(c[1], [&]() -> task<bool> {
    there = std::make_unique<reactor::scope>();
    auto l = must("listen", reactor::os_network().listen({"127.0.0.1", 0}));
    port = l->local().port;
    there->spawn([](std::unique_ptr<reactor::listener> from, std::shared_ptr<net::tls_server_context> tls,
                    meter& into) -> task<void> {
      auto s = must("accept", co_await from->accept());
      auto t = must("handshake", co_await net::tls_accept(std::move(s), tls));
      co_await drink(*t, into);
    }(std::move(l), server_tls, m));
    co_return true;
  });
  auto s = must("connect", co_await reactor::os_network().connect({"127.0.0.1", port}));
  auto t = must("handshake", co_await net::tls_connect(std::move(s), who.for_node(), "127.0.0.1"));
  std::string piece(piece_bytes, 'x');
  double rate = 0;
  {
    reactor::scope pouring;
    auto began = reactor::loop::current().now();
    pouring.spawn(pour(*t, piece));
    co_await reactor::sleep_for(time);
    rate = per_second(m, began);
  }
  t.reset();
  co_await reactor::call_on(c[1], [&]() -> task<bool> {
    there.reset();
    co_return true;
  });
  co_return rate;
}

task<double> through_tunnel(tunnel_pair& p, bool to_node, duration time) {
  auto s = must("dial", co_await p.tunnels.dial("node-0", "tcp", to_node ? "0.0.0.2:1" : "0.0.0.1:1"));
  meter here;
  auto& m = to_node ? p.node_meter : here;
  m.bytes = 0;
  std::string piece(piece_bytes, 'x');
  reactor::scope moving;
  auto began = reactor::loop::current().now();
  moving.spawn(to_node ? pour(*s, piece) : drink(*s, here));
  co_await reactor::sleep_for(time);
  co_return per_second(m, began);
}

task<int> measure_streams(reactor::cores& c, duration time) {
  tunnel_pair p(c);
  co_await p.start();
  // In turn, so that a slow moment of the machine hits all three.
  double best[3] = {};
  for (int round = 0; round < 3; ++round) {
    best[0] = std::max(best[0], co_await plain_tls(c, p.who, time));
    best[1] = std::max(best[1], co_await through_tunnel(p, true, time));
    best[2] = std::max(best[2], co_await through_tunnel(p, false, time));
  }
  fmt::print("{:.0f} {:.0f} {:.0f}\n", best[0], best[1], best[2]);
  co_await p.stop();
  co_return 0;
}

task<void> echo_all(reactor::listener& l, reactor::scope& serving);
task<void> echo_one(stream_ptr s) {
  std::string piece;
  for (;;) {
    auto b = co_await s->receive();
    if (!b || b->empty()) co_return;
    if (as_text(b->view()).front() == 'S') {
      piece.assign(piece_bytes, 'x');
      co_return co_await pour(*s, piece);
    }
    if (!co_await s->send(b->view())) co_return;
  }
}
task<void> echo_all(reactor::listener& l, reactor::scope& serving) {
  for (;;) {
    auto s = co_await l.accept();
    if (!s) co_return;
    serving.spawn(echo_one(std::move(*s)));
  }
}

task<int> measure_echo(reactor::cores& c, int count) {
  tunnel_pair p(c);
  co_await p.start();
  auto l = must("listen", reactor::os_network().listen({"127.0.0.1", 0}));
  auto target = l->local().text();
  // The target is a service of the node: on its core.
  std::unique_ptr<reactor::listener> listener;
  std::unique_ptr<reactor::scope> serving;
  l.reset();
  co_await reactor::call_on(c[1], [&]() -> task<bool> {
    listener = must("listen", reactor::os_network().listen({"127.0.0.1", 0}));
    target = listener->local().text();
    serving = std::make_unique<reactor::scope>();
    serving->spawn(echo_all(*listener, *serving));
    co_return true;
  });
  auto once = [&]() -> task<void> {
    auto s = must("dial", co_await p.tunnels.dial("node-0", "tcp", target));
    must("send", co_await s->send(as_bytes("x")));
    auto b = must("receive", co_await s->receive());
    if (b.size() != 1) std::abort();
  };
  for (int i = 0; i < count / 10; ++i) co_await once();
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    auto began = monotonic_clock::now();
    co_await once();
    times.push_back(std::chrono::duration<double, std::micro>(monotonic_clock::now() - began).count());
  }
  std::sort(times.begin(), times.end());
  fmt::print("{:.1f} {:.1f}\n", times[times.size() / 2], times[times.size() * 99 / 100]);
  co_await reactor::call_on(c[1], [&]() -> task<bool> {
    serving.reset();
    listener.reset();
    co_return true;
  });
  co_await p.stop();
  co_return 0;
}

// --- the balancer

task<int> run_backend(std::uint16_t port) {
  auto l = must("listen", reactor::os_network().listen({"127.0.0.1", port}));
  reactor::scope serving;
  co_await echo_all(*l, serving);
  co_return 1;
}

task<int> run_balancer(std::uint16_t port, std::uint16_t backend) {
  balancer::load_balancer b({&reactor::loop::current()}, {.listen = {{"127.0.0.1", port}}});
  must("load", co_await b.load());
  b.set_servers({reactor::endpoint{"127.0.0.1", backend}.text()});
  b.report(reactor::endpoint{"127.0.0.1", backend}.text(), balancer::health::ok);
  give_up("listen", (co_await b.run()).error());
}

task<void> connect_some(std::uint16_t port, int& left) {
  while (left > 0) {
    --left;
    auto s = must("connect", co_await reactor::os_network().connect({"127.0.0.1", port}));
    must("send", co_await s->send(as_bytes("x")));
    auto b = must("receive", co_await s->receive());
    if (b.size() != 1) std::abort();
  }
}
task<int> measure_connections(std::uint16_t port, int count) {
  auto began = monotonic_clock::now();
  reactor::scope work;
  for (int i = 0; i < 32; ++i) work.spawn(connect_some(port, count));
  co_await work.join();
  fmt::print("{:.4f}\n", std::chrono::duration<double>(monotonic_clock::now() - began).count());
  co_return 0;
}

task<void> take_some(std::uint16_t port, std::int64_t& left) {
  auto s = must("connect", co_await reactor::os_network().connect({"127.0.0.1", port}));
  must("send", co_await s->send(as_bytes("S")));
  while (left > 0) {
    auto b = must("receive", co_await s->receive());
    if (b.empty()) std::abort();
    left -= static_cast<std::int64_t>(b.size());
  }
}
task<int> measure_bytes(std::uint16_t port, std::int64_t count) {
  auto began = monotonic_clock::now();
  reactor::scope work;
  for (int i = 0; i < 8; ++i) work.spawn(take_some(port, count));
  co_await work.join();
  fmt::print("{:.4f}\n", std::chrono::duration<double>(monotonic_clock::now() - began).count());
  co_return 0;
}

int on_one_core(std::function<task<int>()> main) {
  auto backend = must("loop", reactor::make_backend(reactor::io_backend::automatic));
  reactor::loop loop(std::move(backend));
  return loop.run_until(main());
}

int on_two_cores(std::function<task<int>(reactor::cores&)> main) {
  auto cores = must("cores", reactor::cores::make(2, reactor::io_backend::automatic));
  int code = 1;
  auto run = [](reactor::cores& all, std::function<task<int>(reactor::cores&)>& f, int& out) -> task<void> {
    out = co_await f(all);
    all.stop();
  };
  (*cores)[0].post([&] { (*cores)[0].spawn(run(*cores, main, code)); });
  cores->run();
  return code;
}

int measure_idle(std::uint16_t port, std::size_t count) {
  identities who;
  auto holder = ::fork();
  if (holder == 0) return on_one_core([&] { return hold_tunnels(who, port, count); });
  auto code = on_one_core([&] { return serve_idle(who, port, count, holder); });
  ::waitpid(holder, nullptr, 0);
  return code;
}

}  // namespace

int main(int count, char** words) {
  ::signal(SIGPIPE, SIG_IGN);
  log::configure({.least = log::level::error});
  std::string_view what = count > 1 ? words[1] : "";
  auto number = [&](int i) { return count > i ? std::atoll(words[i]) : 0; };
  auto port = static_cast<std::uint16_t>(number(2));
  if (what == "idle" && count == 4) return measure_idle(port, static_cast<std::size_t>(number(3)));
  if (what == "stream" && count == 3)
    return on_two_cores([&](reactor::cores& c) { return measure_streams(c, std::chrono::seconds(number(2))); });
  if (what == "echo" && count == 3)
    return on_two_cores([&](reactor::cores& c) { return measure_echo(c, static_cast<int>(number(2))); });
  if (what == "backend" && count == 3) return on_one_core([&] { return run_backend(port); });
  if (what == "balance" && count == 4)
    return on_one_core([&] { return run_balancer(port, static_cast<std::uint16_t>(number(3))); });
  if (what == "connections" && count == 4)
    return on_one_core([&] { return measure_connections(port, static_cast<int>(number(3))); });
  if (what == "bytes" && count == 4) return on_one_core([&] { return measure_bytes(port, number(3)); });
  fmt::print(stderr, "tunnel_bench: see the head of tunnel_bench.cc\n");
  return 2;
}
