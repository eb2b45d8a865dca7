// Two leaders at a moment: what the earlier one still writes lands nowhere.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "api/local_objects.h"
#include "control/fence.h"
#include "datastore/memory/memory_log.h"
#include "store/open.h"
#include "world.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

TEST_CASE("a leader's writes end with its term, whether it knows or not") {
  for (auto seed : seeds(40)) {
    CAPTURE(seed);
    world w(seed);
    datastore::memory_database db(datastore::memory_database::durability::each_commit, true);
    db.faults.delay_before_commit = [&] { return w.between(0ms, 5ms); };
    db.faults.delay_after_commit = [&] { return w.between(0ms, 5ms); };
    std::map<std::string, store::revision> terms;
    int refused = 0;
    auto lead = [&](host& h) -> task<void> {
      auto opened = co_await store::open_store({.log = datastore::make_memory_log(db), .loops = {&h.loop()}});
      REQUIRE(opened.has_value());
      control::fenced_store fenced(**opened);
      co_await reactor::sleep_for(w.between(0ms, 300ms));
      auto term = co_await control::begin_term(**opened, "controllers", h.name());
      fenced.set_term(control::term_key("controllers"), term);
      terms[h.name()] = term;
      // It never hears that another leads.
      for (int i = 0; i < 50; ++i) {
        auto done = co_await fenced.write(
            {store::write_kind::create, fmt::format("/registry/things/{}-{}", h.name(), i), "{}", 0, 0});
        if (!done) {
          CHECK(done.error().code == errc::conflict);
          ++refused;
        }
        co_await reactor::sleep_for(w.between(0ms, 10ms));
      }
      reactor::event never;
      co_await never.wait();
    };
    for (auto name : {"a", "b", "c"}) w.add_host(name).start(lead);
    w.run_for(10s);
    REQUIRE(terms.size() == 3);
    // Each write stands before the next term's beginning.
    int written = 0;
    for (auto& [at, e] : db.rows()) {
      if (!e.name.starts_with("/registry/things/")) continue;
      ++written;
      auto mine = terms.at(e.name.substr(17, 1));
      CHECK(at > mine);
      for (auto& [name, term] : terms) CHECK_MESSAGE(!(term > mine && at > term), e.name);
    }
    CHECK(written + refused == 150);
    CHECK(written >= 50);
  }
}
