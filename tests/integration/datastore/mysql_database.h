// mysql_database.h: one database of a MySQL server, for tests of what is MySQL's own.
#pragma once

#include "backends.h"
#include "datastore/mysql/mysql_log.h"
#include "mysql_server.h"

namespace kedge::datastore {

class mysql_test_database final : public test_database {
 public:
  explicit mysql_test_database(std::string name, mysql_server& at = the_mysql())
      : name_(std::move(name)), server_(at) {}
  std::unique_ptr<log> make() override { return make(0); }
  // `port`: of a proxy before the server, as below
  std::unique_ptr<log> make(int port) { return make_mysql_log({.connection = settings(port), .start_wait = patience}); }
  int port() const { return server_.port(); }
  bool shared() const override { return true; }
  mysql::settings settings(int port = 0) const { return *mysql::parse_dsn(server_.dsn(name_, port), false); }
  mysql_session::where at() const { return server_.at(name_); }
  using session = mysql_session;
  session sql() const { return session(at()); }
  // Made before anybody is there to do it.
  mysql_test_database& made() {
    mysql_session(server_.at(""))("CREATE DATABASE " + name_);
    return *this;
  }
  // The sessions of Kedge's servers.
  void end_sessions() {
    mysql_session sql(server_.at(""));
    for (auto& id : sql(fmt::format(
             "SELECT id FROM information_schema.processlist WHERE db = '{}' AND id <> CONNECTION_ID()", name_)))
      sql.tries("KILL " + id);
  }

  // As kine inserts.
  static std::string inserted(std::string_view name, bool created, bool deleted, int create_revision, int previous) {
    return fmt::format(
        "INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value, old_value) SELECT "
        "'{}', {}, {}, {}, {}, 0, {}, (SELECT value FROM kine AS kv WHERE kv.id = {})",
        name, created ? 1 : 0, deleted ? 1 : 0, create_revision, previous, deleted ? "NULL" : "'peer'", previous);
  }
  static std::string created(std::string_view name) { return inserted(name, true, false, 0, 0); }
  // The ids up to `last` are used up.
  static std::string passed(int last) { return fmt::format("ALTER TABLE kine AUTO_INCREMENT = {}", last + 1); }
  static constexpr const char* lock_is_free = "SELECT IS_FREE_LOCK(CONCAT('kedge.', SHA1(LOWER(DATABASE()))))";

 private:
  std::string name_;
  mysql_server& server_;
};

// One that tests may stop and set otherwise; each leaves it as it was.
inline mysql_server& spare() {
  static mysql_server one;
  return one;
}

inline constexpr const char* append_lock = "CONCAT('kedge.', SHA1(LOWER(DATABASE())))";

inline batch one(operation op) {
  return std::make_shared<const std::vector<operation>>(std::vector<operation>{std::move(op)});
}

}  // namespace kedge::datastore
