// datastore_bench.cc: creates through one store against what the database does alone with as many clients (pgbench
// inserting the same rows; redis-benchmark setting values of the same size), in turn, and how soon a watch on another
// server sees a write. Prints medians and the ratio. Whole servers are measured by benchmarks/ha.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "datastore/postgres/postgres_log.h"
#include "datastore/redis/redis_log.h"
#include "postgres_server.h"
#include "redis_server.h"
#include "store/open.h"

namespace kedge::store {
namespace {

using namespace std::chrono_literals;

datastore::postgres_server& the_postgres() {
  static datastore::postgres_server s(datastore::postgres_server::durability::survives_power_loss);
  return s;
}

constexpr int clients = 32, rounds = 5;
constexpr std::chrono::seconds each{3};

std::string value_of(std::string_view name) {
  return fmt::format(R"({{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{}"}},"data":{{"k":"{}"}}}})", name,
                     std::string(1100, 'v'));
}

datastore::redis_server& the_redis() {
  static datastore::redis_server s({.appendfsync = "everysec"});
  return s;
}

std::unique_ptr<datastore::log> on_postgres(const std::string& database) {
  return datastore::make_postgres_log({.connection = *datastore::postgres::parse_url(the_postgres().url(database))});
}
std::unique_ptr<datastore::log> on_redis(const std::string& prefix) {
  return datastore::make_redis_log(
      {.connection = *datastore::redis::parse_endpoint(the_redis().url(0, "?prefix=" + prefix), false)});
}
using log_maker = std::unique_ptr<datastore::log> (*)(const std::string&);

std::unique_ptr<store> open(reactor::loop& loop, log_maker make, const std::string& name) {
  auto opened = loop.run_until(open_store({.log = make(name), .loops = {&loop}}));
  REQUIRE(opened.has_value());
  return std::move(*opened);
}

task<void> creator(store& s, int who, int& next, time_point until, std::size_t& done) {
  while (monotonic_clock::now() < until) {
    auto name = fmt::format("b{}-{}", who, next++);
    auto made = co_await s.write({write_kind::create, "/registry/configmaps/default/" + name, value_of(name), 0, 0});
    if (made) ++done;
  }
}

double ours(reactor::loop& loop, store& s, int& next) {
  std::size_t done = 0;
  auto began = monotonic_clock::now();
  loop.run_until([](store& st, int& n, std::size_t& d) -> task<void> {
    reactor::scope group;
    for (int i = 0; i < clients; ++i) group.spawn(creator(st, i, n, monotonic_clock::now() + each, d));
    co_await group.join();
  }(s, next, done));
  return static_cast<double>(done) / std::chrono::duration<double>(monotonic_clock::now() - began).count();
}

double pgbench() {
  auto& pg = the_postgres();
  auto script = pg.folder() + "/insert.sql";
  {
    std::ofstream out(script);
    out << "\\set r random(1, 1000000000000000)\n"
           "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES "
           "('/registry/configmaps/default/p' || :client_id || '-' || :r, 1, 0, 0, 0, 0, '\\x";
    for (unsigned char c : value_of("p1-123456")) out << fmt::format("{:02x}", c);
    out << "'::bytea, NULL);\n";
  }
  auto output = pg.folder() + "/pgbench.out";
  auto command =
      fmt::format("{}/pgbench -n -M prepared -c {} -j 2 -T {} -f {} -h 127.0.0.1 -p {} -U postgres bench > {} 2>&1",
                  pg.programs(), clients, each.count(), script, pg.port(), output);
  REQUIRE(::system(command.c_str()) == 0);
  std::ifstream in(output);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("tps = ")) return std::stod(line.substr(6));
  }
  FAIL("pgbench said nothing");
  return 0;
}

double redis_benchmark() {
  auto output = the_redis().folder() + "/benchmark.out";
  auto size = value_of("p1-123456").size();
  // As many as take about as long as our side.
  static int requests = 100'000;
  auto command = fmt::format("redis-benchmark -p {} -c {} -d {} -r 1000000000 -n {} -t set --csv > {} 2>&1",
                             the_redis().port(), clients, size, requests, output);
  REQUIRE(::system(command.c_str()) == 0);
  std::ifstream in(output);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("\"SET\",\"")) continue;
    auto rate = std::stod(line.substr(7));
    requests = std::max(1000, static_cast<int>(rate * static_cast<double>(each.count())));
    datastore::redis_session(the_redis().port())({"FLUSHDB"});
    return rate;
  }
  FAIL("redis-benchmark said nothing");
  return 0;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void creates(const char* what, log_maker make, double (*alone)(), double to_beat) {
  std::vector<double> a, b;
  int next = 0;
  for (int i = 0; i < rounds; ++i) {
    b.push_back(alone());
    reactor::loop loop(*reactor::make_backend(reactor::io_backend::automatic));
    reactor::loop::current_guard here(loop);
    auto s = open(loop, make, "bench");
    a.push_back(ours(loop, *s, next));
    loop.run_until(s->close());
  }
  fmt::print("creates/s, 32 clients: kedge {:.0f}, {} {:.0f}, ratio {:.2f} (to beat: {})\n", median(a), what, median(b),
             median(a) / median(b), to_beat);
}

void latency(const char* what, log_maker make) {
  reactor::loop loop(*reactor::make_backend(reactor::io_backend::automatic));
  reactor::loop::current_guard here(loop);
  auto a = open(loop, make, "latency");
  auto b = open(loop, make, "latency");
  for (bool loaded : {false, true}) {
    std::vector<double> took;
    loop.run_until([](store& from, store& to, bool load, std::vector<double>& out) -> task<void> {
      reactor::scope group;
      std::size_t done = 0;
      int next = load ? 1'000'000 : 0;
      if (load) {
        for (int i = 0; i < clients; ++i) group.spawn(creator(from, i, next, monotonic_clock::now() + 4s, done));
      }
      auto w = to.watch("/registry/probes/", 0);
      for (int i = 0; i < 600; ++i) {
        auto name = fmt::format("p{}-{}", load, i);
        auto began = monotonic_clock::now();
        auto made = co_await from.write({write_kind::create, "/registry/probes/" + name, value_of(name), 0, 0});
        auto answered = monotonic_clock::now();
        if (!made || !co_await (*w)->next()) break;
        out.push_back(
            std::chrono::duration<double, std::milli>(monotonic_clock::now() - (load ? answered : began)).count());
        co_await reactor::sleep_for(load ? 5ms : 2ms);
      }
      co_await group.join();
    }(*a, *b, loaded, took));
    std::sort(took.begin(), took.end());
    REQUIRE(!took.empty());
    fmt::print("{}, {}: p50 {:.2f} ms, p99 {:.2f} ms (to beat: 3 and 15)\n", what,
               loaded ? "under 32 writers, from the writer's answer to the other server's watch"
                      : "idle, from the request to the other server's watch",
               took[took.size() / 2], took[took.size() * 99 / 100]);
  }
  loop.run_until(a->close());
  loop.run_until(b->close());
}

}  // namespace

TEST_CASE("PostgreSQL") {
  // The database and its table, for pgbench.
  {
    reactor::loop loop(*reactor::make_backend(reactor::io_backend::automatic));
    reactor::loop::current_guard here(loop);
    auto s = open(loop, on_postgres, "bench");
    loop.run_until(s->close());
  }
  creates("pgbench", on_postgres, pgbench, 0.8);
  latency("PostgreSQL", on_postgres);
}

TEST_CASE("Redis") {
  creates("redis-benchmark", on_redis, redis_benchmark, 0.4);
  latency("Redis", on_redis);
}

}  // namespace kedge::store
