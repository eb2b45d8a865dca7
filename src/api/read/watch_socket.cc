#include "api/read/watch_socket.h"

#include <string>
#include <vector>

#include "base/strings.h"

namespace kedge::api {
namespace {

// What a frame of protobuf begins with on a plain stream: its length. A message knows its own.
constexpr std::size_t length_bytes = 4;

// The subprotocols that the client offers, but its token (authentication/union.h).
std::vector<std::string> offered(const net::http::headers& h) {
  std::vector<std::string> out;
  for (auto field : h.all("Sec-WebSocket-Protocol"))
    for (auto protocol : split(field, ','))
      if (auto p = trim(protocol); !p.empty() && !p.starts_with("base64url.bearer.authorization.k8s.io."))
        out.emplace_back(p);
  return out;
}

}  // namespace

task<result<void>> watch_socket::start(const net::http::response&) {
  auto& asked = e_.request().headers;
  const auto origin = asked.get("Origin");
  if (origin.empty() || origin == "null") {
    (void)co_await e_.respond({.status = 403}, std::string_view());
    co_return fail(errc::invalid, "a websocket without an origin");
  }
  auto protocols = offered(asked);
  if (protocols.size() > 1) {
    (void)co_await e_.respond({.status = 400}, std::string_view("missing or bad WebSocket-Protocol"));
    co_return fail(errc::invalid, "more than one subprotocol, of which none is known");
  }
  KEDGE_CO_TRY(socket_, co_await net::websocket::accept(e_, protocols));
  beside_.spawn([](net::websocket::connection& s, reactor::event& gone) -> task<void> {
    while (co_await s.receive()) {}
    gone.set();
  }(*socket_, left_));
  co_return result<void>();
}

task<result<void>> watch_socket::write(std::span<const bytes> parts) {
  const bool binary = format_ == wire::protobuf;
  for (auto part : parts) {
    const bytes message = binary ? part.subspan(length_bytes) : part;
    KEDGE_CO_CHECK(co_await socket_->send(binary ? net::websocket::opcode::binary : net::websocket::opcode::text,
                                          std::span(&message, 1)));
  }
  co_return result<void>();
}

task<result<void>> watch_socket::finish(const net::http::headers&) {
  if (left_.is_set()) co_return result<void>();
  co_return co_await socket_->close();
}

task<void> watch_socket::while_there(task<void> work) {
  auto whole = [](task<void> w) -> task<result<void>> {
    co_await std::move(w);
    co_return result<void>();
  };
  (void)co_await reactor::with_stop(whole(std::move(work)), left_);
}

}  // namespace kedge::api
