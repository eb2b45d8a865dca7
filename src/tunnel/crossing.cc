// crossing.cc: a stream of one core, used on another.
//
// Both ends share one object; what it holds for one core is touched on that core alone, and the other end is told by
// messages. One receive and one send are under way at a time, each with its bytes copied: received buffers belong to
// the core that received them. A dropped receive stays under way, and the next one takes its answer.
#include <cstring>

#include "reactor/cores.h"
#include "tunnel/server.h"

namespace kedge::tunnel {

namespace {

struct shared {
  reactor::loop& home;
  reactor::loop& here;
  // home
  std::unique_ptr<reactor::stream> inner;
  unsigned running = 0;  // coroutines that use inner
  bool dropped = false;
  // here
  bool receiving = false, sending = false;
  std::optional<result<reactor::buffer>> received;
  std::optional<result<void>> sent;
  reactor::event receive_done, send_done;
  reactor::endpoint local, peer;

  shared(reactor::loop& home_loop, reactor::loop& here_loop) : home(home_loop), here(here_loop) {}
  void leave() {
    if (--running == 0 && dropped) inner.reset();
  }
};
using handle = std::shared_ptr<shared>;

task<void> fetch(handle s) {
  ++s->running;
  result<reactor::buffer> r = fail(errc::closed, "the connection was closed");
  if (!s->dropped) r = co_await s->inner->receive();
  if (r && !r->empty()) {
    auto copy = reactor::buffer::allocate(r->size());
    std::memcpy(copy.writable().data(), r->view().data(), r->size());
    r = std::move(copy);
  }
  s->leave();
  auto& here = s->here;
  here.post([s = std::move(s), r = std::move(r)]() mutable {
    s->received.emplace(std::move(r));
    s->receiving = false;
    s->receive_done.pulse();
  });
}

task<void> deliver(handle s, std::string data, bool finish) {
  ++s->running;
  result<void> r = fail(errc::closed, "the connection was closed");
  if (!s->dropped) {
    if (finish)
      r = co_await s->inner->finish();
    else
      r = co_await s->inner->send(as_bytes(data));
  }
  s->leave();
  auto& here = s->here;
  here.post([s = std::move(s), r = std::move(r)]() mutable {
    s->sent.emplace(std::move(r));
    s->sending = false;
    s->send_done.pulse();
  });
}

class crossing final : public reactor::stream {
 public:
  explicit crossing(handle s) noexcept : shared_(std::move(s)) {}
  ~crossing() override {
    auto& home = shared_->home;
    home.post([s = std::move(shared_)] {
      s->dropped = true;
      if (!s->inner) return;
      s->inner->close();
      if (s->running == 0) s->inner.reset();
    });
  }

  task<result<reactor::buffer>> receive() override {
    auto s = shared_;
    if (closed_) co_return closed();
    while (!s->received) {
      if (!std::exchange(s->receiving, true)) s->home.post([s] { s->home.spawn(fetch(s)); });
      co_await s->receive_done.wait();
      if (closed_) co_return closed();
    }
    auto r = std::move(*s->received);
    s->received.reset();
    co_return r;
  }

  task<result<void>> send(std::span<const bytes> parts) override {
    std::string all;
    for (auto& p : parts) all += as_text(p);
    co_return co_await hand_over(std::move(all), false);
  }
  result<std::size_t> try_send(std::span<const bytes> parts) override {
    auto s = shared_;
    if (closed_) return closed();
    if (s->sending) return 0;
    if (s->sent) {
      auto before = std::move(*s->sent);
      s->sent.reset();
      if (!before) return std::unexpected(std::move(before).error());
    }
    std::string all;
    for (auto& p : parts) {
      all += as_text(p.first(std::min(p.size(), data_payload_max_bytes - all.size())));
      if (all.size() == data_payload_max_bytes) break;
    }
    auto n = all.size();
    if (n == 0) return 0;
    s->sending = true;
    s->home.post([s, all = std::move(all)]() mutable { s->home.spawn(deliver(s, std::move(all), false)); });
    return n;
  }
  task<result<void>> finish() override { return hand_over({}, true); }
  void close() noexcept override {
    if (std::exchange(closed_, true)) return;
    shared_->home.post([s = shared_] {
      if (s->inner) s->inner->close();
    });
    shared_->receive_done.pulse();
    shared_->send_done.pulse();
  }
  reactor::endpoint local() const override { return shared_->local; }
  reactor::endpoint peer() const override { return shared_->peer; }

 private:
  static std::unexpected<error> closed() { return fail(errc::closed, "the connection was closed at this end"); }

  task<result<void>> hand_over(std::string data, bool finish) {
    auto s = shared_;
    while (s->sending && !closed_) co_await s->send_done.wait();
    if (closed_) co_return closed();
    if (s->sent && !*s->sent) co_return *s->sent;  // an earlier one failed
    s->sent.reset();
    s->sending = true;
    s->home.post([s, data = std::move(data), finish]() mutable { s->home.spawn(deliver(s, std::move(data), finish)); });
    while (s->sending && !closed_) co_await s->send_done.wait();
    if (closed_) co_return closed();
    auto r = *s->sent;
    if (r) s->sent.reset();
    co_return r;
  }

  handle shared_;
  bool closed_ = false;
};

}  // namespace

task<result<std::unique_ptr<reactor::stream>>> bring_here(
    reactor::loop& home, std::function<task<result<std::unique_ptr<reactor::stream>>>()> make) {
  auto& here = reactor::loop::current();
  if (&home == &here) co_return co_await make();
  using answer = result<handle>;
  auto s = co_await reactor::call_on(home, [&home, &here, make = std::move(make)]() -> task<answer> {
    auto inner = co_await make();
    if (!inner) co_return std::unexpected(std::move(inner).error());
    auto made = std::make_shared<shared>(home, here);
    made->inner = std::move(*inner);
    made->local = made->inner->local();
    made->peer = made->inner->peer();
    co_return made;
  });
  if (!s) co_return std::unexpected(std::move(s).error());
  co_return std::make_unique<crossing>(std::move(*s));
}

}  // namespace kedge::tunnel
