// attack.h: a peer in a simulated world that sends whatever the fuzzer wants. Time is virtual, so that an input that
// makes the other side wait for its timeouts costs nothing.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/assert.h"
#include "world.h"

namespace kedge::fuzz {

// The other side must be done with any peer by then: every wait that it allows has a deadline far below.
inline constexpr duration patience = std::chrono::minutes(30);
inline constexpr std::uint16_t port = 443;

// The first byte says in which pieces the rest is sent: all at once, or so many bytes at a time.
struct script {
  std::string bytes;
  std::size_t piece;
  script(const std::uint8_t* data, std::size_t size)
      : bytes(reinterpret_cast<const char*>(data), size),
        piece(bytes.empty() || bytes[0] == 0 ? 1 << 20 : static_cast<unsigned char>(bytes[0])) {
    if (!bytes.empty()) bytes.erase(0, 1);
  }
};

// Sends the script and takes what comes until the other side ends the connection.
inline task<void> act(reactor::stream& s, const script& what) {
  reactor::scope sending;
  sending.spawn([](reactor::stream& to, const script& sc) -> task<void> {
    for (std::size_t i = 0; i < sc.bytes.size(); i += sc.piece)
      if (!co_await to.send(as_bytes(std::string_view(sc.bytes).substr(i, sc.piece)))) co_return;
    (void)co_await to.finish();
  }(s, what));
  for (;;) {
    auto b = co_await s.receive();
    if (!b || b->empty()) break;
  }
}

// The script against a server: `serve` answers one connection, and must come to an end.
template <typename Serve>
void attack_server(const script& what, Serve serve) {
  sim::world w(1);
  auto& server = w.add_host("server");
  auto& peer = w.add_host("peer");
  bool over = false;
  server.start([&](sim::host& h) -> task<void> {
    auto l = h.listen({"", port});
    kedge_assert(l.has_value());
    auto s = co_await (*l)->accept();
    if (s) co_await serve(std::move(*s));
    over = true;
  });
  peer.start([&](sim::host& h) -> task<void> {
    auto s = co_await h.connect({server.address(), port});
    if (s) co_await act(**s, what);
  });
  kedge_assert(w.run_until([&] { return over; }, patience));
}

// The script as a server's answer: `ask` connects to the address through the network, and must come to an end.
template <typename Ask>
void attack_client(const script& what, Ask ask) {
  sim::world w(1);
  auto& server = w.add_host("server");
  auto& client = w.add_host("client");
  bool over = false;
  server.start([&](sim::host& h) -> task<void> {
    auto l = h.listen({"", port});
    kedge_assert(l.has_value());
    for (;;) {  // who tries again gets the same
      auto s = co_await (*l)->accept();
      if (!s) co_return;
      co_await act(**s, what);
    }
  });
  client.start([&](sim::host& h) -> task<void> {
    co_await ask(h, reactor::endpoint{server.address(), port});
    over = true;
  });
  kedge_assert(w.run_until([&] { return over; }, patience));
}

}  // namespace kedge::fuzz
