#include "net/http/server.h"

#include <sys/resource.h>

#include <algorithm>
#include <deque>
#include <unordered_map>

#include "base/log.h"
#include "base/strings.h"
#include "reactor/listen.h"
#include "reactor/own_frame.h"

namespace kedge::net::http {

struct server::core_state {
  std::atomic<reactor::loop*> loop =
      nullptr;  // while run() runs; release and acquire, since others take it for a loop that stands
  std::vector<reactor::endpoint> listening;
  reactor::event ready;
  std::vector<reactor::listener*> listeners;  // while accepting runs
  bool leaving = false;
  core_counters counters;
  reactor::list<connection> connections;  // those that speak HTTP already
  reactor::scope accepting, serving;      // serving ends first: its tasks are linked above
  // Where this core has sent connections lately: their load shows later.
  struct placed {
    time_point when;
    std::size_t core;
  };
  std::deque<placed> placed_lately;
  time_point room_made{};
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
  for (std::size_t i = 0; i < cores; ++i) cores_.push_back(std::make_shared<core_state>());
}
server::~server() = default;

const std::vector<reactor::endpoint>& server::listening(std::size_t core) const noexcept {
  return cores_[core]->listening;
}
reactor::event& server::ready(std::size_t core) noexcept { return cores_[core]->ready; }

task<result<void>> server::run(std::size_t core) {
  auto& c = *cores_[core];
  // Dropping run() ends everything of this core here, on its own loop.
  struct end_all {
    core_state& c;
    explicit end_all(core_state& of) : c(of) { c.loop.store(&reactor::loop::current(), std::memory_order_release); }
    ~end_all() {
      c.loop.store(nullptr, std::memory_order_release);
      c.stop_accepting();
      c.serving.cancel();
    }
  } guard(c);
  auto& network = options_.network ? *options_.network : reactor::os_network();
  std::vector<std::unique_ptr<reactor::listener>> listeners;
  for (auto& at : options_.listen) {
    if (at.is_unix && core != 0) continue;
    const bool shared = !at.is_unix && cores_.size() > 1;
    const reactor::listen_options how{.reuse_port = shared, .unix_mode = options_.unix_mode};
    KEDGE_CO_TRY(auto l, co_await (shared && core == 0 ? reactor::listen_first(network, at, how)
                                                       : reactor::listen_when_free(network, at, how)));
    c.listening.push_back(l->local());
    listeners.push_back(std::move(l));
  }
  for (auto& l : listeners) {
    c.listeners.push_back(l.get());
    c.accepting.spawn(accept_on(core, std::move(l)));
  }
  c.ready.set();
  reactor::event never;
  co_await never.wait();
  co_return result<void>();
}

task<void> server::accept_on(std::size_t core, std::unique_ptr<reactor::listener> l) {
  auto& c = *cores_[core];
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
    if (now + connections_max_ / connections_spare_part >= connections_max_) make_room(c, (*s)->peer());
    if (now >= connections_max_) {
      core_counters::add(c.counters.connections_refused, 1);
      continue;  // closes it: the client's next try may find room, here or at another server
    }
    auto to = place(core);
    auto* loop = cores_[to]->loop.load(std::memory_order_acquire);
    auto move = to == core || !loop ? nullptr : (*s)->move_away();
    if (!move) {
      c.serving.spawn(serve_connection(c, std::move(*s)));
      continue;
    }
    // `this` is there as long as its run() runs on that core.
    loop->post([this, there = cores_[to], move = std::move(move)]() mutable {
      if (!there->loop.load(std::memory_order_relaxed)) return;
      there->serving.spawn(serve_connection(*there, move()));
    });
  }
}

// Load is what counts, and what was sent there too lately to show in it; between cores that are alike the number of
// connections.
std::size_t server::place(std::size_t here) {
  if (cores_.size() == 1) return here;
  constexpr double per_connection = 1e-5;
  auto& lately = cores_[here]->placed_lately;
  const auto now = reactor::loop::current().now();
  while (!lately.empty() && now - lately.front().when > connection_load_time) lately.pop_front();
  std::vector<double> work(cores_.size());
  for (auto& p : lately)
    work[p.core] += connection_load * (1 - std::chrono::duration<double>(now - p.when) / connection_load_time);
  auto best = here;
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    auto* loop = cores_[i]->loop.load(std::memory_order_acquire);
    if (!loop) continue;
    work[i] += loop->turns().load() +
               per_connection * static_cast<double>(cores_[i]->counters.connections.load(std::memory_order_relaxed));
  }
  for (std::size_t i = 0; i < cores_.size(); ++i)
    if (cores_[i]->loop.load(std::memory_order_relaxed) && work[i] < work[best]) best = i;
  lately.push_back({now, best});
  return best;
}

// Ends quiet connections of this core, those of whoever has most of them first, and of these those that were quiet for
// longest. When nobody's are quiet: others of an owner who holds a large part of all, unless he may be the one who
// comes.
void server::make_room(core_state& c, const reactor::endpoint& for_whom) {
  const auto now = reactor::loop::current().now();
  if (now - c.room_made < make_room_pause) return;
  c.room_made = now;
  struct holding {
    std::size_t all = 0;
    std::vector<connection*> quiet, busy;
  };
  std::unordered_map<std::size_t, holding> by_owner;
  std::size_t all = 0;
  c.connections.for_each([&](connection& k) {
    auto& h = by_owner[k.owner()];
    ++h.all;
    ++all;
    if (k.quiet())
      h.quiet.push_back(&k);
    else if (k.peer().address != for_whom.address)
      h.busy.push_back(&k);
  });
  auto most = [&](auto&& count) {
    return std::ranges::max_element(by_owner, {}, [&](auto& entry) { return count(entry.second); });
  };
  if (by_owner.empty()) return;
  auto step = std::max<std::size_t>(1, connections_max_ / connections_spare_part / cores_.size());
  auto* victims = &most([](auto& h) { return h.quiet.size(); })->second.quiet;
  if (victims->empty()) {
    auto& greediest = most([](auto& h) { return h.all; })->second;
    if (greediest.all * 4 < all) return;
    victims = &greediest.busy;
  }
  std::ranges::sort(*victims, {}, [](auto* k) { return k->active(); });
  victims->resize(std::min(victims->size(), step));
  core_counters::add(c.counters.connections_evicted, static_cast<std::int64_t>(victims->size()));
  for (auto* k : *victims) k->evict();
}

namespace {
// A connection that has not said yet what it speaks.
class stranger final : public connection {
 public:
  stranger(reactor::stream& s, const connection_info& about) : connection(about), stream_(s) {}
  void leave() noexcept override {}
  void drain() noexcept override {}
  bool quiet() const noexcept override { return true; }
  void evict() noexcept override { stream_.close(); }

 private:
  reactor::stream& stream_;
};
}  // namespace

// TLS; null when that fails.
KEDGE_OWN_FRAME task<std::unique_ptr<reactor::stream>> server::shake_hands(core_state& c,
                                                                           std::unique_ptr<reactor::stream> s,
                                                                           connection_info& info, bool& h2) {
  deadline handshake_deadline(*s);
  handshake_deadline.set_after(tls_handshake_timeout);
  stranger one(*s, info);
  c.connections.push_back(one);
  auto t = co_await tls_accept(std::move(s), options_.tls);
  if (!t) {
    core_counters::add(c.counters.handshakes_failed, 1);
    log::debug("TLS with {}: {}", info.peer.text(), t.error().message);
    co_return nullptr;
  }
  info.tls = true;
  info.sni = (*t)->server_name();
  info.peer_certificates = (*t)->peer_certificates();
  h2 = (*t)->alpn() == "h2";
  co_return *std::move(t);
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
  info.owner = std::hash<std::string>{}(info.peer.address);
  bool h2 = !options_.tls && options_.plain_http2;
  if (options_.tls) {
    s = co_await shake_hands(c, std::move(s), info, h2);
    if (!s) co_return;
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

server::totals server::count(std::size_t core) const noexcept {
  auto& k = cores_[core]->counters;
  auto get = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };
  return {.connections = get(k.connections),
          .connections_total = get(k.connections_total),
          .connections_refused = get(k.connections_refused),
          .connections_evicted = get(k.connections_evicted),
          .handshakes_failed = get(k.handshakes_failed),
          .exchanges = get(k.exchanges),
          .exchanges_total = get(k.exchanges_total),
          .bad_requests = get(k.bad_requests)};
}

server::totals server::count() const noexcept {
  totals t{};
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    auto c = count(i);
    t.connections += c.connections;
    t.connections_total += c.connections_total;
    t.connections_refused += c.connections_refused;
    t.connections_evicted += c.connections_evicted;
    t.handshakes_failed += c.handshakes_failed;
    t.exchanges += c.exchanges;
    t.exchanges_total += c.exchanges_total;
    t.bad_requests += c.bad_requests;
  }
  return t;
}

}  // namespace kedge::net::http
