#include "world.h"

#include <algorithm>
#include <cstdlib>
#include <deque>

#include "base/strings.h"

namespace kedge::sim {

namespace {
constexpr std::size_t window_bytes = 256 * 1024;  // in flight or unread, one direction of one connection
constexpr std::size_t trace_lines_max = 400;      // the last ones are what a failure needs
constexpr std::uint16_t first_ephemeral_port = 40'000;
constexpr auto reset_text = "connection reset by peer";
}  // namespace

// ---- backend: no waiting of its own, the world moves the time ----

class sim_backend final : public reactor::backend {
 public:
  sim_backend(world& w, host& h) noexcept : world_(w), host_(h), boot_(h.boots_) {}
  const char* name() const noexcept override { return "simulated"; }
  time_point now() noexcept override { return world_.now_; }
  wall_time wall_now() noexcept override {
    constexpr auto epoch = std::chrono::seconds(1'800'000'000);
    return wall_time(epoch) + world_.now_.time_since_epoch() + host_.clock_offset_;
  }
  random_source& random() noexcept override { return world_.random_; }
  bool is_real() const noexcept override { return false; }
  void wait(time_point) override {}
  void wake() noexcept override {}
  bool offload(std::move_only_function<void()> f) override {
    // The work is done at once when its time comes; what it posts is dropped if the host has crashed since.
    do_later(world_, host_, boot_, std::make_shared<std::move_only_function<void()>>(std::move(f)));
    return true;
  }

 private:
  static void do_later(world& w, host& h, std::uint64_t boot, std::shared_ptr<std::move_only_function<void()>> work) {
    w.after(w.between(duration(0), w.faults.offload_max), [&w, &h, boot, work] {
      if (!h.running() || h.boots_ != boot) return;
      if (h.paused_)
        h.waiting_work_.push_back([&w, &h, boot, work] { do_later(w, h, boot, work); });
      else
        (*work)();
    });
  }
  world& world_;
  host& host_;
  std::uint64_t boot_;
};

// ---- streams ----

// One direction's far end is the other stream. `id` names a connection's end in deliveries, so that bytes that arrive
// after the end is gone are dropped rather than given to whatever lives at its address then.
class sim_stream final : public reactor::stream {
 public:
  sim_stream(host& h, reactor::endpoint local, reactor::endpoint peer)
      : host_(h), local_(std::move(local)), peer_(std::move(peer)) {
    host_.streams_.insert(this);
  }
  ~sim_stream() override {
    vanish();
    host_.streams_.erase(this);
    *alive_ = nullptr;
  }

  static void join(sim_stream& a, sim_stream& b) {
    a.far_ = b.alive_;
    b.far_ = a.alive_;
    a.far_host_ = &b.host_;
    b.far_host_ = &a.host_;
  }

  task<result<reactor::buffer>> receive() override {
    for (;;) {
      if (!received_.empty()) {
        auto text = std::move(received_.front());
        received_.erase(received_.begin());
        unread_ -= text.size();
        deliver([n = text.size()](sim_stream& f) { f.taken(n); });
        auto b = reactor::buffer::allocate(text.size());
        std::copy(text.begin(), text.end(), reinterpret_cast<char*>(b.writable().data()));
        co_return std::move(b);
      }
      if (dead_) co_return fail(errc::closed, reset_text);
      if (ended_) co_return reactor::buffer();
      co_await changed_.wait();
    }
  }

  result<std::size_t> try_send(std::span<const bytes> parts) override {
    if (dead_) return fail(errc::closed, reset_text);
    kedge_assert(!finished_);
    std::string text;
    for (auto& p : parts) {
      auto room = window_bytes - std::min(window_bytes, in_flight_ + text.size());
      text += as_text(p.first(std::min(room, p.size())));
      if (p.size() > room) break;
    }
    if (text.empty()) return 0;
    auto n = text.size();
    auto& w = host_.world_;
    if (w.chance(w.faults.reset_probability)) {
      w.trace(host_.name() + ": reset towards " + peer_.text());
      die();
      deliver([](sim_stream& f) { f.die(); });
      return fail(errc::closed, reset_text);
    }
    in_flight_ += n;
    deliver([text = std::move(text)](sim_stream& f) { f.arrived(text); });
    return n;
  }

  task<result<void>> send(std::span<const bytes> parts) override {
    std::vector<bytes> rest(parts.begin(), parts.end());
    while (!rest.empty()) {
      KEDGE_CO_TRY(auto n, try_send(rest));
      while (!rest.empty() && n >= rest.front().size()) {
        n -= rest.front().size();
        rest.erase(rest.begin());
      }
      if (rest.empty()) break;
      rest.front() = rest.front().subspan(n);
      if (in_flight_ >= window_bytes) co_await changed_.wait();
    }
    co_return result<void>();
  }

  task<result<void>> finish() override {
    if (!std::exchange(finished_, true)) deliver([](sim_stream& f) { f.end(); });
    co_return result<void>();
  }
  void close() noexcept override { vanish(); }
  reactor::endpoint local() const override { return local_; }
  reactor::endpoint peer() const override { return peer_; }

 private:
  friend class host;

  // Something for the far end, in order with what was sent before it, after the network's delay, never through a cut.
  void deliver(std::function<void(sim_stream&)> what) {
    auto& w = host_.world_;
    last_arrival_ = std::max(last_arrival_, w.now() + w.between(w.faults.delay_min, w.faults.delay_max));
    under_way_->push_back(std::move(what));
    arrive(w, &host_, far_host_, far_, last_arrival_, under_way_);
  }
  // At that time the first of what is under way gets there: whatever a cut held up stays in order.
  static void arrive(world& w, host* from, host* to, std::shared_ptr<sim_stream*> far, time_point when,
                     std::shared_ptr<std::deque<std::function<void(sim_stream&)>>> under_way) {
    w.at(when, [&w, from, to, far, under_way] {
      if (!to || !from) return;
      if (w.is_cut(*from, *to))
        return arrive(w, from, to, far, w.now() + std::chrono::milliseconds(200), under_way);  // TCP tries again
      auto what = std::move(under_way->front());
      under_way->pop_front();
      if (!far || !*far || !(*far)->host_.running()) return;
      reactor::loop::current_guard guard((*far)->host_.loop());
      w.wake((*far)->host_);
      if (*far) what(**far);
    });
  }

  void arrived(const std::string& text) {
    if (dead_) return;
    unread_ += text.size();
    received_.push_back(text);
    changed_.pulse();
  }
  void taken(std::size_t n) {
    in_flight_ -= n;
    changed_.pulse();
  }
  void end() {
    ended_ = true;
    changed_.pulse();
  }
  void die() {
    dead_ = true;
    changed_.pulse();
  }
  // This end goes: the far one sees a clean end if all was read here and finished, else a reset.
  void vanish() {
    if (std::exchange(vanished_, true)) return;
    bool clean = finished_ || received_.empty();
    if (!dead_) {
      if (clean && !finished_)
        deliver([](sim_stream& f) { f.end(); });
      else if (!clean)
        deliver([](sim_stream& f) { f.die(); });
    }
    dead_ = true;
    if (reactor::loop::try_current()) changed_.pulse();
  }

  host& host_;
  host* far_host_ = nullptr;
  reactor::endpoint local_, peer_;
  std::shared_ptr<sim_stream*> alive_ = std::make_shared<sim_stream*>(this);
  std::shared_ptr<sim_stream*> far_;
  std::shared_ptr<std::deque<std::function<void(sim_stream&)>>> under_way_ =
      std::make_shared<std::deque<std::function<void(sim_stream&)>>>();
  std::vector<std::string> received_;
  std::size_t unread_ = 0, in_flight_ = 0;
  time_point last_arrival_{};
  bool dead_ = false, ended_ = false, finished_ = false, vanished_ = false;
  reactor::event changed_;
};

class sim_listener final : public reactor::listener {
 public:
  sim_listener(host& h, reactor::endpoint at) : host_(h), at_(std::move(at)) { host_.listeners_[at_.text()] = this; }
  ~sim_listener() override { host_.listeners_.erase(at_.text()); }
  task<result<std::unique_ptr<reactor::stream>>> accept() override {
    while (waiting_.empty()) co_await changed_.wait();
    auto s = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    co_return std::move(s);
  }
  reactor::endpoint local() const override { return at_; }
  void arrived(std::unique_ptr<sim_stream> s) {
    waiting_.push_back(std::move(s));
    changed_.pulse();
  }

 private:
  host& host_;
  reactor::endpoint at_;
  std::vector<std::unique_ptr<sim_stream>> waiting_;
  reactor::event changed_;
};

// ---- host ----

host::host(world& w, std::string name, std::string address)
    : world_(w), name_(std::move(name)), address_(std::move(address)) {}
host::~host() { crash(); }

void host::start(std::function<task<void>(host&)> main) {
  kedge_assert(!loop_);
  main_ = std::move(main);
  restart();
}

void host::restart() {
  kedge_assert(!loop_);
  ++boots_;
  loop_ = std::make_unique<reactor::loop>(std::make_unique<sim_backend>(world_, *this));
  world_.trace(name_ + ": starts");
  reactor::loop::current_guard guard(*loop_);
  loop_->spawn(main_(*this));
}

void host::crash() {
  if (!loop_) return;
  world_.trace(name_ + ": crashes");
  for (auto* s : streams_) {  // their peers learn it by a reset
    s->received_.assign(1, "lost with the crash");
    s->finished_ = false;
  }
  loop_.reset();
  paused_ = false;
  waiting_work_.clear();
}

void host::pause() {
  world_.trace(name_ + ": stands still");
  paused_ = true;
}

void host::resume() {
  world_.trace(name_ + ": goes on");
  paused_ = false;
  for (auto& again : std::exchange(waiting_work_, {})) again();
}

sim_listener* host::listener_for(const reactor::endpoint& to) const {
  for (auto& at : {to, reactor::endpoint{"::", to.port}, reactor::endpoint{"0.0.0.0", to.port}})
    if (auto found = listeners_.find(at.text()); found != listeners_.end()) return found->second;
  return nullptr;
}

std::uint16_t host::ephemeral_port() noexcept {
  if (next_port_ < first_ephemeral_port)
    next_port_ = first_ephemeral_port;  // at first, and when they have all been used
  return next_port_++;
}

result<std::unique_ptr<reactor::listener>> host::listen(const reactor::endpoint& at, const reactor::listen_options&) {
  auto e = at;
  if (e.address.empty()) e.address = address_;
  if (e.port == 0 && !e.is_unix) e.port = ephemeral_port();
  if (listeners_.contains(e.text())) return fail(errc::io, "listen on " + e.text() + ": address in use");
  return std::make_unique<sim_listener>(*this, e);
}

task<result<std::unique_ptr<reactor::stream>>> host::connect(reactor::endpoint to) {
  auto& w = world_;
  const bool loopback = to.is_unix || to.address == "127.0.0.1" || to.address == "::1";
  co_await reactor::sleep_for(w.between(w.faults.delay_min, w.faults.delay_max) * 2);
  auto* there = loopback ? this : w.find(to.address);
  while (there && w.is_cut(*this, *there)) co_await reactor::sleep_for(std::chrono::milliseconds(200));
  auto refused = [&] { return fail(errc::refused, "connect to " + to.text() + ": connection refused"); };
  if (!there || !there->running() || w.chance(w.faults.refuse_probability)) co_return refused();
  if (!there->listener_for(to)) co_return refused();
  auto mine = to.is_unix ? to : reactor::endpoint{loopback ? to.address : address_, ephemeral_port()};
  auto near = std::make_unique<sim_stream>(*this, mine, to);
  {
    reactor::loop::current_guard guard(there->loop());
    auto far = std::make_unique<sim_stream>(*there, to, mine);
    sim_stream::join(*near, *far);
    // Not from within this host's turn: that one has to learn the time first.
    auto knocks = std::make_shared<std::unique_ptr<sim_stream>>(std::move(far));
    w.at(w.now(), [&w, there, to, boot = there->boots_, knocks] {
      if (!there->running() || there->boots_ != boot) return;
      reactor::loop::current_guard now_there(there->loop());
      w.wake(*there);
      if (auto* listening = there->listener_for(to)) listening->arrived(std::move(*knocks));
      knocks->reset();
    });
  }
  co_return std::move(near);
}

// ---- world ----

world::world(std::uint64_t seed, sim::faults f) : faults(f), seed_(seed), random_(seed) {}
world::~world() {
  for (auto& h : hosts_) h->crash();
  auto with_their_hosts = std::move(occurrences_);  // what still was to happen may hold streams
}

duration world::between(duration least, duration most) {
  if (most <= least) return least;
  return least +
         duration(static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>((most - least).count()) + 1)));
}
bool world::chance(double p) { return p > 0 && static_cast<double>(random_.next() >> 11) * 0x1p-53 < p; }

host& world::add_host(std::string name) {
  hosts_.push_back(std::make_unique<host>(*this, std::move(name), "10.0.0." + std::to_string(hosts_.size() + 1)));
  return *hosts_.back();
}

host* world::find(const std::string& address) {
  for (auto& h : hosts_)
    if (h->address() == address) return h.get();
  return nullptr;
}

void world::cut(host& a, host& b) {
  trace("cut " + a.name() + " | " + b.name());
  cuts_.insert({&a, &b});
  cuts_.insert({&b, &a});
}
void world::heal(host& a, host& b) {
  trace("heal " + a.name() + " | " + b.name());
  cuts_.erase({&a, &b});
  cuts_.erase({&b, &a});
}
void world::heal_all() {
  trace("heal all");
  cuts_.clear();
}
bool world::is_cut(const host& a, const host& b) const { return cuts_.contains({&a, &b}); }

void world::at(time_point when, std::function<void()> f) {
  occurrences_.push({std::max(when, now_), order_++, std::move(f)});
}

// A loop learns the time when it has looked for events, and these are handed to it from outside.
void world::wake(host& h) { h.loop().turn(now_); }

bool world::step(time_point limit) {
  ++steps_;
  // A turn for one host that has something to do now.
  std::vector<host*> ready;
  auto next = occurrences_.empty() ? time_point::max() : occurrences_.top().when;
  for (auto& h : hosts_) {
    if (!h->running() || h->paused()) continue;
    if (h->loop().has_work()) ready.push_back(h.get());
    next = std::min(next, h->loop().next_timer());
  }
  if (!ready.empty()) {
    auto& h = *ready[random_.below(ready.size())];
    reactor::loop::current_guard guard(h.loop());
    h.loop().turn(now_);
    return true;
  }
  if (next > limit) {
    now_ = limit;
    return false;
  }
  now_ = std::max(now_, next);
  if (!occurrences_.empty() && occurrences_.top().when <= now_) {
    auto what = occurrences_.top().what;
    occurrences_.pop();
    what();
    return true;
  }
  for (auto& h : hosts_)
    if (h->running() && !h->paused() && h->loop().next_timer() <= now_) {
      reactor::loop::current_guard guard(h->loop());
      h->loop().turn(now_);
      break;
    }
  return true;
}

bool world::run_until(const std::function<bool()>& done, duration limit) {
  auto end = now_ + limit;
  while (!done())
    if (!step(end)) return done();
  return true;
}

void world::trace(std::string line) {
  if (trace_.size() >= trace_lines_max) trace_.erase(trace_.begin());
  trace_.push_back(format_duration(now_.time_since_epoch() - std::chrono::hours(1)) + " " + std::move(line));
}
std::string world::trace_text() const {
  std::string out = "seed " + std::to_string(seed_) + "\n";
  for (auto& l : trace_) out += "  " + l + "\n";
  return out;
}

std::vector<std::uint64_t> seeds(std::size_t count) {
  if (auto* only = std::getenv("KEDGE_SIM_SEED"))
    if (auto n = parse_uint(only)) return {*n};
  std::vector<std::uint64_t> out;
  for (std::uint64_t i = 1; i <= count; ++i) out.push_back(i);
  return out;
}

}  // namespace kedge::sim
