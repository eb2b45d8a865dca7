#include "tunnel/dial.h"

#include "base/strings.h"
#include "reactor/offload.h"
#include "tunnel/link.h"

namespace kedge::tunnel {

result<host_port> split_host_port(std::string_view text) {
  auto colon = text.rfind(':');
  auto bad = [&] { return fail(errc::invalid, quote(text) + " is not host:port"); };
  if (colon == std::string_view::npos) return bad();
  auto host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string_view::npos)
    return bad();
  auto port = parse_uint(text.substr(colon + 1));
  if (host.empty() || !port || *port == 0 || *port > 65535) return bad();
  return host_port{std::string(host), static_cast<std::uint16_t>(*port)};
}

task<result<std::unique_ptr<reactor::stream>>> dial_tcp(reactor::network& network, std::string address) {
  KEDGE_CO_TRY(auto to, split_host_port(address));
  if (reactor::parse_endpoint(address)) co_return co_await network.connect({to.host, to.port});
  KEDGE_CO_TRY(auto addresses, co_await reactor::resolve(to.host));
  error last{errc::not_found, "no address for " + quote(to.host)};
  for (auto& a : addresses) {
    auto s = co_await network.connect({a, to.port});
    if (s) co_return std::move(s);
    last = std::move(s).error();
  }
  co_return fail(std::move(last));
}

task<void> relay(std::unique_ptr<tunnel_stream> tunnel, std::unique_ptr<reactor::stream> local) {
  std::string why = "EOF";
  reactor::event done;
  reactor::scope directions;
  directions.spawn([](tunnel_stream& t, reactor::stream& l, std::string& reason, reactor::event& over) -> task<void> {
    for (;;) {
      auto b = co_await l.receive();
      if (!b) reason = b.error().message;
      if (!b || b->empty() || !co_await t.send_owned(std::move(*b))) break;
    }
    over.set();
  }(*tunnel, *local, why, done));
  directions.spawn([](tunnel_stream& t, reactor::stream& l, std::string& reason, reactor::event& over) -> task<void> {
    for (;;) {
      auto b = co_await t.receive();
      if (!b || b->empty()) break;
      if (auto sent = co_await l.send(b->view()); !sent) {
        reason = sent.error().message;
        break;
      }
    }
    over.set();
  }(*tunnel, *local, why, done));
  co_await done.wait();
  directions.cancel();
  tunnel->end(why);
}

static task<void> carry(reactor::stream& from, reactor::stream& to, reactor::event& over) {
  for (;;) {
    auto b = co_await from.receive();
    if (!b) break;
    if (b->empty()) {
      (void)co_await to.finish();
      break;
    }
    if (!co_await to.send(b->view())) break;
  }
  over.set();
}

task<void> splice(reactor::stream& a, reactor::stream& b) {
  reactor::event over;
  reactor::scope directions;
  directions.spawn(carry(a, b, over));
  directions.spawn(carry(b, a, over));
  co_await over.wait();
}

}  // namespace kedge::tunnel
