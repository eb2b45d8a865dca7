#include "net/http/server.h"

#include <sys/resource.h>

#include "base/log.h"
#include "base/strings.h"

namespace kedge::net::http {

struct server::core_state {
  std::vector<reactor::endpoint> listening;
  reactor::event ready;
  std::vector<reactor::listener*> listeners;  // while accepting runs
  bool leaving = false;
  core_counters counters;
  reactor::list<connection> connections;  // those that speak HTTP already
  reactor::scope accepting, serving;      // serving ends first: its tasks are linked above
  void stop_accepting() {
    listeners.clear();
    accepting.cancel();
  }
};

namespace {

std::size_t allowed_connections(std::size_t wanted) {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return wanted;
  auto most = static_cast<std::size_t>(files.rlim_cur);
  return std::min(wanted, most > 2 * descriptors_reserved ? most - descriptors_reserved : most / 2);
}

}  // namespace

std::string describe_request(const request& r, const connection_info& info) {
  constexpr std::size_t shown_max = 256;
  return quote(r.method) + " " + quote(std::string_view(r.path).substr(0, shown_max)) + " of " + info.peer.text();
}

server::server(handler& h, server_options options, std::size_t cores)
    : handler_(h), options_(std::move(options)), connections_max_(allowed_connections(options_.connections_max)) {
  for (std::size_t i = 0; i < cores; ++i) cores_.push_back(std::make_unique<core_state>());
}
server::~server() = default;

const std::vector<reactor::endpoint>& server::listening(std::size_t core) const noexcept { return cores_[core]->listening; }
reactor::event& server::ready(std::size_t core) noexcept { return cores_[core]->ready; }

task<result<void>> server::run(std::size_t core) {
  auto& c = *cores_[core];
  // Dropping run() ends everything of this core here, on its own loop.
  struct end_all {
    core_state& c;
    ~end_all() {
      c.stop_accepting();
      c.serving.cancel();
    }
  } guard{c};
  auto& network = options_.network ? *options_.network : reactor::os_network();
  std::vector<std::unique_ptr<reactor::listener>> listeners;
  for (auto& at : options_.listen) {
    if (at.is_unix && core != 0) continue;
    KEDGE_CO_TRY(auto l, network.listen(at, {.reuse_port = !at.is_unix && cores_.size() > 1, .unix_mode = options_.unix_mode}));
    c.listening.push_back(l->local());
    listeners.push_back(std::move(l));
  }
  for (auto& l : listeners) {
    c.listeners.push_back(l.get());
    c.accepting.spawn(accept_on(c, std::move(l)));
  }
  c.ready.set();
  reactor::event never;
  co_await never.wait();
  co_return result<void>();
}

task<void> server::accept_on(core_state& c, std::unique_ptr<reactor::listener> l) {
  while (true) {
    auto s = co_await l->accept();
    if (!s) {
      if (s.error().code == errc::closed) co_return;
      log::warning("accept at {}: {}", l->local().text(), s.error().message);
      co_await reactor::sleep_for(accept_pause);
      continue;
    }
    std::uint64_t now = 0;
    for (auto& other : cores_) now += other->counters.connections.load(std::memory_order_relaxed);
    if (now >= connections_max_) {
      core_counters::add(c.counters.connections_refused, 1);
      continue;  // closes it: the client's next try may find room, here or at another server
    }
    c.serving.spawn(serve_connection(c, std::move(*s)));
  }
}

task<void> server::serve_connection(core_state& c, std::unique_ptr<reactor::stream> s) {
  struct counted {
    core_counters& k;
    explicit counted(core_counters& counters) : k(counters) {
      core_counters::add(k.connections, 1);
      core_counters::add(k.connections_total, 1);
    }
    ~counted() { core_counters::add(k.connections, -1); }
  } guard(c.counters);
  connection_info info{.local = s->local(), .peer = s->peer()};
  bool h2 = !options_.tls && options_.plain_http2;
  if (options_.tls) {
    deadline handshake_deadline(*s);
    handshake_deadline.set_after(tls_handshake_timeout);
    auto t = co_await tls_accept(std::move(s), options_.tls);
    if (!t) {
      core_counters::add(c.counters.handshakes_failed, 1);
      log::debug("TLS with {}: {}", info.peer.text(), t.error().message);
      co_return;
    }
    handshake_deadline.clear();
    info.tls = true;
    info.sni = (*t)->server_name();
    info.peer_certificates = (*t)->peer_certificates();
    h2 = (*t)->alpn() == "h2";
    s = std::move(*t);
  }
  connection_context context{handler_, options_.connections, c.counters, c.connections, info, c.leaving};
  if (h2)
    co_await serve_h2(*s, context);
  else
    co_await serve_h1(*s, context);
}

void server::leave(std::size_t core) {
  auto& c = *cores_[core];
  c.leaving = true;
  c.connections.for_each([](connection& k) { k.leave(); });
}

task<bool> server::drain(std::size_t core, time_point until) {
  auto& c = *cores_[core];
  c.leaving = true;
  for (auto* l : c.listeners) l->turn_away();
  // In steps, each at least a look at the sockets: after a stall of this process much may have arrived.
  for (int steps = 5, i = 0; i < steps; ++i) co_await reactor::sleep_for(last_arrivals / steps);
  c.stop_accepting();
  c.connections.for_each([](connection& k) { k.drain(); });
  reactor::event all_gone;
  reactor::scope waiting;
  waiting.spawn([](reactor::scope& serving, reactor::event& e) -> task<void> {
    co_await serving.join();
    e.set();
  }(c.serving, all_gone));
  bool all = co_await all_gone.wait_until(until);
  waiting.cancel();
  c.serving.cancel();
  co_return all;
}

server::totals server::count() const noexcept {
  totals t{};
  for (auto& c : cores_) {
    auto get = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };
    t.connections += get(c->counters.connections);
    t.connections_total += get(c->counters.connections_total);
    t.connections_refused += get(c->counters.connections_refused);
    t.handshakes_failed += get(c->counters.handshakes_failed);
    t.exchanges += get(c->counters.exchanges);
    t.exchanges_total += get(c->counters.exchanges_total);
    t.bad_requests += get(c->counters.bad_requests);
  }
  return t;
}

task<void> serve_stream(reactor::stream& s, handler& h, const connection_options& options, connection_info& info) {
  core_counters counters;
  reactor::list<connection> connections;
  co_await serve_h1(s, {h, options, counters, connections, info});
}

}  // namespace kedge::net::http
