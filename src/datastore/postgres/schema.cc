#include "datastore/postgres/schema.h"

#include <fmt/format.h>

#include "base/log.h"
#include "datastore/limits.h"
#include "datastore/postgres/limits.h"
#include "datastore/postgres/sql.h"

namespace kedge::datastore::postgres {

task<result<std::string>> begin_session(connection& c) {
  KEDGE_CO_CHECK(co_await c.run(sql::session));
  KEDGE_CO_TRY(auto who, co_await c.run(sql::identity));
  if (who.size() != 1) co_return fail(errc::protocol, "the server does not say who it is");
  if (who.number(0, 0) != 0) co_return fail(errc::unavailable, "the server is a standby; the primary is needed");
  co_return std::string(who.bytes(0, 2));
}

task<result<bool>> inspect(connection& c) {
  if (c.server_version() < 110000)
    co_return fail(errc::unsupported,
                   fmt::format("PostgreSQL {} is too old: 11 is needed", c.server_version() / 10000));
  KEDGE_CO_TRY(auto r, co_await c.run(sql::inspect));
  if (r.bytes(0, 0).find("CockroachDB") != std::string_view::npos)
    co_return fail(errc::unsupported, "CockroachDB has no advisory locks, which order the writes of several servers");
  if (auto encoding = r.bytes(0, 1); encoding != "UTF8" && encoding != "SQL_ASCII")
    co_return fail(errc::unsupported,
                   fmt::format("the database's encoding is {}; create it with ENCODING 'UTF8'", encoding));
  for (int i : {2, 3}) {
    if (r.bytes(0, i) != "on")
      log::warning("PostgreSQL: {} is off: a crash of its machine may lose or damage what was acknowledged",
                   i == 2 ? "fsync" : "full_page_writes");
  }
  if (r.number(0, 4) == 0)
    co_return fail(errc::forbidden, "the role may not create temporary objects; GRANT TEMPORARY ON DATABASE to it");
  auto kind = r.bytes(0, 5);
  if (kind.empty()) co_return false;
  if (kind != "r") co_return fail(errc::unsupported, "\"kine\" is there but is not a plain table");
  if (!r.bytes(0, 6).empty())
    co_return fail(errc::unsupported, fmt::format("table kine has triggers ({}); remove them", r.bytes(0, 6)));
  if (r.number(0, 7) != 0) co_return fail(errc::unsupported, "table kine has row level security; disable it");
  if (r.number(0, 8) == 0)
    co_return fail(errc::forbidden, "the role lacks SELECT, INSERT, UPDATE or DELETE on table kine");

  struct column {
    std::string_view name;
    std::string_view types[2];
    bool seen = false;
  };
  column wanted[] = {{"id", {"bigint", "integer"}},
                     {"name", {"text", "character varying"}},
                     {"created", {"integer", "bigint"}},
                     {"deleted", {"integer", "bigint"}},
                     {"create_revision", {"bigint", "integer"}},
                     {"prev_revision", {"bigint", "integer"}},
                     {"lease", {"integer", "bigint"}},
                     {"value", {"bytea", "bytea"}},
                     {"old_value", {"bytea", "bytea"}}};
  bool narrow = false;
  KEDGE_CO_TRY(auto columns, co_await c.run(sql::columns));
  for (int i = 0; i < columns.size(); ++i) {
    for (auto& w : wanted) {
      if (columns.bytes(i, 0) != w.name) continue;
      auto type = columns.bytes(i, 1);
      if (type != w.types[0] && type != w.types[1])
        co_return fail(errc::unsupported,
                       fmt::format("column {} of table kine is {}, not {}", w.name, type, w.types[0]));
      w.seen = true;
      if ((w.name == "id" || w.name.ends_with("_revision")) && type == "integer") narrow = true;
    }
  }
  for (auto& w : wanted) {
    if (!w.seen) co_return fail(errc::unsupported, fmt::format("table kine has no column {}", w.name));
  }
  KEDGE_CO_TRY(auto sequence, co_await c.run(sql::sequence));
  if (sequence.size() != 1) co_return fail(errc::unsupported, "kine.id has no sequence of its own");
  if (sequence.number(0, 0) != 1 || sequence.number(0, 1) != 1)
    co_return fail(errc::unsupported, "the sequence of kine.id must have INCREMENT 1 and CACHE 1");
  // The sequence ends by itself; the columns refuse what doesn't fit.
  auto last = sequence.number(0, 2), most = sequence.number(0, 3);
  if (narrow) most = std::min(most, int4_max);
  if (static_cast<double>(last) > int4_warning * static_cast<double>(most))
    log::warning("the ids of table kine end at {}, and {} of them are used up: {}", most, last, widening);
  co_return true;
}

namespace {

// ALTER TABLE … TYPE bigint leaves the sequence of a serial column as it was.
task<result<void>> widen_sequence(connection& c) {
  KEDGE_CO_TRY(auto sequence, co_await c.run(sql::sequence));
  if (sequence.size() != 1 || sequence.number(0, 3) > int4_max) co_return result<void>();
  KEDGE_CO_TRY(auto columns, co_await c.run(sql::columns));
  for (int i = 0; i < columns.size(); ++i)
    if (columns.bytes(i, 0) == "id" && columns.bytes(i, 1) != "bigint") co_return result<void>();
  auto statement = fmt::format("ALTER SEQUENCE {} AS bigint", sequence.bytes(0, 4));
  auto done = co_await c.run(statement.c_str());
  if (done)
    log::info("the sequence of kine.id ended at {}; it goes on now", sequence.number(0, 3));
  else
    log::warning("the sequence of kine.id ends at {}, before its column does: {}; run as the table's owner: {}",
                 sequence.number(0, 3), done.error().message, statement);
  co_return result<void>();
}

}  // namespace

task<result<void>> create_schema(connection& c) {
  KEDGE_CO_CHECK(co_await c.run(sql::lock_session));
  result<void> out;
  for (auto* statement : sql::schema) {
    auto done = co_await c.run(statement);
    // A K3s server that starts at the same moment takes no lock of ours: what it made is there now.
    if (!done && done.error().code == errc::conflict) done = co_await c.run(statement);
    if (!done) {
      out = fail(std::move(done).error().with(fmt::format("creating kine's table ({}): ", statement)));
      break;
    }
  }
  if (out) out = co_await widen_sequence(c);
  auto unlocked = co_await c.run(sql::unlock_session);
  if (out && !unlocked) out = fail(std::move(unlocked).error());
  co_return out;
}

task<result<void>> end_session(connection& c, int pid, std::string started) {
  auto until = reactor::loop::current().now() + std::chrono::seconds(5);
  for (;;) {
    KEDGE_CO_TRY(auto left, co_await c.run(sql::terminate, {parameter::integer(pid), parameter::text(started)}));
    if (left.number(0, 0) == 0) co_return result<void>();
    if (reactor::loop::current().now() > until)
      co_return fail(errc::unavailable, fmt::format("the session {} of a lost connection does not end", pid));
    co_await reactor::sleep_for(std::chrono::milliseconds(5));
  }
}

namespace {

// Where every server has a database.
task<result<std::unique_ptr<connection>>> connect_beside(settings s) {
  put(s, "dbname", "postgres");
  return connection::open(std::move(s), reactor::loop::current().now() + connect_timeout);
}

task<result<bool>> is_there(connection& c, const std::string& name) {
  KEDGE_CO_TRY(auto there, co_await c.run(sql::database_exists, {parameter::text(name)}));
  co_return there.number(0, 0) != 0;
}

}  // namespace

task<result<bool>> has_database(settings s) {
  auto* name = find(s, "dbname");
  if (!name) co_return true;
  auto wanted = *name;
  KEDGE_CO_TRY(auto c, co_await connect_beside(std::move(s)));
  co_return co_await is_there(*c, wanted);
}

task<result<void>> create_database(settings s) {
  auto* name = find(s, "dbname");
  if (!name) co_return result<void>();
  auto wanted = *name;
  KEDGE_CO_TRY(auto c, co_await connect_beside(std::move(s)));
  KEDGE_CO_TRY(auto there, co_await is_there(*c, wanted));
  if (there) co_return result<void>();
  std::string quoted = "CREATE DATABASE \"";
  for (char ch : wanted) {
    if (ch == '"') quoted += ch;
    quoted += ch;
  }
  quoted += "\" TEMPLATE template0 ENCODING 'UTF8'";
  auto made = co_await c->run(quoted.c_str());
  if (!made && made.error().message.find("42P04") == std::string::npos &&
      made.error().message.find("23505") == std::string::npos)
    co_return fail(std::move(made).error());
  log::info("created the database {}", wanted);
  co_return result<void>();
}

}  // namespace kedge::datastore::postgres
