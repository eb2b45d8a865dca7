#include "balancer/balancer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <map>
#include <optional>

#include "balancer/state_file.h"
#include "base/log.h"
#include "reactor/cores.h"
#include "reactor/listen.h"
#include "reactor/offload.h"
#include "tunnel/dial.h"

namespace kedge::balancer {

namespace {

// Written by every core, read for sorting and metrics. Relaxed: each value stands for itself, nothing is published by
// it.
struct counters {
  std::atomic<std::int64_t> connections{0};
};

struct table {
  struct entry {
    std::string address;
    std::uint64_t cut, move;
    bool leaving;
    std::shared_ptr<counters> counts;
  };
  std::vector<entry> order;
  const entry* find(std::string_view address) const noexcept {
    for (auto& e : order)
      if (e.address == address) return &e;
    return nullptr;
  }
};

constexpr unsigned dial_buckets = 15;  // 1 ms × 2^i (K3s)
struct dial_times {
  std::array<std::atomic<std::uint64_t>, dial_buckets + 1> buckets{};
  std::atomic<std::uint64_t> nanoseconds{0};
  void add(duration took) {
    unsigned i = 0;
    for (auto limit = duration(std::chrono::milliseconds(1)); i < dial_buckets && took > limit; limit *= 2) ++i;
    buckets[i].fetch_add(1, std::memory_order_relaxed);
    nanoseconds.fetch_add(static_cast<std::uint64_t>(took.count()), std::memory_order_relaxed);
  }
};

// A connection to a server, on its core; closing it ends who uses it.
struct carried : reactor::list_hook {
  std::string address;
  std::uint64_t cut = 0, move = 0;
  std::shared_ptr<counters> counts;
  reactor::stream* to = nullptr;
  bool waits = false;                       // the client said something after the server's last word
  time_point last{};                        // byte of either
  bool leaves = false;                      // when it is quiet
  int calm = 0;                             // checks of let_go() since a byte came
  time_point leave_by = time_point::max();  // or then, at the latest
  void asked() noexcept {
    waits = true;
    calm = 0;
    last = reactor::loop::current().now();
  }
  void answered() noexcept {
    waits = false;
    calm = 0;
    last = reactor::loop::current().now();
  }
  ~carried() {
    if (counts) counts->connections.fetch_sub(1, std::memory_order_relaxed);
  }
};

}  // namespace

struct load_balancer::state_type : std::enable_shared_from_this<load_balancer::state_type> {
  struct core {
    reactor::loop* loop = nullptr;
    std::shared_ptr<const table> servers = std::make_shared<table>();
    reactor::list<carried> open;
    std::vector<std::unique_ptr<reactor::listener>> listeners;
    std::size_t clients = 0;
    time_point complained{};  // when it was last said that no server can be reached
    reactor::event ready;
    reactor::scope* work = nullptr;  // while run() runs
    bool moving = false;             // let_go() runs
  };
  balancer_options options;
  std::vector<std::unique_ptr<core>> cores;
  dial_times dialled, failed_dials;

  // First core.
  choice rules;
  std::map<std::string, std::shared_ptr<counters>, std::less<>> counts;
  struct seen {
    health tunnel = health::unknown;
    health probe = health::unknown;
    unsigned probes_failed = 0;
  };
  std::map<std::string, seen, std::less<>> healths;
  reactor::event to_save;

  explicit state_type(balancer_options o) : options(std::move(o)), rules(options.rules) {}

  core& here() {
    auto* l = &reactor::loop::current();
    for (auto& c : cores)
      if (c->loop == l) return *c;
    kedge_assert(!"a balancer is used on a core that it was not told of");
    return *cores[0];
  }
  reactor::network& network() { return options.network ? *options.network : reactor::os_network(); }

  // --- first core: rules and tables
  template <typename F>
  void change(F&& f) {
    for (auto& s : rules.servers()) rules.find(s.address)->connections = open_to(s.address);
    f(rules, reactor::loop::current().now());
    publish();
  }
  std::size_t open_to(std::string_view address) {
    auto i = counts.find(address);
    auto n = i == counts.end() ? 0 : i->second->connections.load(std::memory_order_relaxed);
    return n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  void publish() {
    auto fresh = std::make_shared<table>();
    for (auto& s : rules.servers()) {
      auto& c = counts[s.address];
      if (!c) c = std::make_shared<counters>();
      fresh->order.push_back({s.address, s.cut, s.move, s.leaving, c});
    }
    std::erase_if(counts, [&](auto& c) {
      return !rules.find(c.first) && c.second->connections.load(std::memory_order_relaxed) == 0;
    });
    std::erase_if(healths, [&](auto& h) { return !rules.find(h.first); });
    for (auto& c : cores) {
      if (c.get() == cores[0].get()) {
        take(*c, fresh);
        continue;
      }
      c->loop->post([s = shared_from_this(), where = c.get(), fresh] { s->take(*where, fresh); });
    }
  }
  // Each core: the table is now this; what it cuts goes at once, what it moves when it is quiet.
  void take(core& c, std::shared_ptr<const table> fresh) {
    c.servers = std::move(fresh);
    bool moves = false;
    c.open.for_each([&](carried& one) {
      auto* e = c.servers->find(one.address);
      if (e && e->cut > one.cut) {
        one.to->close();
      } else if (!e || e->move > one.move) {
        one.leaves = moves = true;
        // A server that is still one of them, and stays, will go on answering: there is no hurry.
        if ((!e || e->leaving) && one.leave_by == time_point::max())
          one.leave_by = reactor::loop::current().now() + options.move_max;
      }
    });
    if (moves) watch_leaving(c);
  }
  void watch_leaving(core& c) {
    if (c.moving || !c.work) return;
    c.moving = true;
    c.work->spawn(let_go(shared_from_this(), c));
  }
  static task<void> let_go(std::shared_ptr<state_type> s, core& c) {
    const auto quiet = s->options.quiet_time;
    for (bool any = true; any;) {
      co_await reactor::sleep_for(quiet / quiet_checks);
      any = false;
      auto now = reactor::loop::current().now();
      c.open.for_each([&](carried& one) {
        if (!one.leaves) return;
        // Counted, because the clock also runs while this process doesn't: what came meanwhile is read before the next
        // check.
        if (now >= one.leave_by || (!one.waits && ++one.calm > quiet_checks))
          one.to->close();
        else
          any = true;
      });
    }
    c.moving = false;
  }
  // From any core.
  void tell(std::string address, bool good, reason r, std::optional<duration> took) {
    auto apply = [s = shared_from_this(), address = std::move(address), good, r, took] {
      s->change([&](choice& rules_, time_point now) {
        auto* known = rules_.find(address);
        auto before = known ? known->state : state::invalid;
        if (took) rules_.measured(address, *took);
        good ? rules_.success(address, r, now) : rules_.failure(address, r, now);
        known = rules_.find(address);
        if (known && known->state != before)
          log::info("{}: server {}: {} → {}{}", s->options.name, address, name_of(before), name_of(known->state),
                    known->leaving ? ", leaving" : "");
      });
    };
    auto& first = *cores[0]->loop;
    if (&first == &reactor::loop::current())
      apply();
    else
      first.post(std::move(apply));
  }

  void doubt(std::string address, bool hangs) {
    auto apply = [s = shared_from_this(), address = std::move(address), hangs] {
      s->change([&](choice& r, time_point now) { r.doubt(address, hangs, now); });
    };
    auto& first = *cores[0]->loop;
    if (&first == &reactor::loop::current())
      apply();
    else
      first.post(std::move(apply));
  }

  health health_of(const seen& s) const noexcept {
    if (s.tunnel == health::leaving) return health::leaving;
    if (s.tunnel == health::failed || s.probe == health::failed) return health::failed;
    return s.tunnel == health::ok || s.probe == health::ok ? health::ok : health::unknown;
  }
  void check_health() {
    std::vector<std::string> all;
    for (auto& s : rules.servers()) all.push_back(s.address);
    for (auto& a : all) {
      auto h = health_of(healths[a]);
      if (h == health::ok || h == health::failed) tell(a, h == health::ok, reason::health_check, std::nullopt);
    }
    change([](choice& r, time_point now) { r.tick(now); });
  }

  // --- any core: dialling
  struct race {
    std::unique_ptr<reactor::stream> winner;
    table::entry entry;
    std::size_t running = 0;
    duration winner_took{0};
    bool over = false;  // nobody waits any more
    error last{errc::unavailable, "all servers failed"};
    reactor::event changed;
  };
  static task<void> attempt(std::shared_ptr<state_type> s, std::shared_ptr<race> r, table::entry e) {
    auto began = reactor::loop::current().now();
    struct running {
      race& of;
      explicit running(race& x) : of(x) { ++of.running; }
      ~running() {
        --of.running;
        of.changed.pulse();
      }
    } guard(*r);
    auto c =
        co_await reactor::with_deadline(tunnel::dial_tcp(s->network(), e.address), began + s->options.dial_timeout);
    auto took = reactor::loop::current().now() - began;
    (c ? s->dialled : s->failed_dials).add(took);
    if (!c) {
      if (c.error().code == errc::timeout) c.error().message = "dialling " + e.address + " took too long";
      r->last = std::move(c).error();
      s->tell(e.address, false, r->last.os_error == ECONNREFUSED ? reason::refusal : reason::dial, std::nullopt);
    } else if (!r->winner && !r->over) {
      r->winner = std::move(*c);
      r->entry = std::move(e);
      // Success is told when the connection is counted.
      r->winner_took = took;
    } else {
      s->doubt(e.address, false);
    }
  }
  struct dialled_server {
    std::unique_ptr<reactor::stream> to;
    std::unique_ptr<carried> entry;
  };
  task<result<dialled_server>> dial_best(core& c) {
    auto servers = c.servers;  // as it is now; a table that comes meanwhile counts at the end
    auto r = std::make_shared<race>();
    struct leave {
      race& of;
      ~leave() { of.over = true; }
    } guard{*r};
    for (auto& e : servers->order) {
      // In the core's scope: one that hangs goes on to its own deadline, so that its failure is known.
      c.work->spawn(attempt(shared_from_this(), r, e));
      auto next =
          reactor::loop::current().now() + (options.rules.extended ? options.hedge_after : options.dial_timeout);
      auto before = r->running;
      while (!r->winner && r->running > 0 && r->running >= before && co_await r->changed.wait_until(next)) {}
      if (r->winner) break;
      if (r->running >= before && before > 0) doubt(e.address, true);
    }
    while (!r->winner && r->running > 0) co_await r->changed.wait();
    if (!r->winner) co_return fail(errc::unavailable, "all servers failed; the last: " + r->last.message);
    dialled_server out{std::move(r->winner), std::make_unique<carried>()};
    out.entry->address = r->entry.address;
    auto* now = c.servers->find(r->entry.address);
    auto& known = now ? *now : r->entry;
    out.entry->cut = known.cut;
    out.entry->move = known.move;
    out.entry->last = reactor::loop::current().now();
    out.entry->counts = known.counts;
    if (!now) {  // removed meanwhile: it serves until it is quiet, as its older connections do
      out.entry->leaves = true;
      out.entry->leave_by = out.entry->last + options.move_max;
    }
    out.entry->counts->connections.fetch_add(1, std::memory_order_relaxed);
    out.entry->to = out.to.get();
    c.open.push_back(*out.entry);
    if (!now) watch_leaving(c);
    tell(r->entry.address, true, reason::dial, r->winner_took);
    co_return std::move(out);
  }

  // --- the proxy
  enum class end : unsigned char { none, client, server };
  struct conversation {
    bool asked = false, answered = false;
    time_point asked_at{};
    end first_end = end::none;
    reactor::event first_byte;
    // A server that heard something and said nothing, and it was up to the server.
    bool is_dead(duration patience) const {
      return asked && !answered && (first_end == end::server || waited(patience));
    }
    bool waited(duration patience) const { return reactor::loop::current().now() - asked_at >= patience; }
  };
  static task<void> copy(reactor::stream& from, reactor::stream& to, conversation& c, carried& entry, end side) {
    struct at_end {
      conversation& c;
      end side;
      ~at_end() {
        if (c.first_end == end::none) c.first_end = side;
      }
    } guard{c, side};
    for (;;) {
      auto b = co_await from.receive();
      if (!b) {
        to.close();
        break;
      }
      if (b->empty()) {
        (void)co_await to.finish();
        break;
      }
      side == end::server ? entry.answered() : entry.asked();
      if (side == end::server) {
        c.answered = true;
      } else if (!std::exchange(c.asked, true)) {
        c.asked_at = entry.last;
        c.first_byte.set();
      }
      if (!co_await to.send(b->view())) {
        from.close();
        break;
      }
    }
  }
  static task<void> carry(std::shared_ptr<state_type> s, core& c, std::unique_ptr<reactor::stream> client) {
    struct counted {
      core& of;
      explicit counted(core& x) : of(x) { ++of.clients; }
      ~counted() { --of.clients; }
    } guard(c);
    auto server = co_await s->dial_best(c);
    if (!server) {
      // Clients try again and again: the first failure, and then what lasts.
      auto now = reactor::loop::current().now();
      if (now - c.complained >= complaint_interval) {
        c.complained = now;
        log::warning("{}: {}", s->options.name, server.error().message);
      }
      co_return;
    }
    conversation talk;
    reactor::scope ways, watch;
    ways.spawn(copy(*client, *server->to, talk, *server->entry, end::client));
    ways.spawn(copy(*server->to, *client, talk, *server->entry, end::server));
    auto& o = s->options;
    bool judges = o.rules.extended && o.first_answer_timeout > duration(0);
    if (judges)
      watch.spawn([](duration timeout, conversation& t, reactor::stream& to) -> task<void> {
        co_await t.first_byte.wait();
        co_await reactor::sleep_for(timeout);
        if (!t.answered) to.close();
      }(o.first_answer_timeout, talk, *server->to));
    co_await ways.join();
    watch.cancel();
    // Ended from here for another reason: that says nothing new.
    auto* still = c.servers->find(server->entry->address);
    if (!judges || !talk.is_dead(o.client_patience) || !still || still->cut > server->entry->cut ||
        server->entry->leaves)
      co_return;
    log::warning("{}: server {} takes bytes and answers none", o.name, server->entry->address);
    s->tell(server->entry->address, false, talk.waited(o.client_patience) ? reason::dial : reason::refusal,
            std::nullopt);
  }
  static task<void> accept_on(std::shared_ptr<state_type> s, core& c, reactor::listener& l, reactor::scope& clients) {
    for (;;) {
      auto client = co_await l.accept();
      if (!client) {
        co_await reactor::sleep_for(std::chrono::milliseconds(50));
        continue;
      }
      if (c.clients < connections_max) clients.spawn(carry(s, c, std::move(*client)));
    }
  }

  // --- the first core's own work
  static task<void> watch_health(std::shared_ptr<state_type> s) {
    for (;;) {
      co_await reactor::sleep_for(s->options.health_interval);
      s->check_health();
    }
  }
  static task<void> probe_one(std::shared_ptr<state_type> s, std::string address) {
    auto began = reactor::loop::current().now();
    auto r = co_await reactor::with_deadline(s->options.probe(address), began + s->options.probe_timeout);
    auto i = s->healths.find(address);
    if (i == s->healths.end()) co_return;
    if (r) {
      i->second.probes_failed = 0;
      i->second.probe = health::ok;
      s->rules.measured(address, reactor::loop::current().now() - began);
    } else if (++i->second.probes_failed >= probe_failures) {
      i->second.probe = health::failed;
    }
  }
  static task<void> probe_all(std::shared_ptr<state_type> s) {
    reactor::scope probes;
    for (;;) {
      if (probes.size() == 0)
        for (auto& one : s->rules.servers()) {
          if (one.is_default && one.state == state::standby)
            continue;  // may be a load balancer: says nothing of a server
          s->healths.try_emplace(one.address);
          probes.spawn(probe_one(s, one.address));
        }
      co_await reactor::sleep_for(s->options.probe_interval);
    }
  }
  static task<void> save(std::shared_ptr<state_type> s) {
    for (;;) {
      co_await s->to_save.wait();
      s->to_save.reset();
      auto written = co_await reactor::offload(
          [path = s->options.state_file, text = state_text(s->options.server_url, s->rules.addresses())] {
            return write_state_file(path, text);
          });
      if (!written || !*written)
        log::warning("{}: the list of servers is not saved: {}", s->options.name,
                     written ? written->error().message : written.error().message);
    }
  }
};

namespace {

// A stream to a server for this process: counted and cut while it lives.
class own_stream final : public reactor::stream {
 public:
  own_stream(std::unique_ptr<reactor::stream> s, std::unique_ptr<carried> c) noexcept
      : stream_(std::move(s)), carried_(std::move(c)) {}
  task<result<reactor::buffer>> receive() override {
    auto b = co_await stream_->receive();
    carried_->answered();
    co_return std::move(b);
  }
  task<result<void>> send(std::span<const bytes> parts) override {
    carried_->asked();
    return stream_->send(parts);
  }
  result<std::size_t> try_send(std::span<const bytes> parts) override {
    carried_->asked();
    return stream_->try_send(parts);
  }
  task<result<void>> finish() override { return stream_->finish(); }
  void close() noexcept override { stream_->close(); }
  reactor::endpoint local() const override { return stream_->local(); }
  reactor::endpoint peer() const override { return stream_->peer(); }

 private:
  std::unique_ptr<reactor::stream> stream_;
  std::unique_ptr<carried> carried_;  // ends before the stream that it points to
};

}  // namespace

load_balancer::load_balancer(std::vector<reactor::loop*> cores, balancer_options options)
    : state_(std::make_shared<state_type>(std::move(options))) {
  for (auto* l : cores) {
    state_->cores.push_back(std::make_unique<state_type::core>());
    state_->cores.back()->loop = l;
  }
}
load_balancer::~load_balancer() = default;

task<result<void>> load_balancer::load() {
  auto s = state_;
  std::vector<std::string> known;
  std::string fixed;
  if (!s->options.server_url.empty()) {
    KEDGE_CO_TRY(fixed, default_address(s->options.server_url));
    // Our own address is no way to a server.
    for (auto& l : s->options.listen)
      if (l.text() == fixed) fixed.clear();
  }
  if (!s->options.state_file.empty()) {
    auto read = co_await reactor::offload(
        [path = s->options.state_file, url = s->options.server_url] { return read_state_file(path, url); });
    if (read && *read)
      known = std::move(**read);
    else
      log::warning("{}: {}", s->options.name, read ? read->error().message : read.error().message);
  }
  s->change([&](choice& rules, time_point now) {
    rules.set_default(fixed, now);
    if (!known.empty()) rules.set_addresses(known, now);
  });
  s->to_save.set();
  co_return result<void>();
}

task<result<void>> load_balancer::run() {
  auto s = state_;
  auto& c = s->here();
  bool first = &c == s->cores[0].get();
  reactor::scope clients, work;
  struct ending {
    state_type::core& of;
    ~ending() {
      of.work = nullptr;
      of.moving = false;
      of.listeners.clear();
      of.ready.reset();
    }
  } guard{c};
  c.work = &work;
  for (auto at : s->options.listen) {
    // Further cores share the first one's port, also when the system chose it.
    if (at.port == 0 && !first) at.port = s->cores[0]->listeners.at(c.listeners.size())->local().port;
    const reactor::listen_options how{.reuse_port = s->cores.size() > 1};
    auto l = co_await (how.reuse_port && first && at.port != 0 ? reactor::listen_first(s->network(), at, how)
                                                               : reactor::listen_when_free(s->network(), at, how));
    if (!l && c.listeners.empty()) co_return std::unexpected(std::move(l).error());
    if (!l) {
      log::warning("{}: {}", s->options.name, l.error().message);  // the other loopback is best effort (K3s)
      continue;
    }
    c.listeners.push_back(std::move(*l));
  }
  for (auto& l : c.listeners) work.spawn(state_type::accept_on(s, c, *l, clients));
  if (first) {
    work.spawn(state_type::watch_health(s));
    if (s->options.probe) work.spawn(state_type::probe_all(s));
    if (!s->options.state_file.empty()) work.spawn(state_type::save(s));
  }
  c.ready.set();
  reactor::event never;
  co_await never.wait();
  co_return result<void>();
}

reactor::event& load_balancer::ready() { return state_->here().ready; }
std::vector<reactor::endpoint> load_balancer::listening() const {
  std::vector<reactor::endpoint> out;
  for (auto& l : state_->here().listeners) out.push_back(l->local());
  return out;
}

void load_balancer::set_servers(const std::vector<std::string>& addresses) {
  if (addresses.empty()) return;
  bool changed = false;
  state_->change([&](choice& rules, time_point now) { changed = rules.set_addresses(addresses, now); });
  if (changed) state_->to_save.set();
}

void load_balancer::report(std::string_view address, health h) {
  auto s = state_;
  if (!s->rules.find(address)) return;
  auto& seen = s->healths[std::string(address)];
  if (seen.tunnel == h) return;
  seen.tunnel = h;
  if (h == health::failed) s->tell(std::string(address), false, reason::health_check, std::nullopt);
  if (h == health::leaving) s->tell(std::string(address), false, reason::farewell, std::nullopt);
  if (h == health::ok && s->health_of(seen) == health::ok)
    s->tell(std::string(address), true, reason::health_check, std::nullopt);
}

void load_balancer::measured(std::string_view address, duration round_trip) {
  state_->change([&](choice& rules, time_point) { rules.measured(address, round_trip); });
}

task<result<std::unique_ptr<reactor::stream>>> load_balancer::dial() {
  auto s = state_;
  auto& c = s->here();
  if (!c.work) co_return fail(errc::unavailable, "the load balancer doesn't run on this core");
  auto r = co_await s->dial_best(c);
  if (!r) co_return std::unexpected(std::move(r).error());
  co_return std::make_unique<own_stream>(std::move(r->to), std::move(r->entry));
}

status load_balancer::snapshot() const {
  auto& s = *state_;
  status out{.name = s.options.name};
  for (auto& one : s.rules.servers()) {
    auto h = s.healths.find(one.address);
    out.servers.push_back({.address = one.address,
                           .state = one.state,
                           .is_default = one.is_default,
                           .own = one.own,
                           .slow = one.slow,
                           .tunnel = h == s.healths.end() ? health::unknown : h->second.tunnel,
                           .since = one.since,
                           .connections = s.open_to(one.address),
                           .latency = one.latency});
  }
  return out;
}

std::string load_balancer::metrics() const {
  auto& s = *state_;
  auto& name = s.options.name;
  std::string out;
  auto all = snapshot();
  out +=
      "# HELP k3s_loadbalancer_server_connections Count of current connections to loadbalancer server, labeled by "
      "server\n"
      "# TYPE k3s_loadbalancer_server_connections gauge\n";
  for (auto& one : all.servers)
    out += fmt::format("k3s_loadbalancer_server_connections{{name=\"{}\",server=\"{}\"}} {}\n", name, one.address,
                       one.connections);
  out +=
      "# HELP k3s_loadbalancer_server_health Current health state of loadbalancer backend servers, labeled by server\n"
      "# TYPE k3s_loadbalancer_server_health gauge\n";
  for (auto& one : all.servers)
    out += fmt::format("k3s_loadbalancer_server_health{{name=\"{}\",server=\"{}\"}} {}\n", name, one.address,
                       static_cast<int>(one.state));
  out +=
      "# HELP k3s_loadbalancer_dial_duration_seconds Time in seconds taken to dial a connection to a backend server\n"
      "# TYPE k3s_loadbalancer_dial_duration_seconds histogram\n";
  for (auto* h : {&s.dialled, &s.failed_dials}) {
    auto* word = h == &s.dialled ? "success" : "error";
    std::uint64_t count = 0;
    for (unsigned i = 0; i <= dial_buckets; ++i) {
      count += h->buckets[i].load(std::memory_order_relaxed);
      auto le = i == dial_buckets ? std::string("+Inf") : fmt::format("{}", std::ldexp(0.001, static_cast<int>(i)));
      out += fmt::format("k3s_loadbalancer_dial_duration_seconds_bucket{{name=\"{}\",status=\"{}\",le=\"{}\"}} {}\n",
                         name, word, le, count);
    }
    out += fmt::format("k3s_loadbalancer_dial_duration_seconds_sum{{name=\"{}\",status=\"{}\"}} {}\n", name, word,
                       static_cast<double>(h->nanoseconds.load(std::memory_order_relaxed)) / 1e9);
    out += fmt::format("k3s_loadbalancer_dial_duration_seconds_count{{name=\"{}\",status=\"{}\"}} {}\n", name, word,
                       count);
  }
  return out;
}

}  // namespace kedge::balancer
