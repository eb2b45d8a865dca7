// order_test.cc: appends land in the order in which they were called, although those that waited for a silent database
// are woken later than those that come when it speaks again.
#include <doctest/doctest.h>

#include "cutting_proxy.h"
#include "datastore/mysql/mysql_log.h"
#include "datastore/postgres/postgres_log.h"
#include "datastore/redis/redis_log.h"
#include "mysql_server.h"
#include "redis_server.h"
#include "runner.h"

namespace kedge::datastore {
namespace {

using namespace std::chrono_literals;

using answer = std::optional<result<appended>>;

task<void> write(log& l, std::string name, answer& out) {
  out.emplace(co_await l.append(
      std::make_shared<const std::vector<operation>>(std::vector<operation>{create(std::move(name), "v")})));
}

void check(log& l, cutting_proxy& proxy) {
  runner r;
  r.start(l);
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    answer before, first, second;
    reactor::scope group;
    auto name = [&](std::string_view which) { return fmt::format("/registry/{}-{}", which, round); };
    proxy.stand_still(true);
    group.spawn(write(l, name("before"), before));
    REQUIRE(r.until([&] { return !l.healthy().has_value(); }));
    // It waits for the database to speak.
    group.spawn(write(l, name("first"), first));
    for (int i = 0; i < 3; ++i) r.loop.turn(monotonic_clock::now() + 1ms);
    proxy.stand_still(false);
    REQUIRE(r.until([&] { return before.has_value() || first.has_value(); }));
    group.spawn(write(l, name("second"), second));
    REQUIRE(r.until([&] { return group.size() == 0; }));
    REQUIRE(before);
    if (!*before && before->error().code == errc::unknown_outcome) break;  // too slow a machine: the link was given up
    REQUIRE_MESSAGE(before->has_value(), before->error().message);
    REQUIRE_MESSAGE(first->has_value(), first->error().message);
    REQUIRE_MESSAGE(second->has_value(), second->error().message);
    CHECK((*first)->outcomes[0].at < (*second)->outcomes[0].at);
  }
  r.loop.run_until(l.close());
}

}  // namespace

TEST_CASE("appends land in the order of the calls, also of those that waited") {
  SUBCASE("PostgreSQL") {
    cutting_proxy proxy(the_postgres().port());
    auto url = fmt::format("postgres://postgres@127.0.0.1:{}/ordered", proxy.port());
    check(*make_postgres_log({.connection = *postgres::parse_url(url), .start_wait = patience}), proxy);
  }
  SUBCASE("MySQL") {
    cutting_proxy proxy(the_mysql().port());
    auto s = *mysql::parse_dsn(the_mysql().dsn("ordered", proxy.port()), false);
    check(*make_mysql_log({.connection = s, .start_wait = patience}), proxy);
  }
  SUBCASE("Redis") {
    cutting_proxy proxy(the_redis().port());
    auto s = *redis::parse_endpoint(fmt::format("127.0.0.1:{}/44", proxy.port()), false);
    check(*make_redis_log({.connection = s, .start_wait = patience}), proxy);
  }
}

}  // namespace kedge::datastore
