// silence_test.cc: nothing is written to a database that counts as away: who is refused knows that nothing was done,
// where who is sent into the silence has to wait until the link is given up, and is told that nobody knows.
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

task<void> follow(log& l, revision after) { (void)co_await l.tail(after, time_point::max()); }

batch of_one(std::string name) {
  return std::make_shared<const std::vector<operation>>(std::vector<operation>{create(std::move(name), "v")});
}

void check(log& l, cutting_proxy& proxy) {
  runner r;
  r.start(l);
  auto written = r.must(l.append(of_one("/registry/before")));
  reactor::scope group;
  group.spawn(follow(l, written.outcomes[0].at));
  // No write is on its way: who reads finds out.
  proxy.stand_still(true);
  REQUIRE(r.until([&] { return !l.healthy().has_value(); }));
  auto refused = r.loop.run_until(l.append(of_one("/registry/into-the-silence")));
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == errc::unavailable);
  proxy.stand_still(false);
  REQUIRE(r.until([&] { return l.healthy().has_value(); }));
  r.must(l.append(of_one("/registry/after")));
  group.cancel();
  r.loop.run_until(l.close());
}

}  // namespace

TEST_CASE("a database that counts as away gets no write") {
  SUBCASE("PostgreSQL") {
    cutting_proxy proxy(the_postgres().port());
    auto url = fmt::format("postgres://postgres@127.0.0.1:{}/silent", proxy.port());
    check(*make_postgres_log({.connection = *postgres::parse_url(url), .start_wait = patience}), proxy);
  }
  SUBCASE("MySQL") {
    cutting_proxy proxy(the_mysql().port());
    auto s = *mysql::parse_dsn(the_mysql().dsn("silent", proxy.port()), false);
    check(*make_mysql_log({.connection = s, .start_wait = patience}), proxy);
  }
  SUBCASE("Redis") {
    cutting_proxy proxy(the_redis().port());
    auto s = *redis::parse_endpoint(fmt::format("127.0.0.1:{}/45", proxy.port()), false);
    check(*make_redis_log({.connection = s, .start_wait = patience}), proxy);
  }
}

}  // namespace kedge::datastore
