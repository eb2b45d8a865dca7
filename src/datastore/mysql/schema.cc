#include "datastore/mysql/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/log.h"
#include "base/strings.h"
#include "datastore/limits.h"
#include "datastore/mysql/limits.h"
#include "datastore/mysql/sql.h"

namespace kedge::datastore::mysql {

namespace {

// "10.11.6-MariaDB-…": 10.11; "8.0.36": 8.0
std::pair<std::uint64_t, std::uint64_t> version_of(std::string_view text) {
  auto parts = split(text, '.');
  auto number = [&](std::size_t i) { return i < parts.size() ? parse_uint(parts[i]).value_or(0) : 0; };
  return {number(0), number(1)};
}

result<void> new_enough(std::string_view version) {
  bool mariadb = version.find("MariaDB") != std::string_view::npos;
  if (version_of(version) >= (mariadb ? std::pair<std::uint64_t, std::uint64_t>{10, 5} : std::pair{8ul, 0ul}))
    return {};
  return fail(errc::unsupported, fmt::format("version {} is too old: MySQL 8.0 or MariaDB 10.5 is needed", version));
}

}  // namespace

task<result<std::unique_ptr<connection>>> open_session(settings s) {
  auto variables = s.variables;
  auto deadline = reactor::loop::current().now() + connect_timeout;
  KEDGE_CO_TRY(auto c, co_await connection::open(std::move(s), deadline));
  KEDGE_CO_TRY(auto who, co_await reactor::with_deadline(c->run(sql::identity), deadline));
  if (who.size() != 1) co_return fail(errc::protocol, "the server does not say who it is");
  KEDGE_CO_CHECK(new_enough(who.bytes(0, 2)));
  if (who.number(0, 1) != 0) co_return fail(errc::unavailable, "the server is read only; the primary is needed");
  c->packet_bytes_max = static_cast<std::size_t>(std::max<std::int64_t>(0, who.number(0, 3)));
  for (auto& [name, value] : variables) {
    auto set = co_await c->run(fmt::format("SET SESSION {} = {}", name, value));
    if (!set) co_return fail(errc::unsupported, fmt::format("the endpoint's {}: {}", name, set.error().message));
  }
  KEDGE_CO_CHECK(co_await c->run(sql::session(who.bytes(0, 2).find("MariaDB") != std::string_view::npos)));
  co_return c;
}

task<result<void>> mark_session(connection& c) {
  auto& random = reactor::loop::current().random();
  auto mark = fmt::format("kedge.writer.{:016x}{:016x}", random.next(), random.next());
  KEDGE_CO_TRY(auto had, co_await c.run(sql::mark(mark)));
  if (had.number(0, 0) != 1) co_return fail(errc::unavailable, "the server gives no lock to a new session");
  c.mark = std::move(mark);
  co_return result<void>();
}

task<result<void>> end_session(connection& c, std::string mark) {
  auto until = reactor::loop::current().now() + std::chrono::seconds(5);
  for (;;) {
    KEDGE_CO_TRY(auto holder, co_await c.run(sql::marked(mark)));
    if (holder.null(0, 0)) co_return result<void>();
    if (reactor::loop::current().now() > until)
      co_return fail(errc::unavailable,
                     fmt::format("the session {} of a lost connection does not end", holder.number(0, 0)));
    // It may have ended meanwhile.
    (void)co_await c.run(sql::kill(holder.number(0, 0)));
    co_await reactor::sleep_for(std::chrono::milliseconds(5));
  }
}

namespace {

task<result<void>> inspect_server(connection& c) {
  KEDGE_CO_TRY(auto r, co_await c.run(sql::variables));
  std::map<std::string, std::string> is;
  for (int i = 0; i < r.size(); ++i) is.emplace(lower(r.bytes(i, 0)), lower(r.bytes(i, 1)));
  for (auto* name : {"auto_increment_increment", "auto_increment_offset"}) {
    if (is[name] != "1")
      co_return fail(errc::unsupported,
                     fmt::format("{} is {}: ids must follow each other without holes, so it has to be "
                                 "1 (clusters with several primaries set it otherwise)",
                                 name, is[name]));
  }
  if (is["wsrep_on"] == "on")
    co_return fail(errc::unsupported, "the server is a node of a Galera cluster, whose nodes write beside each other");
  if (is["group_replication_single_primary_mode"] == "off" && is["log_bin"] == "on")
    co_return fail(errc::unsupported, "group replication with several primaries, which write beside each other");
  if (is["log_bin"] == "on" && is["binlog_format"] == "statement")
    co_return fail(errc::unsupported, "binlog_format is STATEMENT; set it to ROW or MIXED");
  if (is["innodb_flush_log_at_trx_commit"] != "1")
    kedge::log::warning(
        "MySQL: innodb_flush_log_at_trx_commit is {}: a crash of its machine may lose what was acknowledged",
        is["innodb_flush_log_at_trx_commit"]);
  if (is["log_bin"] == "on" && is["sync_binlog"] != "1")
    kedge::log::warning("MySQL: sync_binlog is {}: a crash of its machine may lose what was acknowledged",
                        is["sync_binlog"]);
  if (is.contains("innodb_doublewrite") && is["innodb_doublewrite"] == "off")
    kedge::log::warning("MySQL: innodb_doublewrite is off: a crash of its machine may damage what was acknowledged");
  if (c.packet_bytes_max < packet_bytes_wanted)
    kedge::log::warning("MySQL: max_allowed_packet is {}: larger objects are refused; {} is needed for all of them",
                        c.packet_bytes_max, packet_bytes_wanted);
  co_return result<void>();
}

struct column {
  std::string_view name, types[2];
  bool seen = false;
};

}  // namespace

task<result<table_facts>> inspect(connection& c) {
  KEDGE_CO_CHECK(co_await inspect_server(c));
  KEDGE_CO_TRY(auto table, co_await c.run(sql::table));
  table_facts facts;
  if (table.size() == 0) co_return facts;
  facts.there = true;
  if (table.bytes(0, 0) != "BASE TABLE")
    co_return fail(errc::unsupported, "\"kine\" is there but is not a plain table");
  if (!iequals(table.bytes(0, 1), "InnoDB"))
    co_return fail(errc::unsupported,
                   fmt::format("table kine is of the engine {}, which has no transactions; ALTER TABLE "
                               "kine ENGINE=InnoDB",
                               table.bytes(0, 1)));
  KEDGE_CO_TRY(auto triggers, co_await c.run(sql::triggers));
  if (triggers.size() != 0)
    co_return fail(errc::unsupported, fmt::format("table kine has triggers ({}); remove them", triggers.bytes(0, 0)));

  column wanted[] = {{"id", {"bigint", "int"}},
                     {"name", {"varchar", "varchar"}},
                     {"created", {"int", "bigint"}},
                     {"deleted", {"int", "bigint"}},
                     {"create_revision", {"bigint", "int"}},
                     {"prev_revision", {"bigint", "int"}},
                     {"lease", {"int", "bigint"}},
                     {"value", {"mediumblob", "longblob"}},
                     {"old_value", {"mediumblob", "longblob"}}};
  bool narrow = false;
  KEDGE_CO_TRY(auto columns, co_await c.run(sql::columns));
  for (int i = 0; i < columns.size(); ++i) {
    auto name = columns.bytes(i, 0), type = columns.bytes(i, 1);
    auto* w = std::find_if(std::begin(wanted), std::end(wanted), [&](auto& one) { return iequals(one.name, name); });
    if (w == std::end(wanted)) continue;
    if (!iequals(type, w->types[0]) && !iequals(type, w->types[1]))
      co_return fail(errc::unsupported,
                     fmt::format("column {} of table kine is {}, not {}", w->name, type, w->types[0]));
    w->seen = true;
    if (w->name == "name") facts.folds_case = !columns.bytes(i, 3).ends_with("_bin");
    if (w->name == "id" && lower(columns.bytes(i, 4)).find("auto_increment") == std::string::npos)
      co_return fail(errc::unsupported, "kine.id is no AUTO_INCREMENT");
    if ((w->name == "id" || w->name.ends_with("_revision")) && iequals(type, "int")) narrow = true;
  }
  for (auto& w : wanted) {
    if (!w.seen) co_return fail(errc::unsupported, fmt::format("table kine has no column {}", w.name));
  }
  if (facts.folds_case)
    kedge::log::info(
        "MySQL: the collation of kine.name folds case, so two objects whose names differ in case only can't both "
        "exist, as with K3s; to change it: ALTER TABLE kine MODIFY name VARCHAR(630) CHARACTER SET ascii COLLATE "
        "ascii_bin");
  KEDGE_CO_TRY(auto largest, co_await c.run(sql::largest_id));
  if (narrow && largest.number(0, 0) > static_cast<std::int64_t>(int4_warning * static_cast<double>(int4_max)))
    kedge::log::warning("the ids of table kine end at {}, and {} of them are used up: stop all servers, then: {}",
                        int4_max, largest.number(0, 0), widening);
  co_return facts;
}

namespace {

task<result<void>> create_all(connection& c) {
  auto attempt = [&c](std::string statement) -> task<result<void>> {
    auto done = co_await c.run(statement);
    // A K3s server that starts at the same moment takes no lock of ours: what it made is there now.
    if (!done && done.error().code == errc::conflict) done = co_await c.run(statement);
    if (!done) co_return fail(std::move(done).error().with(fmt::format("creating kine's table ({}): ", statement)));
    co_return result<void>();
  };
  KEDGE_CO_CHECK(co_await attempt(sql::create_table));
  KEDGE_CO_TRY(auto indexes, co_await c.run(sql::indexes));
  for (auto& wanted : sql::wanted_indexes) {
    bool there = false;
    for (int i = 0; i < indexes.size(); ++i)
      there = there || (iequals(indexes.bytes(i, 0), wanted.name) && iequals(indexes.bytes(i, 2), wanted.columns));
    if (there) continue;
    kedge::log::info("MySQL: table kine lacks {}; making it", wanted.name);
    if (auto made = co_await attempt(wanted.create);
        !made && made.error().message.find("(error 1061)") == std::string::npos)
      co_return made;
  }
  for (auto* statement : sql::first_rows) KEDGE_CO_CHECK(co_await attempt(statement));
  // The right to is needed when rows of K3s's come out of order; a table that is busy just now is as good.
  auto stopped = co_await c.run(sql::stop_writers);
  if (!stopped && stopped.error().code == errc::forbidden)
    co_return fail(errc::forbidden, stopped.error().message + "; GRANT LOCK TABLES on the database to this user");
  if (stopped) KEDGE_CO_CHECK(co_await c.run(sql::let_writers));
  co_return result<void>();
}

}  // namespace

task<result<void>> create_schema(connection& c) {
  KEDGE_CO_TRY(auto had, co_await c.run(sql::lock_schema));
  if (had.number(0, 0) != 1) co_return fail(errc::unavailable, "another server holds the database's lock");
  auto made = co_await create_all(c);
  auto unlocked = co_await c.run(sql::unlock_schema);
  if (made && !unlocked) co_return fail(std::move(unlocked).error());
  co_return made;
}

task<result<void>> create_database(settings s) {
  auto wanted = std::exchange(s.database, "");
  auto deadline = reactor::loop::current().now() + connect_timeout;
  KEDGE_CO_TRY(auto c, co_await connection::open(std::move(s), deadline));
  KEDGE_CO_CHECK(co_await c->run(sql::create_database(wanted)));
  kedge::log::info("created the database {}", wanted);
  co_return result<void>();
}

}  // namespace kedge::datastore::mysql
