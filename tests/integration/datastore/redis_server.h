// redis_server.h: a Redis of the test's own: data in a temporary folder, a loopback port that was free, stopped and
// removed at the end. And blocking commands, as the test's second opinion.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "postgres_server.h"

extern char** environ;

namespace kedge::datastore {

struct redis_setup {
  std::vector<std::string> more = {};  // options and values
  // `no` writes before it answers, so that killing loses nothing; everysec may put that off for two seconds.
  std::string appendfsync = "no";
  int replica_of = 0;  // the primary's port
};

class redis_server {
 public:
  explicit redis_server(redis_setup s = {}) : setup_(std::move(s)) {
    char name[] = "/tmp/kedge-redis-XXXXXX";
    folder_ = ::mkdtemp(name);
    port_ = free_port();
    start();
  }
  redis_server(const redis_server&) = delete;
  ~redis_server() {
    stop(SIGKILL);
    std::filesystem::remove_all(folder_);
  }

  void start() {
    std::vector<std::string> argv{"redis-server",
                                  "--port",
                                  std::to_string(port_),
                                  "--bind",
                                  "127.0.0.1",
                                  "--dir",
                                  folder_,
                                  "--save",
                                  "",
                                  "--appendonly",
                                  "yes",
                                  "--appendfsync",
                                  setup_.appendfsync,
                                  "--databases",
                                  "100",
                                  "--logfile",
                                  folder_ + "/log"};
    if (setup_.replica_of) {
      for (auto& a : {std::string("--replicaof"), std::string("127.0.0.1"), std::to_string(setup_.replica_of)})
        argv.push_back(a);
    }
    for (auto& a : setup_.more) argv.push_back(a);
    std::vector<char*> raw;
    for (auto& a : argv) raw.push_back(a.data());
    raw.push_back(nullptr);
    REQUIRE_MESSAGE(::posix_spawnp(&pid_, "redis-server", nullptr, nullptr, raw.data(), environ) == 0,
                    "Redis is needed: apt-get install redis-server");
    for (int tries = 0;; ++tries) {
      auto* c = redisConnect("127.0.0.1", port_);
      bool up = c && !c->err;
      if (up) {
        auto* r = static_cast<redisReply*>(redisCommand(c, "PING"));
        // With a password it is up as well.
        up = r && (r->type == REDIS_REPLY_STATUS || std::string_view(r->str).starts_with("NOAUTH"));
        if (r) freeReplyObject(r);
      }
      if (c) redisFree(c);
      if (up) return;
      REQUIRE_MESSAGE(tries < 600, "redis-server does not come up, see " << folder_ << "/log");
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
  const std::string& folder() const { return folder_; }
  std::string url(int database, std::string_view options = "") const {
    return fmt::format("127.0.0.1:{}/{}{}", port_, database, options);
  }

 private:
  redis_setup setup_;
  std::string folder_;
  int port_ = 0;
  pid_t pid_ = 0;
};

inline redis_server& the_redis() {
  static redis_server s;
  return s;
}

// A blocking connection. Replies as text, elements of arrays with blanks between.
class redis_session {
 public:
  explicit redis_session(int port, int database = 0) : handle_(redisConnect("127.0.0.1", port)) {
    REQUIRE_MESSAGE((handle_ && !handle_->err), "connecting to Redis");
    if (database) (*this)({"SELECT", std::to_string(database)});
  }
  redis_session(const redis_session&) = delete;
  ~redis_session() { redisFree(handle_); }
  std::string operator()(const std::vector<std::string>& words) {
    std::vector<const char*> argv;
    std::vector<std::size_t> lengths;
    for (auto& w : words) {
      argv.push_back(w.data());
      lengths.push_back(w.size());
    }
    auto* r =
        static_cast<redisReply*>(redisCommandArgv(handle_, static_cast<int>(argv.size()), argv.data(), lengths.data()));
    REQUIRE_MESSAGE(r, words[0] << ": " << handle_->errstr);
    auto out = text_of(*r);
    freeReplyObject(r);
    return out;
  }

 private:
  static std::string text_of(const redisReply& r) {
    if (r.type == REDIS_REPLY_INTEGER) return std::to_string(r.integer);
    if (r.type != REDIS_REPLY_ARRAY) return r.type == REDIS_REPLY_NIL ? "nil" : std::string(r.str, r.len);
    std::string out;
    for (std::size_t i = 0; i < r.elements; ++i) out += (i ? " " : "") + text_of(*r.element[i]);
    return out;
  }
  redisContext* handle_;
};

}  // namespace kedge::datastore
