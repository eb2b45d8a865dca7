// postgres_database.h: one database of the PostgreSQL server, for tests of what is PostgreSQL's own.
#pragma once

#include "backends.h"
#include "datastore/postgres/postgres_log.h"
#include "postgres_server.h"

namespace kedge::datastore {

class postgres_test_database final : public test_database {
 public:
  explicit postgres_test_database(std::string name, std::chrono::milliseconds start_wait = patience)
      : name_(std::move(name)), start_wait_(start_wait) {}
  std::unique_ptr<log> make() override { return make(0); }
  // `port`: of a proxy before the server, as below
  std::unique_ptr<log> make(int port) {
    return make_postgres_log({.connection = settings(port), .start_wait = start_wait_});
  }
  int port() const { return the_postgres().port(); }
  bool shared() const override { return true; }
  std::string url(int port = 0) const { return the_postgres().url(name_, port); }
  postgres::settings settings(int port = 0) const { return *postgres::parse_url(url(port)); }
  using session = sql_session;
  std::string at() const { return url(); }  // of a session
  session sql() const { return session(url()); }
  // Made before anybody is there to do it.
  postgres_test_database& made() {
    sql_session(the_postgres().url("postgres"))(fmt::format("CREATE DATABASE {} TEMPLATE template0", name_));
    return *this;
  }

  // As kine inserts.
  static std::string inserted(std::string_view name, bool created, bool deleted, int create_revision, int previous) {
    return fmt::format(
        "INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value, old_value) SELECT "
        "'{}', {}, {}, {}, {}, 0, {}, (SELECT value FROM kine WHERE id = {}) RETURNING id",
        name, created ? 1 : 0, deleted ? 1 : 0, create_revision, previous, deleted ? "NULL" : "'peer'::bytea",
        previous);
  }
  static std::string created(std::string_view name) { return inserted(name, true, false, 0, 0); }
  // The ids up to `last` are used up.
  static std::string passed(int last) { return fmt::format("SELECT setval('kine_id_seq', {})", last); }
  static constexpr const char* lock_is_free =
      "SELECT CAST(count(*) = 0 AS integer) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
      "(SELECT oid FROM pg_database WHERE datname = current_database())";

 private:
  std::string name_;
  std::chrono::milliseconds start_wait_;
};

}  // namespace kedge::datastore
