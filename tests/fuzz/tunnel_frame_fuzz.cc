// Tunnel messages from a hostile peer, in pieces: no input crashes a session, and what it holds stays bounded.
#include <algorithm>
#include <vector>

#include "reactor/loop.h"
#include "tunnel/session.h"

namespace {

struct silent_transport final : kedge::tunnel::session::transport {
  std::vector<std::shared_ptr<kedge::tunnel::flow>> asked;
  void control(std::string_view message) override {
    // What we say is well formed.
    kedge::tunnel::frame_decoder d;
    if (!d.feed(kedge::as_bytes(message), true)) __builtin_trap();
  }
  void connect_asked(std::shared_ptr<kedge::tunnel::flow> f) override { asked.push_back(std::move(f)); }
};

}  // namespace

// Input: per piece one byte of length, with the top bit for the message's end.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kedge;
  static reactor::loop loop(*reactor::make_backend(reactor::io_backend::epoll));
  reactor::loop::current_guard guard(loop);
  if (size == 0) return 0;
  silent_transport t;
  tunnel::session s(data[0] & 1 ? tunnel::role::client : tunnel::role::server, t, "edge-1", 1);
  auto opened = s.open("tcp", "127.0.0.1:10250");
  for (std::size_t at = 1; at < size;) {
    auto head = data[at++];
    auto n = std::min<std::size_t>(head & 0x7f, size - at);
    auto whole = reactor::buffer::allocate(n + 1);
    whole.truncate(n);
    std::copy(data + at, data + at + n, reinterpret_cast<std::uint8_t*>(whole.writable().data()));
    at += n;
    auto view = whole.view();
    if (!s.receive(view, head & 0x80, head & 1 ? &whole : nullptr)) break;
    if ((head & 3) == 3 && opened && !(*opened)->received.empty() && (*opened)->owner) (void)s.take(**opened);
  }
  for (auto& f : t.asked) s.close(*f, "EOF");
  return 0;
}
