#include <doctest/doctest.h>
#include <fmt/format.h>

#include <memory>
#include <vector>

#include "api/fairness/arbiter.h"
#include "api/fairness/gate.h"
#include "api/fairness/limits.h"
#include "api/fairness/unread.h"
#include "harness.h"

namespace kedge::api::fairness {
namespace {

using namespace std::chrono_literals;

// The one core of a server, as its arbiter reaches it.
class one_core final : public core_face {
 public:
  std::unique_ptr<gate> to;

  void use(std::shared_ptr<const configuration> c, const std::vector<unsigned>& request_max) override {
    to->use(std::move(c), request_max);
  }
  void tell(const std::string& level, ticket t, answer a) override {
    post([level, t, a](gate& g) { g.told(level, t, a); });
  }
  void tell_waits(ticket t) override {
    post([t](gate& g) { g.told_to_wait(t); });
  }
  void recall(std::string level) override {
    post([level](gate& g) { g.recalled(level); });
  }
  void ask_demand() override {}

 private:
  template <typename F>
  void post(F f) {
    reactor::loop::current().post([this, f = std::move(f)] {
      if (to) f(*to);
    });
  }
};

json::value parse(std::string_view text) {
  auto v = json::parse(text);
  REQUIRE_MESSAGE(v.has_value(), text);
  return *std::move(v);
}

// A level of which nearly all seats are, for all users, with one queue.
std::shared_ptr<const configuration> one_queue() {
  auto level = parse(R"({"metadata":{"name":"l","uid":"1"},"spec":{"type":"Limited","limited":{
    "nominalConcurrencyShares":1000000,"lendablePercent":0,"borrowingLimitPercent":0,
    "limitResponse":{"type":"Queue","queuing":{"queues":1,"handSize":1,"queueLengthLimit":50}}}}})");
  auto schema = parse(R"({"metadata":{"name":"s","uid":"2"},"spec":{"matchingPrecedence":10,
    "priorityLevelConfiguration":{"name":"l"},"rules":[{"subjects":[{"kind":"User","user":{"name":"*"}}],
    "nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}})");
  return std::make_shared<const configuration>(configuration::make({level}, {schema}));
}

struct world {
  metrics measures;
  one_core core;
  std::unique_ptr<arbiter> of_all;

  explicit world(unsigned seats) {
    core.to = std::make_unique<gate>(0, [this](std::move_only_function<void(arbiter&)> f) { f(*of_all); }, measures);
    of_all = std::make_unique<arbiter>(std::vector<core_face*>{&core}, seats, [](const arbiter&) {});
    of_all->configure(one_queue());
  }
};

// A request whose answer nobody takes.
struct request {
  attributes who;
  flow way;
  memory_exchange client;
  watched_exchange out{client};
  seat own;

  explicit request(gate& g, std::string user = "u") {
    client.silent = true;
    who.user = user_info{.name = std::move(user)};
    who.verb = "get";
    who.path = "/x";
    way = g.classify(who);
  }
  task<bool> enter(gate& g, duration patience) {
    if (auto at_once = g.try_enter(way, {}, who)) {
      own = *std::move(at_once);
    } else {
      auto got = co_await g.enter(way, {}, who, reactor::loop::current().now() + patience);
      if (!got) co_return false;
      own = *std::move(got);
    }
    own.is_for(out);
    co_return true;
  }
  task<void> answer() {
    (void)co_await out.write(std::string_view("text"));
    own.leave();
  }
};

void run(task<void> t) {
  reactor::loop l{*reactor::make_backend(reactor::io_backend::epoll)};
  l.run_until(std::move(t));
}

// So many requests that all seats are taken.
task<std::vector<std::unique_ptr<request>>> fill(world& w) {
  std::vector<std::unique_ptr<request>> out;
  for (;;) {
    auto next = std::make_unique<request>(*w.core.to, out.empty() ? "first" : "u");
    if (!co_await next->enter(*w.core.to, 20ms)) co_return out;
    out.push_back(std::move(next));
  }
}

}  // namespace

TEST_CASE("who waits is given the seats of answers that nobody takes, and no others") {
  run([]() -> task<void> {
    world w(6);
    reactor::scope answering;
    auto all = co_await fill(w);
    REQUIRE(all.size() == 6);
    // Those who work keep theirs, as long as they may take.
    request next(*w.core.to), last(*w.core.to);
    CHECK(!co_await next.enter(*w.core.to, unread_patience + 2 * unread_period));
    answering.spawn(all.front()->answer());
    CHECK(co_await next.enter(*w.core.to, 60s));
    CHECK(!co_await last.enter(*w.core.to, unread_patience + 2 * unread_period));
    CHECK(!all.front()->client.aborted);
    // Where it ends gives nothing back twice.
    all.front()->client.abort();
    CHECK(!co_await last.enter(*w.core.to, 20ms));
    next.own.leave();
    CHECK(co_await last.enter(*w.core.to, 60s));
    answering.cancel();
  }());
}

TEST_CASE("of many answers that nobody takes those that wait longest are broken off, of the user's with the most") {
  run([]() -> task<void> {
    constexpr unsigned more = 3;
    world w(unread_answers_max + more);
    reactor::scope answering;
    auto all = co_await fill(w);
    REQUIRE(all.size() == unread_answers_max + more);
    for (auto& r : all) answering.spawn(r->answer());
    request next(*w.core.to);
    CHECK(co_await next.enter(*w.core.to, 60s));
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i]->client.aborted == (i >= 1 && i <= more));
    answering.cancel();
  }());
}

}  // namespace kedge::api::fairness
