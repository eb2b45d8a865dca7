// The balancer over real sockets: who is used, what is cut, who is found out.
#include "balancer/balancer.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "balancer/state_file.h"
#include "reactor/cores.h"
#include "support.h"

using namespace kedge;
using namespace kedge::test;
using namespace std::chrono_literals;

namespace {

// Answers each piece it gets with its name, the piece "later" once it is told to; or accepts and says nothing.
class backend {
 public:
  explicit backend(std::string name, bool mute = false, reactor::endpoint at = {"127.0.0.1", 0})
      : name_(std::move(name)),
        mute_(mute),
        listener_(std::move(*reactor::os_network().listen(at))),
        at_(listener_->local()) {
    scope_ = std::make_unique<reactor::scope>();
    scope_->spawn([](backend& b) -> task<void> {
      for (;;) {
        auto s = co_await b.listener_->accept();
        if (!s) co_return;
        ++b.accepted;
        b.scope_->spawn(serve(b, std::move(*s)));
      }
    }(*this));
  }
  ~backend() { scope_.reset(); }
  std::string at() const { return at_.text(); }
  // Takes no new connections; those that it has go on.
  void refuse() { listener_.reset(); }
  int accepted = 0;
  reactor::event asked_later;
  reactor::event later;

 private:
  static task<void> serve(backend& b, std::unique_ptr<reactor::stream> s) {
    for (;;) {
      auto piece = co_await s->receive();
      if (!piece || piece->empty()) co_return;
      if (as_text(piece->view()) == "later") {
        b.asked_later.set();
        co_await b.later.wait();
      }
      if (!b.mute_ && !co_await s->send(as_bytes(b.name_))) co_return;
    }
  }
  std::string name_;
  bool mute_;
  std::unique_ptr<reactor::listener> listener_;
  reactor::endpoint at_;
  std::unique_ptr<reactor::scope> scope_;
};

struct running {
  balancer::load_balancer lb;
  reactor::scope scope;
  explicit running(balancer::balancer_options o = {})
      : lb({&reactor::loop::current()}, [&] {
          o.listen = {{"127.0.0.1", 0}};
          o.health_interval = 20ms;
          o.quiet_time = 20ms;
          return std::move(o);
        }()) {}
  task<void> start() {
    auto loaded = co_await lb.load();
    REQUIRE(loaded.has_value());
    scope.spawn([](balancer::load_balancer& b) -> task<void> {
      auto r = co_await b.run();
      CHECK_MESSAGE(r.has_value(), r.error().message);
    }(lb));
    co_await lb.ready().wait();
  }
  task<std::unique_ptr<reactor::stream>> connect() {
    auto s = co_await reactor::os_network().connect(lb.listening().at(0));
    REQUIRE(s.has_value());
    co_return std::move(*s);
  }
  // Who answers on `s`; "" for the end.
  static task<std::string> ask(reactor::stream& s, duration most = 5s) {
    (void)co_await s.send(as_bytes("?"));
    co_return co_await hear(s, most);
  }
  static task<std::string> hear(reactor::stream& s, duration most = 5s) {
    auto b = co_await reactor::with_deadline(s.receive(), reactor::loop::current().now() + most);
    co_return b && !b->empty() ? std::string(as_text(b->view())) : "";
  }
  // `b` has heard the question, and answers it when its `later` is set.
  static task<void> ask_for_later(reactor::stream& s, backend& b) {
    CHECK((co_await s.send(as_bytes("later"))).has_value());
    co_await b.asked_later.wait();
  }
  task<std::string> ask() {
    auto s = co_await connect();
    co_return co_await ask(*s);
  }
  balancer::state state_of(std::string_view address) {
    for (auto& s : lb.snapshot().servers)
      if (s.address == address) return s.state;
    return balancer::state::invalid;
  }
  task<bool> reaches(std::string address, balancer::state wanted) {
    auto until = reactor::loop::current().now() + 10s;
    while (state_of(address) != wanted) {
      if (reactor::loop::current().now() > until) co_return false;
      co_await reactor::sleep_for(2ms);
    }
    co_return true;
  }
};

}  // namespace

TEST_CASE("connections go to one good server, and are cut when it fails") {
  on_each_backend([]() -> task<void> {
    backend a("a"), b("b");
    running r({.rules = {.extended = false}});
    co_await r.start();
    r.lb.set_servers({a.at(), b.at()});
    r.lb.report(a.at(), balancer::health::ok);
    CHECK(co_await r.reaches(a.at(), balancer::state::preferred));
    auto one = co_await r.connect();
    CHECK(co_await running::ask(*one) == "a");
    CHECK(r.state_of(a.at()) == balancer::state::active);
    CHECK(r.lb.snapshot().servers.at(0).connections == 1);
    r.lb.report(b.at(), balancer::health::ok);
    CHECK(co_await r.reaches(b.at(), balancer::state::preferred));
    CHECK(co_await r.ask() == "a");
    r.lb.report(a.at(), balancer::health::failed);
    auto end = co_await reactor::with_deadline(one->receive(), reactor::loop::current().now() + 1s);
    CHECK((!end || end->empty()));
    if (!end) CHECK(end.error().code != errc::timeout);
    CHECK(co_await r.ask() == "b");
    CHECK(r.state_of(b.at()) == balancer::state::active);
    auto text = r.lb.metrics();
    CHECK(text.find("k3s_loadbalancer_server_health{name=\"k3s-agent-load-balancer\",server=\"" + a.at() + "\"} 1\n") !=
          text.npos);
    CHECK(
        text.find(
            "k3s_loadbalancer_dial_duration_seconds_count{name=\"k3s-agent-load-balancer\",status=\"success\"} 3\n") !=
        text.npos);
  });
}

TEST_CASE("a dead server is passed over at once; with none left the client is closed") {
  on_each_backend([]() -> task<void> {
    auto a = std::make_unique<backend>("a");
    auto dead = a->at();
    backend b("b");
    a.reset();
    running r({.dial_timeout = 1h, .hedge_after = 1h});  // nothing but the refusal lets the next one in
    co_await r.start();
    r.lb.set_servers({dead, b.at()});
    CHECK(co_await r.ask() == "b");
    r.lb.set_servers({dead});
    CHECK(co_await r.ask() == "");
  });
}

TEST_CASE("bytes both ways, half-closed ends, large transfers") {
  on_each_backend([]() -> task<void> {
    auto l = reactor::os_network().listen({"127.0.0.1", 0});
    reactor::scope scope;
    // Reads all to the end, then answers with as much.
    scope.spawn([](reactor::listener& at) -> task<void> {
      auto s = co_await at.accept();
      std::size_t n = 0;
      for (;;) {
        auto b = co_await (*s)->receive();
        if (!b || b->empty()) break;
        n += b->size();
      }
      std::string back(n, 'b');
      (void)co_await (*s)->send(as_bytes(back));
    }(**l));
    running r;
    co_await r.start();
    r.lb.set_servers({(*l)->local().text()});
    auto c = co_await r.connect();
    std::string much(5'000'000, 'm');
    CHECK((co_await c->send(as_bytes(much))).has_value());
    CHECK((co_await c->finish()).has_value());
    std::size_t got = 0;
    for (;;) {
      auto b = co_await c->receive();
      REQUIRE(b.has_value());
      if (b->empty()) break;
      got += b->size();
    }
    CHECK(got == much.size());
  });
}

TEST_CASE("the fixed address is looked up and used when all others are gone") {
  on_each_backend([]() -> task<void> {
    char pattern[] = "/tmp/kedge-balancer-XXXXXX";
    std::string folder = mkdtemp(pattern), file = folder + "/lb.json";
    backend fixed("fixed"), fresh("fresh");
    auto port = fixed.at().substr(fixed.at().rfind(':'));
    auto url = "https://localhost" + port;
    CHECK(balancer::write_state_file(file, balancer::state_text(url, {"127.0.0.1:1", "127.0.0.1:2"})).has_value());
    {
      running r({.server_url = url, .state_file = file});
      co_await r.start();
      CHECK(r.lb.snapshot().servers.size() == 3);
      CHECK(co_await r.ask() == "fixed");
      CHECK(r.state_of("localhost" + port) == balancer::state::standby);
      r.lb.set_servers({fresh.at()});
      CHECK(co_await r.ask() == "fresh");
      auto saved = [&] {
        auto now = balancer::read_state_file(file, url);
        return now && *now == std::vector<std::string>{fresh.at()};
      };
      auto until = reactor::loop::current().now() + 5s;
      while (!saved() && reactor::loop::current().now() < until) co_await reactor::sleep_for(5ms);
      CHECK(saved());
    }
    std::filesystem::remove_all(folder);
  });
}

TEST_CASE("a server that accepts and never answers is found out") {
  on_each_backend([]() -> task<void> {
    backend mute("", true), b("b");
    running r({.first_answer_timeout = 50ms});
    co_await r.start();
    r.lb.set_servers({mute.at()});
    auto c = co_await r.connect();
    CHECK(co_await running::ask(*c) == "");  // cut
    CHECK(r.state_of(mute.at()) == balancer::state::failed);
    r.lb.set_servers({mute.at(), b.at()});
    CHECK(co_await r.ask() == "b");
  });
}

TEST_CASE("a client that gives up tells of a server that doesn't answer, if it waited long enough") {
  on_each_backend([]() -> task<void> {
    backend mute("", true), b("b");
    for (auto patience : {duration(1h), duration(20ms)}) {
      running r({.client_patience = patience});
      co_await r.start();
      r.lb.set_servers({mute.at()});
      auto connections = [&] { return r.lb.snapshot().servers.at(0).connections; };
      {
        auto c = co_await r.connect();
        CHECK((co_await c->send(as_bytes("?"))).has_value());
        while (connections() == 0) co_await reactor::sleep_for(2ms);
        co_await reactor::sleep_for(40ms);
      }
      while (connections() > 0) co_await reactor::sleep_for(2ms);
      if (patience > 1s) {
        CHECK(r.state_of(mute.at()) != balancer::state::failed);
      } else {
        CHECK(co_await r.reaches(mute.at(), balancer::state::failed));
        r.lb.set_servers({mute.at(), b.at()});
        CHECK(co_await r.ask() == "b");
      }
    }
  });
}

TEST_CASE("a server that accepts, listens and hangs up is found out") {
  on_each_backend([]() -> task<void> {
    auto closing = *reactor::os_network().listen({"127.0.0.1", 0});
    auto at = closing->local().text();
    reactor::scope serving;
    serving.spawn([](reactor::listener& l) -> task<void> {
      for (;;) {
        auto s = co_await l.accept();
        if (!s) co_return;
        (void)co_await (*s)->receive();
      }
    }(*closing));
    running r;
    co_await r.start();
    r.lb.set_servers({at});
    CHECK(co_await r.ask() == "");
    CHECK(co_await r.reaches(at, balancer::state::failed));
  });
}

namespace {
// A network where connecting to one port never ends, as when packets are dropped.
struct holed_network final : reactor::network {
  std::string hole;
  task<result<std::unique_ptr<reactor::stream>>> connect(reactor::endpoint to) override {
    if (to.text() == hole) co_await reactor::sleep_for(1h);
    co_return co_await reactor::os_network().connect(to);
  }
  result<std::unique_ptr<reactor::listener>> listen(const reactor::endpoint& at,
                                                    const reactor::listen_options& o) override {
    return reactor::os_network().listen(at, o);
  }
};
}  // namespace

TEST_CASE("a black hole delays nobody for long, and is failed when the dial ends") {
  on_each_backend([]() -> task<void> {
    backend a("a"), b("b");
    holed_network network;
    running r({.rules = {.node_name = "edge-1"}, .network = &network, .dial_timeout = 8s, .hedge_after = 30ms});
    co_await r.start();
    r.lb.set_servers({a.at(), b.at()});
    for (auto* one : {&a, &b}) r.lb.report(one->at(), balancer::health::ok);
    for (auto* one : {&a, &b}) CHECK(co_await r.reaches(one->at(), balancer::state::preferred));
    auto used = co_await r.ask();
    auto& active = used == "a" ? a : b;
    auto* other = used == "a" ? "b" : "a";
    CHECK(r.state_of(active.at()) == balancer::state::active);
    network.hole = active.at();
    auto began = reactor::loop::current().now();
    auto first = co_await r.connect();
    CHECK(co_await running::ask(*first) == other);
    CHECK(co_await r.ask() == other);
    CHECK(reactor::loop::current().now() - began < 7s);  // long before the dial into the hole ends
    r.lb.report(active.at(), balancer::health::unknown);
    CHECK(co_await r.reaches(active.at(), balancer::state::failed));
    CHECK(co_await running::ask(*first) == other);  // not cut by any of this
  });
}

TEST_CASE("probes tell too, and a flapping one is no verdict") {
  on_each_backend([]() -> task<void> {
    backend a("a");
    bool good = true;
    running r({.probe = [&](std::string) -> task<result<void>> {
                 if (!good) co_return fail(errc::timeout, "no answer");
                 co_return result<void>();
               },
               .probe_interval = 10ms});
    co_await r.start();
    r.lb.set_servers({a.at()});
    CHECK(co_await r.reaches(a.at(), balancer::state::preferred));
    good = false;
    CHECK(co_await r.reaches(a.at(), balancer::state::failed));
    good = true;
    CHECK(co_await r.reaches(a.at(), balancer::state::preferred));
  });
}

TEST_CASE("a stream for this process is counted and cut like the clients'") {
  on_each_backend([]() -> task<void> {
    backend a("a");
    running r;
    co_await r.start();
    r.lb.set_servers({a.at()});
    auto s = co_await r.lb.dial();
    REQUIRE(s.has_value());
    CHECK(co_await running::ask(**s) == "a");
    CHECK(r.lb.snapshot().servers.at(0).connections == 1);
    r.lb.set_servers({"127.0.0.1:1"});
    auto b = co_await (*s)->receive();
    CHECK_FALSE(b.has_value());
    s->reset();
    CHECK_FALSE((co_await r.lb.dial()).has_value());
  });
}

TEST_CASE("a server that leaves the list keeps who waits for it, and nobody else") {
  on_each_backend([]() -> task<void> {
    backend a("a"), b("b");
    running r;
    co_await r.start();
    r.lb.set_servers({a.at()});
    auto waits = co_await r.connect(), quiet = co_await r.connect();
    CHECK(co_await running::ask(*quiet) == "a");
    co_await running::ask_for_later(*waits, a);
    r.lb.set_servers({b.at()});
    CHECK(co_await r.ask() == "b");
    auto end = co_await quiet->receive();
    CHECK((!end || end->empty()));
    a.later.set();
    CHECK(co_await running::hear(*waits) == "a");
    end = co_await waits->receive();
    CHECK((!end || end->empty()));
  });
}

TEST_CASE("a server that left the list and comes again cuts nobody") {
  on_each_backend([]() -> task<void> {
    backend a("a"), b("b");
    running r;
    co_await r.start();
    r.lb.set_servers({a.at()});
    // It was dead once, which cut connections.
    for (auto [h, state] : {std::pair{balancer::health::ok, balancer::state::preferred},
                            {balancer::health::failed, balancer::state::failed},
                            {balancer::health::ok, balancer::state::preferred}}) {
      r.lb.report(a.at(), h);
      CHECK(co_await r.reaches(a.at(), state));
    }
    auto waits = co_await r.connect();
    co_await running::ask_for_later(*waits, a);
    r.lb.set_servers({b.at()});
    r.lb.set_servers({a.at(), b.at()});
    a.later.set();
    CHECK(co_await running::hear(*waits) == "a");
  });
}

TEST_CASE("a server that stops, or refuses dials, is left without cutting who waits for it") {
  on_each_backend([]() -> task<void> {
    for (bool says_so : {true, false}) {
      CAPTURE(says_so);
      backend a("a"), b("b");
      running r;
      co_await r.start();
      r.lb.set_servers({a.at()});
      r.lb.report(a.at(), balancer::health::ok);
      CHECK(co_await r.reaches(a.at(), balancer::state::preferred));
      auto waits = co_await r.connect(), quiet = co_await r.connect();
      CHECK(co_await running::ask(*quiet) == "a");
      co_await running::ask_for_later(*waits, a);
      r.lb.set_servers({a.at(), b.at()});
      if (says_so) {
        r.lb.report(a.at(), balancer::health::leaving);
      } else {
        r.lb.report(a.at(), balancer::health::unknown);
        a.refuse();
        CHECK(co_await r.ask() == "b");
      }
      CHECK(co_await r.reaches(a.at(), balancer::state::failed));
      r.lb.report(b.at(), balancer::health::ok);
      while (r.state_of(b.at()) < balancer::state::preferred) co_await reactor::sleep_for(1ms);
      CHECK(co_await r.ask() == "b");
      CHECK(co_await r.reaches(b.at(), balancer::state::active));
      auto end = co_await quiet->receive();
      CHECK((!end || end->empty()));
      // Nor when the tunnel can't be had again.
      r.lb.report(a.at(), balancer::health::failed);
      a.later.set();
      CHECK(co_await running::hear(*waits) == "a");
      end = co_await waits->receive();
      CHECK((!end || end->empty()));
      CHECK(r.lb.metrics().find("k3s_loadbalancer_server_health{name=\"k3s-agent-load-balancer\",server=\"" + a.at() +
                                "\"} 1\n") != std::string::npos);
    }
  });
}

TEST_CASE("a server that stops and never answers is left in the end, and one that comes back is used") {
  on_each_backend([]() -> task<void> {
    backend a("a");
    running r({.move_max = 30ms});
    co_await r.start();
    r.lb.set_servers({a.at()});
    r.lb.report(a.at(), balancer::health::ok);
    CHECK(co_await r.reaches(a.at(), balancer::state::preferred));
    auto waits = co_await r.connect();
    co_await running::ask_for_later(*waits, a);
    r.lb.report(a.at(), balancer::health::leaving);
    auto end = co_await waits->receive();
    CHECK((!end || end->empty()));
    CHECK(r.state_of(a.at()) == balancer::state::failed);
    r.lb.report(a.at(), balancer::health::ok);
    CHECK(co_await r.reaches(a.at(), balancer::state::preferred));
    CHECK(co_await r.ask() == "a");
  });
}

TEST_CASE("a server that leaves the list and never answers is left in the end") {
  on_each_backend([]() -> task<void> {
    backend a("a"), b("b");
    running r({.move_max = 30ms});
    co_await r.start();
    r.lb.set_servers({a.at()});
    auto waits = co_await r.connect();
    co_await running::ask_for_later(*waits, a);
    r.lb.set_servers({b.at()});
    auto end = co_await waits->receive();
    CHECK((!end || end->empty()));
    CHECK(r.state_of(b.at()) == balancer::state::unchecked);  // nobody was asked, so nothing is known
  });
}

TEST_CASE("a table reaches every core, and cuts there too") {
  auto made = reactor::cores::make(2, reactor::io_backend::automatic);
  REQUIRE(made.has_value());
  auto& cores = **made;
  balancer::load_balancer lb({&cores[0], &cores[1]}, {.listen = {{"127.0.0.1", 0}}});
  auto work = [](reactor::cores& all, balancer::load_balancer& b) -> task<void> {
    {
      backend a("a");
      CHECK((co_await b.load()).has_value());
      reactor::scope scope;
      scope.spawn([](balancer::load_balancer& x) -> task<void> { (void)co_await x.run(); }(b));
      co_await b.ready().wait();
      b.set_servers({a.at()});
      reactor::event removed;  // of this core
      auto there = [&]() -> task<std::string> {
        reactor::scope serving;
        serving.spawn([](balancer::load_balancer& x) -> task<void> { (void)co_await x.run(); }(b));
        co_await b.ready().wait();
        auto s = co_await b.dial();
        if (!s) co_return s.error().message;
        auto said = co_await running::ask(**s);
        all[0].post([&] { removed.set(); });
        auto end = co_await reactor::with_deadline((*s)->receive(), reactor::loop::current().now() + 5s);
        if (end || end.error().code == errc::timeout) co_return "not cut";
        co_return said;
      };
      scope.spawn([](balancer::load_balancer& x, reactor::event& when) -> task<void> {
        co_await when.wait();
        CHECK(x.snapshot().servers.at(0).connections == 1);
        x.set_servers({"127.0.0.1:1"});
      }(b, removed));
      CHECK(co_await reactor::call_on(all[1], there) == "a");
    }
    all.stop();
  };
  cores[0].post([&] { cores[0].spawn(work(cores, lb)); });
  cores.run();
}
