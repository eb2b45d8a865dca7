// Priority and fairness of a server of several cores, whose messages take a while and cross each other: no level gets
// more seats than it has, none are lost, nobody waits for nothing, and everybody has a share.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "api/fairness/gate.h"
#include "json/parse.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace kedge::api;
using namespace kedge::api::fairness;
using namespace std::chrono_literals;

namespace {

json::value parse(const std::string& text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

// A level for the users whose names begin with its own; each is a flow.
json::value level_of(const std::string& name, int shares, const std::string& response, int lendable = 0,
                     const std::string& more = R"("borrowingLimitPercent":0)") {
  return parse(fmt::format(
      R"({{"metadata":{{"name":"{0}","uid":"{0}"}},"spec":{{"type":"Limited","limited":{{"nominalConcurrencyShares":{1},"lendablePercent":{3},{4},
    "limitResponse":{2}}}}}}})",
      name, shares, response, lendable, more));
}
std::string queues(int n, int hand, int length) {
  return fmt::format(R"({{"type":"Queue","queuing":{{"queues":{},"handSize":{},"queueLengthLimit":{}}}}})", n, hand,
                     length);
}
json::value schema_of(const std::string& name) {
  return parse(fmt::format(
      R"({{"metadata":{{"name":"{0}","uid":"{0}"}},"spec":{{"matchingPrecedence":1000,"priorityLevelConfiguration":{{"name":"{0}"}},
    "distinguisherMethod":{{"type":"ByUser"}},"rules":[{{"subjects":[{{"kind":"Group","group":{{"name":"{0}"}}}}],
    "resourceRules":[{{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"namespaces":["*"]}}]}}]}}}})",
      name));
}
std::shared_ptr<const configuration> configured(const std::vector<json::value>& levels) {
  std::vector<json::value> schemas;
  for (auto& l : levels) schemas.push_back(schema_of(std::string(l["metadata"]["name"].as_string())));
  return std::make_shared<const configuration>(configuration::make(levels, schemas));
}

attributes get_of(const std::string& level, const std::string& user) {
  attributes a;
  a.user = user_info{user, "", {level}, {}};
  a.verb = "get";
  a.is_resource = true;
  a.api_version = "v1";
  a.resource = "configmaps";
  a.ns = "default";
  return a;
}

// An arbiter on one host, gates on the others, and between them messages that keep their order but take their time.
class machine {
 public:
  machine(world& w, std::size_t cores, unsigned seats, std::shared_ptr<const configuration> c) : world_(w) {
    for (std::size_t i = 0; i < cores; ++i) cores_.push_back(std::make_unique<core>(*this, i));
    for (auto& one : cores_) one->at = &w.add_host(fmt::format("core-{}", one->number));
    home_ = &w.add_host("home");
    home_->start([this, seats, c = std::move(c)](host&) -> task<void> {
      std::vector<core_face*> faces;
      for (auto& one : cores_) faces.push_back(one.get());
      arbiter a(std::move(faces), seats, [](const arbiter&) {});
      arbiter_ = &a;
      a.configure(c);
      co_await a.keep();
    });
    for (auto& one : cores_) {
      one->at->start([this, &of = *one](host&) -> task<void> {
        gate door(
            of.number,
            [this, &of](std::move_only_function<void(arbiter&)> f) {
              send(*home_, of.sent,
                   [this, f = std::make_shared<std::move_only_function<void(arbiter&)>>(std::move(f))] {
                     (*f)(*arbiter_);
                   });
            },
            measures_);
        of.door = &door;
        door.to_arbiter([n = of.number](arbiter& a) { a.greet(n); });
        of.work.emplace();
        co_await of.ends.wait();
        of.door = nullptr;
      });
    }
    REQUIRE(w.run_until([&] { return std::ranges::all_of(cores_, [](auto& one) { return one->known; }); }, 1s));
  }
  ~machine() {
    for (auto& one : cores_)
      one->at->loop().post([&of = *one] {
        of.work.reset();
        of.ends.set();
      });
    world_.run_for(10ms);  // what they have to say is heard
    for (auto& one : cores_) one->at->crash();
    home_->crash();
  }

  struct tally {
    std::size_t asked = 0, ran = 0, refused = 0, dropped = 0;
    unsigned seats = 0, most = 0;  // now, and ever
    std::map<std::string, std::size_t> by_user;
    duration longest_wait{0};
  };
  std::map<std::string, tally> of;  // by level

  // A request on some core; `patience` from now on it gives up, and is dropped after `life`, whatever it does then.
  void request(std::size_t at, const std::string& level, const std::string& user, work cost, duration takes,
               duration patience, duration life) {
    auto& on = *cores_[at];
    on.at->loop().post([=, this, &on] { on.work->spawn(serve(on, level, user, cost, takes, patience, life)); });
  }
  void configure(std::shared_ptr<const configuration> c) {
    home_->loop().post([this, c = std::move(c)] { arbiter_->configure(c); });
  }
  std::size_t cores() const { return cores_.size(); }
  arbiter& middle() { return *arbiter_; }
  std::optional<level_state> level(const std::string& name) {
    for (auto& l : arbiter_->state())
      if (l.name == name) return l;
    return std::nullopt;
  }

 private:
  struct core final : core_face {
    core(machine& m, std::size_t n) : owner(m), number(n) {}
    machine& owner;
    std::size_t number;
    host* at = nullptr;
    time_point sent{}, received{};  // when the newest message of each direction arrives
    bool known = false;
    gate* door = nullptr;
    std::optional<reactor::scope> work;
    reactor::event ends;

    void use(std::shared_ptr<const configuration> c, const std::vector<unsigned>& most) override {
      pass([this, c = std::move(c), most](gate& g) {
        g.use(c, most);
        known = true;
      });
    }
    void tell(const std::string& level, ticket t, answer a) override {
      pass([=](gate& g) { g.told(level, t, a); });
    }
    void tell_waits(ticket t) override {
      pass([=](gate& g) { g.told_to_wait(t); });
    }
    void recall(std::string level) override {
      pass([=](gate& g) { g.recalled(level); });
    }
    void ask_demand() override {
      pass([this](gate& g) {
        g.to_arbiter([n = number, sums = g.take_demand()](arbiter& a) { a.demand_of(n, sums); });
      });
    }
    template <typename F>
    void pass(F f) {
      owner.send(*at, received, [this, f = std::move(f)] {
        if (door) f(*door);
      });
    }
  };

  void send(host& to, time_point& last, std::function<void()> what) {
    last = std::max(last + 1ns, world_.now() + world_.between(1us, 2ms));
    world_.at(last, [&to, what = std::move(what)] {
      if (to.running()) to.loop().post(what);
    });
  }

  static task<void> serve(core& on, std::string level, std::string user, work cost, duration takes, duration patience,
                          duration life) {
    auto& t = on.owner.of[level];
    ++t.asked;
    reactor::event done;
    reactor::scope alive;
    alive.spawn(run(on, t, level, user, cost, takes, patience, done));
    if (!co_await done.wait_until(reactor::loop::current().now() + life)) ++t.dropped;
  }
  static task<void> run(core& on, tally& t, std::string level, std::string user, work cost, duration takes,
                        duration patience, reactor::event& done) {
    auto& l = reactor::loop::current();
    auto who = get_of(level, user);
    auto f = on.door->classify(who);
    CHECK(f.level->name == level);
    cost.seats = std::min(cost.seats, f.seats_max);
    cost.final_seats = std::min(cost.final_seats, f.seats_max);
    const auto began = l.now();
    auto got = on.door->try_enter(f, cost, who);
    if (!got) {
      auto later = co_await on.door->enter(f, cost, who, began + patience);
      if (!later) {
        CHECK(later.error().retry_after >= 1);
        ++t.refused;
        done.set();
        co_return;
      }
      got = *std::move(later);
    }
    struct counted {
      tally& of;
      unsigned n;
      counted(tally& x, unsigned seats) : of(x), n(seats) {
        of.seats += n;
        of.most = std::max(of.most, of.seats);
      }
      ~counted() { of.seats -= n; }
    };
    t.longest_wait = std::max(t.longest_wait, l.now() - began);
    {
      counted one(t, cost.max_seats());
      co_await reactor::sleep_for(takes);
      ++t.ran;
      ++t.by_user[user];
    }
    got->leave();
    done.set();
  }

  world& world_;
  metrics measures_;
  host* home_;
  std::vector<std::unique_ptr<core>> cores_;
  arbiter* arbiter_ = nullptr;
};

// All seats are where they were, and nobody waits.
void check_rest(machine& m, const std::string& name) {
  auto l = m.level(name);
  REQUIRE(l);
  CHECK(l->waiting == 0);
  CHECK(l->running == 0);
  CHECK(l->leased <= l->current);
}

}  // namespace

TEST_CASE("no level gets more seats than it has, and all come back, whoever leaves when") {
  for (auto seed : seeds(8)) {
    CAPTURE(seed);
    world w(seed);
    auto& r = w.random();
    machine m(w, 1 + r.below(4), 40,
              configured({level_of("queued", 20, queues(8, 2, 20)), level_of("refusing", 10, R"({"type":"Reject"})")}));
    const auto most = std::map<std::string, unsigned>{{"queued", m.level("queued")->current},
                                                      {"refusing", m.level("refusing")->current}};
    for (int round = 0; round < 3'000; ++round) {
      const std::string level = r.below(3) ? "queued" : "refusing";
      const bool lingers = r.below(10) == 0;
      m.request(r.below(m.cores()), level, fmt::format("user-{}", r.below(12)),
                {.seats = 1 + static_cast<unsigned>(r.below(4) == 0 ? r.below(4) : 0),
                 .final_seats = lingers ? 3u : 0u,
                 .after = lingers ? duration(5ms) : duration(0)},
                w.between(0ms, 40ms), w.between(0ms, 400ms), r.below(6) ? duration(10s) : w.between(0ms, 60ms));
      // Calm and storm.
      w.run_for(w.between(0ms, (round / 300) % 2 ? duration(4ms) : duration(100us)));
    }
    w.run_for(12s);
    for (auto& [name, t] : m.of) {
      CAPTURE(name);
      CHECK(t.most <= most.at(name));
      CHECK(t.most > most.at(name) / 2);
      CHECK(t.seats == 0);
      CHECK(t.asked == t.ran + t.refused + t.dropped);
      check_rest(m, name);
    }
    // All of it can be had again, on whatever core.
    for (unsigned i = 0; i < most.at("queued"); ++i)
      m.request(r.below(m.cores()), "queued", fmt::format("user-{}", i), {}, 1s, 0s + 500ms, 10s);
    w.run_for(600ms);
    CHECK(m.of["queued"].seats == most.at("queued"));
  }
}

TEST_CASE("a user who asks for much holds up nobody who asks for little") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    world w(seed);
    machine m(w, 3, 20, configured({level_of("shared", 20, queues(64, 1, 1000))}));
    // 400 at once, of 50 ms, again and again: each other request runs when one of these ends.
    for (int i = 0; i < 400; ++i) m.request(static_cast<std::size_t>(i) % 3, "shared", "greedy", {}, 50ms, 60s, 60s);
    w.run_for(20ms);
    for (int i = 0; i < 20; ++i) {
      m.request(static_cast<std::size_t>(i) % 3, "shared", "modest", {}, 1ms, 60s, 60s);
      const auto before = m.of["shared"].by_user["modest"];
      CHECK(w.run_until([&] { return m.of["shared"].by_user["modest"] > before; }, 70ms));
    }
    CHECK(m.of["shared"].by_user["greedy"] < 400);
    w.run_for(60s);
    CHECK(m.of["shared"].ran == 420);
  }
}

TEST_CASE("a level borrows what others lend, and they have it back when they need it") {
  for (auto seed : seeds(3)) {
    CAPTURE(seed);
    world w(seed);
    machine m(w, 2, 60,
              configured({level_of("lender", 40, queues(8, 1, 100), 50, R"("x":0)"),
                          level_of("borrower", 20, queues(8, 1, 1000), 0, R"("x":0)")}));
    const auto own = m.level("borrower")->limits.nominal,
               lent = m.level("lender")->limits.nominal - m.level("lender")->limits.lowest;
    auto keep_asking = [&](const std::string& level, int n, duration d) {
      const auto end = w.now() + d;
      while (w.now() < end) {
        for (int i = 0; i < n; ++i)
          m.request(static_cast<std::size_t>(i) % 2, level, fmt::format("user-{}", i), {}, 100ms, 1s, 10s);
        w.run_for(100ms);
      }
    };
    keep_asking("borrower", 60, 15s);
    m.of["borrower"].most = 0;
    keep_asking("borrower", 60, 5s);
    CHECK(m.of["borrower"].most >= own + lent - 2);
    // Both at once: the lender has at least what it doesn't lend from the first moment, and more as time goes by.
    const auto end = w.now() + 30s;
    while (w.now() < end) {
      for (int i = 0; i < 60; ++i) {
        m.request(static_cast<std::size_t>(i) % 2, "borrower", fmt::format("user-{}", i), {}, 100ms, 1s, 10s);
        m.request(static_cast<std::size_t>(i) % 2, "lender", fmt::format("user-{}", i), {}, 100ms, 1s, 10s);
      }
      w.run_for(100ms);
    }
    CHECK(m.level("lender")->current >= 37);
    CHECK(m.level("lender")->current + m.level("borrower")->current <= 62);
    w.run_for(5s);
    m.of["lender"].most = 0;
    keep_asking("lender", 60, 2s);
    CHECK(m.of["lender"].most >= 37);
  }
}

TEST_CASE("objects may change under requests that run and wait") {
  for (auto seed : seeds(8)) {
    CAPTURE(seed);
    world w(seed);
    auto& r = w.random();
    auto kept = level_of("kept", 20, queues(8, 2, 50));
    machine m(w, 3, 40, configured({kept}));
    for (int round = 0; round < 40; ++round) {
      // "passing" is there or not, in varying sizes, with queues or without.
      std::vector<json::value> levels{kept};
      if (r.below(3))
        levels.push_back(
            level_of("passing", 1 + static_cast<int>(r.below(60)),
                     r.below(2) ? queues(1 + static_cast<int>(r.below(8)), 1, 10) : R"({"type":"Reject"})"));
      m.configure(configured(levels));
      w.run_for(5ms);
      for (int i = 0; i < 60; ++i) {
        m.request(r.below(3), levels.size() > 1 && r.below(2) ? "passing" : "kept", fmt::format("user-{}", r.below(6)),
                  {}, w.between(0ms, 50ms), 1s, 10s);
        w.run_for(w.between(0ms, 1ms));
      }
    }
    m.configure(configured({kept}));
    w.run_for(12s);
    CHECK(!m.level("passing"));
    for (auto& [name, t] : m.of) {
      CAPTURE(name);
      CHECK(t.asked == t.ran + t.refused + t.dropped);
      CHECK(t.dropped == 0);
    }
    check_rest(m, "kept");
    m.of["kept"].most = 0;
    for (unsigned i = 0; i < 60; ++i) m.request(r.below(3), "kept", fmt::format("user-{}", i), {}, 200ms, 1s, 10s);
    w.run_for(5s);
    CHECK(m.of["kept"].most == m.level("kept")->current);
  }
}
