// mysql_server.h: a MariaDB of the test's own: data in a temporary folder, a loopback port that was free, stopped and
// removed at the end. And blocking SQL, as the test's second opinion.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <mysql.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "postgres_server.h"

extern char** environ;

namespace kedge::datastore {

// A blocking connection.
class mysql_session {
 public:
  struct where {
    int port;
    std::string database = "";
    std::string user = "root", password = "";
  };
  explicit mysql_session(const where& w) : handle_(mysql_init(nullptr)) {
    auto* ok = mysql_real_connect(handle_, "127.0.0.1", w.user.c_str(), w.password.c_str(),
                                  w.database.empty() ? nullptr : w.database.c_str(), static_cast<unsigned>(w.port),
                                  nullptr, CLIENT_MULTI_STATEMENTS);
    REQUIRE_MESSAGE(ok != nullptr, mysql_error(handle_));
  }
  mysql_session(const mysql_session&) = delete;
  ~mysql_session() { mysql_close(handle_); }
  // The last statement's rows as `a|b|c`, NULL spelled out.
  std::vector<std::string> operator()(const std::string& statement) {
    std::vector<std::string> out;
    REQUIRE_MESSAGE(run(statement, &out), statement << ": " << mysql_error(handle_));
    return out;
  }
  // false when the server refuses.
  bool tries(const std::string& statement) { return run(statement, nullptr); }
  std::string why() { return mysql_error(handle_); }

 private:
  bool run(const std::string& statement, std::vector<std::string>* out) {
    if (mysql_real_query(handle_, statement.data(), statement.size()) != 0) return false;
    for (int more = 0; more == 0; more = mysql_next_result(handle_)) {
      if (out) out->clear();
      auto* r = mysql_store_result(handle_);
      for (MYSQL_ROW row; r && (row = mysql_fetch_row(r));) {
        auto* lengths = mysql_fetch_lengths(r);
        std::string line;
        for (unsigned i = 0; i < mysql_num_fields(r); ++i)
          line += (i ? "|" : "") + (row[i] ? std::string(row[i], lengths[i]) : "NULL");
        if (out) out->push_back(std::move(line));
      }
      if (r) mysql_free_result(r);
    }
    return mysql_errno(handle_) == 0;
  }
  MYSQL* handle_;
};

struct mysql_setup {
  std::vector<std::string> more = {};  // options
  // With 2 what was committed is safe from everything that a test does (killing is not a power cut).
  int flush_at_commit = 2;
};

class mysql_server {
 public:
  explicit mysql_server(mysql_setup s = {}) : setup_(std::move(s)) {
    char name[] = "/tmp/kedge-mysql-XXXXXX";
    folder_ = ::mkdtemp(name);
    port_ = free_port();
    if (::geteuid() == 0) {
      auto* user = ::getpwnam("mysql");
      REQUIRE_MESSAGE(user, "MariaDB's server is needed: apt-get install mariadb-server");
      REQUIRE(::chown(folder_.c_str(), user->pw_uid, user->pw_gid) == 0);
    }
    make_data();
    start();
    mysql_session sql({.port = port_});
    sql("CREATE USER kedge@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO kedge@'%'");
  }
  mysql_server(const mysql_server&) = delete;
  ~mysql_server() {
    stop(SIGKILL);
    std::filesystem::remove_all(folder_);
  }

  void start(const std::vector<std::string>& once = {}) {
    std::vector<std::string> argv{"mariadbd",
                                  "--no-defaults",
                                  "--datadir=" + folder_ + "/data",
                                  "--tmpdir=" + folder_,
                                  "--bind-address=127.0.0.1",
                                  fmt::format("--port={}", port_),
                                  "--socket=" + socket(),
                                  "--pid-file=" + folder_ + "/pid",
                                  "--log-error=" + folder_ + "/log",
                                  "--max-connections=200",
                                  "--innodb-buffer-pool-size=64M",
                                  "--innodb-log-file-size=16M",
                                  fmt::format("--innodb-flush-log-at-trx-commit={}", setup_.flush_at_commit)};
    if (::geteuid() == 0) argv.push_back("--user=mysql");
    argv.insert(argv.end(), setup_.more.begin(), setup_.more.end());
    argv.insert(argv.end(), once.begin(), once.end());
    std::vector<char*> raw;
    for (auto& a : argv) raw.push_back(a.data());
    raw.push_back(nullptr);
    REQUIRE_MESSAGE(::posix_spawnp(&pid_, "/usr/sbin/mariadbd", nullptr, nullptr, raw.data(), environ) == 0,
                    "MariaDB's server is needed: apt-get install mariadb-server");
    for (int tries = 0; !answers(); ++tries) {
      REQUIRE_MESSAGE(tries < 600, "mariadbd does not come up, see " << folder_ << "/log");
      std::this_thread::sleep_for(std::chrono::milliseconds(20 + tries));
    }
  }
  void stop(int with = SIGTERM) {
    if (pid_ <= 0) return;
    ::kill(pid_, with);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  int port() const { return port_; }
  std::string socket() const { return folder_ + "/socket"; }
  const std::string& folder() const { return folder_; }
  // As it stands behind mysql://.
  std::string dsn(std::string_view database, int port = 0) const {
    return fmt::format("root@tcp(127.0.0.1:{})/{}", port ? port : port_, database);
  }
  mysql_session::where at(std::string_view database) const {
    return {.port = port_, .database = std::string(database)};
  }

 private:
  // The first of a program takes some seconds; the others are copies.
  void make_data() {
    static std::string original;
    auto made =
        original.empty()
            ? fmt::format(
                  "mariadb-install-db --no-defaults --datadir={0}/data --tmpdir={0} --skip-test-db "
                  "--auth-root-authentication-method=normal --innodb-log-file-size=16M {1} && cp -a {0}/data {0}/new",
                  folder_, ::geteuid() == 0 ? "--user=mysql" : "")
            : fmt::format("cp -a {}/new {}/data", original, folder_);
    if (::system(fmt::format("({}) > {}/commands 2>&1", made, folder_).c_str()) != 0) {
      std::ifstream in(folder_ + "/commands");
      std::string said{std::istreambuf_iterator<char>(in), {}};
      FAIL(made << "\n" << said);
    }
    if (original.empty()) original = folder_;
  }
  bool answers() const {
    auto* c = mysql_init(nullptr);
    bool up = mysql_real_connect(c, "127.0.0.1", "root", "", nullptr, static_cast<unsigned>(port_), nullptr, 0);
    mysql_close(c);
    return up;
  }
  mysql_setup setup_;
  std::string folder_;
  int port_ = 0;
  pid_t pid_ = 0;
};

// One for all tests of the program; every test has a database of its own.
inline mysql_server& the_mysql() {
  static mysql_server s;
  return s;
}

}  // namespace kedge::datastore
