#include "tunnel/client.h"

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "net/websocket/websocket.h"
#include "tunnel/dial.h"

namespace kedge::tunnel {

std::string_view name_of(server_state s) noexcept {
  switch (s) {
    case server_state::unknown: return "unknown";
    case server_state::ok: return "ok";
    case server_state::failed: return "failed";
    case server_state::leaving: return "leaving";
  }
  return "unknown";
}

bool allowed_always(std::string_view protocol, std::string_view address, std::uint16_t kubelet_port) {
  constexpr std::uint16_t container_streaming_port = 10010;
  auto to = split_host_port(address);
  return protocol == "tcp" && to && (to->host == "127.0.0.1" || to->host == "::1") &&
         (to->port == kubelet_port || to->port == container_streaming_port);
}

struct client::entry {
  std::string address;
  server_state state = server_state::unknown;
  time_point since{};
  unsigned attempts = 0;
  std::string last_error;
  tunnel::link* link = nullptr;  // the one that stands
  unsigned credentials = 0;      // that it was opened with
  std::vector<tunnel::link*> replaced;
  bool replacing = false;
  bool wanted = true;      // else it goes when its streams have ended
  bool left = false;       // the server ended the last tunnel because it stops
  reactor::event ended{};  // the one that stood
  reactor::scope work{};   // last: ends first

  std::size_t streams() const {
    std::size_t n = link ? link->streams() : 0;
    for (auto* l : replaced) n += l->streams();
    return n;
  }
};

client::client(client_options options) : options_(std::move(options)) {}
client::~client() = default;

void client::set_servers(std::vector<std::string> addresses) {
  if (addresses.empty()) return;
  wanted_ = std::move(addresses);
  changed_.set();
}

void client::begin_anew() {
  for (auto& [address, e] : entries_) {
    e->work.cancel();
    e->work.spawn(keep(*e));
  }
}

void client::renew() {
  ++credentials_;
  for (auto& [address, e] : entries_)
    if (e->link && !e->replacing) e->work.spawn(replace(*e));
}

task<void> client::run() {
  struct ends_all {
    client& c;
    ~ends_all() {
      c.leaving_.cancel();
      c.entries_.clear();
    }
  } guard{*this};
  for (bool first = true;; first = false) {
    co_await changed_.wait();
    // A change within the pause restarts it: servers that come one by one are one change.
    while (!first && changed_.is_set()) {
      changed_.reset();
      co_await reactor::sleep_for(options_.debounce);
    }
    changed_.reset();
    apply(wanted_);
  }
}

void client::apply(const std::vector<std::string>& addresses) {
  std::vector<std::string> unwanted;
  for (auto& [address, e] : entries_) {
    bool wanted = std::find(addresses.begin(), addresses.end(), address) != addresses.end();
    if (std::exchange(e->wanted, wanted) && !wanted) unwanted.push_back(address);
  }
  for (auto& address : unwanted) leaving_.spawn(let_go(address));
  for (auto& a : addresses) {
    auto& e = entries_[a];
    if (e) continue;
    e = std::make_unique<entry>();
    e->address = a;
    e->since = reactor::loop::current().now();
    e->work.spawn(keep(*e));
  }
}

// A server that is no longer listed may be one that stops: it ends its streams by itself, and loses no request.
task<void> client::let_go(std::string address) {
  auto until = reactor::loop::current().now() + options_.leave_max;
  for (;;) {
    auto i = entries_.find(address);
    if (i == entries_.end() || i->second->wanted) co_return;
    if (i->second->streams() == 0 || reactor::loop::current().now() >= until) {
      entries_.erase(i);
      co_return;
    }
    co_await reactor::sleep_for(std::min<duration>(leave_check, options_.leave_max));
  }
}

void client::change(entry& e, server_state s) {
  if (e.state == s) return;
  e.state = s;
  e.since = reactor::loop::current().now();
  if (options_.on_state) options_.on_state(e.address, s);
}

task<void> client::keep(entry& e) {
  for (;;) {
    e.left = false;
    e.ended.reset();
    const auto credentials = credentials_;
    auto opened = co_await open(e);
    if (opened) {
      e.attempts = 0;
      change(e, server_state::ok);
      stand(e, *std::move(opened), credentials);
      co_await e.ended.wait();
    } else {
      e.last_error = std::move(opened).error().message;
    }
    if (e.left) {
      change(e, server_state::leaving);
      log::info("tunnel to {}: the server stops; trying again in {}", e.address,
                format_duration(options_.retry_interval));
    } else {
      change(e, server_state::failed);
      ++e.attempts;
      log::warning("tunnel to {}: {}; trying again in {}", e.address, e.last_error,
                   format_duration(options_.retry_interval));
    }
    co_await reactor::sleep_for(options_.retry_interval);
  }
}

task<result<std::unique_ptr<link>>> client::open(const entry& e) {
  net::http::target to;
  KEDGE_CO_TRY(auto host, split_host_port(e.address));
  to.host = host.host;
  to.at.port = host.port;
  if (reactor::parse_endpoint(e.address)) to.at.address = host.host;
  if (options_.tls) to.tls = options_.tls();
  net::http::client http(options_.network);
  net::websocket::rejected said;
  auto upgraded = co_await reactor::with_deadline(
      net::websocket::connect(http, {.to = std::move(to), .path = options_.path}, &said),
      reactor::loop::current().now() + handshake_timeout);
  if (!upgraded) {
    auto why = std::move(upgraded).error();
    if (said.status != 0 && !said.body.empty()) why.message += ": " + quote(said.body.substr(0, 200));
    co_return fail(std::move(why));
  }
  co_return std::make_unique<link>((*upgraded)->release(), role::client, "client", 0,
                                   [this](std::unique_ptr<tunnel_stream> s) { return answer(std::move(s)); },
                                   options_.session);
}

// From now on that is the tunnel.
void client::stand(entry& e, std::unique_ptr<link> l, unsigned credentials) {
  log::info("tunnel to {} is open", e.address);
  l->on_lively = [this, &e, own = l.get()](bool lively) {
    if (e.link == own) change(e, lively ? server_state::ok : server_state::failed);
  };
  e.link = l.get();
  e.credentials = credentials;
  e.work.spawn(serve(e, std::move(l)));
  // They were renewed while this one was made.
  if (e.link && credentials != credentials_ && !e.replacing) e.work.spawn(replace(e));
}

task<void> client::serve(entry& e, std::unique_ptr<link> l) {
  struct listed {
    entry& of;
    link* own;
    ~listed() {
      if (of.link == own) of.link = nullptr;
      std::erase(of.replaced, own);
    }
  } guard{e, l.get()};
  auto why = co_await l->run();
  if (e.link != l.get()) co_return;
  e.left = l->peer_left();
  e.last_error = std::move(why.message);
  e.ended.set();
}

// The one that stands goes on until there is another one: a server that refuses the new credentials yet costs nothing.
task<void> client::replace(entry& e) {
  e.replacing = true;
  struct done {
    entry& of;
    ~done() { of.replacing = false; }
  } guard{e};
  while (e.link && e.credentials != credentials_) {
    const auto credentials = credentials_;
    auto opened = co_await open(e);
    if (!e.link) co_return;  // whoever keeps it makes the next one
    if (!opened) {
      log::warning("tunnel to {}: no new one with renewed credentials: {}; trying again in {}", e.address,
                   opened.error().message, format_duration(options_.retry_interval));
      co_await reactor::sleep_for(options_.retry_interval);
      continue;
    }
    auto* old = e.link;
    if (e.replaced.size() >= replaced_max) e.replaced.front()->close();
    e.replaced.push_back(old);
    change(e, server_state::ok);
    stand(e, *std::move(opened), credentials);
    e.work.spawn(drain(e, old));
  }
}

// Its server may have chosen it just before it heard of the new one: so only when nothing came for a while.
task<void> client::drain(entry& e, link* l) {
  const auto end = reactor::loop::current().now() + replaced_max_age;
  auto quiet_since = reactor::loop::current().now();
  for (;;) {
    co_await reactor::sleep_for(std::min<duration>(leave_check, options_.replaced_quiet));
    if (std::ranges::find(e.replaced, l) == e.replaced.end()) co_return;  // ended by itself
    const auto now = reactor::loop::current().now();
    if (l->streams() > 0) quiet_since = now;
    if (now - quiet_since < options_.replaced_quiet && now < end) continue;
    log::info("tunnel to {}: the one before is closed", e.address);
    l->close();
    co_return;
  }
}

task<void> client::answer(std::unique_ptr<tunnel_stream> s) {
  if (!options_.allow || !options_.allow(s->protocol(), s->address())) {
    log::warning("tunnel: refused to connect to {} {}", quote(s->protocol()), quote(s->address()));
    s->end("connect not allowed");
    co_return;
  }
  auto work = options_.dial ? options_.dial(s->protocol(), s->address())
                            : dial_tcp(options_.network ? *options_.network : reactor::os_network(), s->address());
  auto local = co_await reactor::with_deadline(std::move(work), reactor::loop::current().now() + dial_timeout);
  if (!local) {
    s->end(local.error().message);
    co_return;
  }
  co_await relay(std::move(s), std::move(*local));
}

std::vector<client::status> client::servers() const {
  std::vector<status> out;
  for (auto& [address, e] : entries_)
    out.push_back({.server = address,
                   .state = e->state,
                   .since = e->since,
                   .streams = e->streams(),
                   .round_trip = e->link ? e->link->round_trip() : duration(0),
                   .attempts = e->attempts,
                   .last_error = e->last_error});
  return out;
}

}  // namespace kedge::tunnel
