// postgres_server.h: a PostgreSQL of the test's own: data in a temporary folder, a loopback port that was free, stopped
// and removed at the end. And blocking SQL, as the test's second opinion.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace kedge::datastore {

// A port that nobody listens on, below those that outgoing connections take: a client that tries again while the server
// is away could otherwise be given the very port as its own, and would be connected with itself.
inline int free_port() {
  static std::mt19937 random{std::random_device{}()};
  for (int tries = 0; tries < 200; ++tries) {
    int port = std::uniform_int_distribution<int>(12000, 30000)(random);
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(static_cast<std::uint16_t>(port));
    bool free = ::bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0;
    ::close(fd);
    if (free) return port;
  }
  FAIL("no free port");
  return 0;
}

class postgres_server {
 public:
  // Without fsync what was committed is safe from everything that a test does (killing is not a power cut), and a busy
  // disk can't make a restart take minutes.
  enum class durability { survives_power_loss, survives_kill };
  explicit postgres_server(durability d = durability::survives_kill) : durability_(d) {
    for (auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql")) programs_ = version.path() / "bin";
    REQUIRE_MESSAGE(!programs_.empty(), "PostgreSQL's server is needed: apt-get install postgresql");
    char name[] = "/tmp/kedge-postgres-XXXXXX";
    folder_ = ::mkdtemp(name);
    port_ = free_port();
    // PostgreSQL refuses to run as root.
    if (::geteuid() == 0) {
      auto* user = ::getpwnam("postgres");
      REQUIRE(user);
      REQUIRE(::chown(folder_.c_str(), user->pw_uid, user->pw_gid) == 0);
    }
    run(fmt::format("{}/initdb -D {}/data -A trust -U postgres --no-sync -E UTF8", programs_, folder_));
    start();
  }
  ~postgres_server() {
    stop("immediate");
    std::filesystem::remove_all(folder_);
  }

  void start() {
    run(fmt::format(
        "{0}/pg_ctl -w -D {1}/data -l {1}/log -o \"-c listen_addresses=127.0.0.1 -c port={2} -c "
        "unix_socket_directories={1} -c max_connections=200 -c shared_buffers=64MB -c fsync={3}\" -t 300 start",
        programs_, folder_, port_, durability_ == durability::survives_power_loss ? "on" : "off"));
  }
  void stop(std::string_view how) {
    run(fmt::format("{}/pg_ctl -w -D {}/data -m {} -t 300 stop", programs_, folder_, how));
  }
  // As the machine would end it; its sessions go with it.
  pid_t pid() const {
    std::ifstream in(folder_ + "/data/postmaster.pid");
    pid_t out = 0;
    in >> out;
    return out;
  }

  // `port`: of a proxy before it
  std::string url(std::string_view database, int port = 0) const {
    return fmt::format("postgres://postgres@127.0.0.1:{}/{}", port ? port : port_, database);
  }
  int port() const { return port_; }
  const std::string& folder() const { return folder_; }
  const std::string& programs() const { return programs_; }

 private:
  void run(const std::string& command) {
    auto whole =
        (::geteuid() == 0 ? "/usr/sbin/runuser -u postgres -- " : "") + command + " >> " + folder_ + "/commands 2>&1";
    int code = ::system(("cd / && " + whole).c_str());
    if (code != 0) {
      std::ifstream in(folder_ + "/commands");
      std::string said{std::istreambuf_iterator<char>(in), {}};
      FAIL(command << ": " << code << "\n" << said);
    }
  }
  durability durability_;
  std::string programs_, folder_;
  int port_ = 0;
};

// One for all tests of the program; every test has a database of its own.
inline postgres_server& the_postgres() {
  static postgres_server s;
  return s;
}

// A blocking connection.
class sql_session {
 public:
  explicit sql_session(const std::string& url) : handle_(PQconnectdb(url.c_str())) {
    REQUIRE_MESSAGE(PQstatus(handle_) == CONNECTION_OK, PQerrorMessage(handle_));
    PQsetNoticeProcessor(handle_, [](void*, const char*) {}, nullptr);
  }
  sql_session(const sql_session&) = delete;
  ~sql_session() { PQfinish(handle_); }
  // Rows as `a|b|c`, NULL spelled out.
  std::vector<std::string> operator()(const std::string& statement) {
    auto* r = PQexec(handle_, statement.c_str());
    auto status = PQresultStatus(r);
    REQUIRE_MESSAGE((status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK),
                    statement << ": " << PQerrorMessage(handle_));
    std::vector<std::string> out;
    for (int i = 0; i < PQntuples(r); ++i) {
      std::string line;
      for (int j = 0; j < PQnfields(r); ++j)
        line += (j ? "|" : "") + std::string(PQgetisnull(r, i, j) ? "NULL" : PQgetvalue(r, i, j));
      out.push_back(std::move(line));
    }
    PQclear(r);
    return out;
  }
  // false when the server refuses.
  bool tries(const std::string& statement) {
    auto* r = PQexec(handle_, statement.c_str());
    bool ok = PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return ok;
  }

 private:
  PGconn* handle_;
};

}  // namespace kedge::datastore
