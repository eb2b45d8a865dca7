// backends.h: the databases that the conformance suite runs over, and what a test does with a log.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <span>

#include "datastore/log.h"
#include "reactor/loop.h"

namespace kedge::datastore {

// How long a test waits for what must come: long enough for a machine that is busy with other things.
inline constexpr std::chrono::seconds patience{60};

// One fresh database. Logs over it may end and be made again.
class test_database {
 public:
  virtual ~test_database() = default;
  virtual std::unique_ptr<log> make() = 0;
  virtual bool shared() const = 0;
  // Ends the connections of every log, as a network that fails does; false where there are none.
  virtual bool cut() { return false; }
  // How much is passed over after a loss.
  virtual revision jump() const { return 1'000'000; }
};

struct backend_kind {
  const char* name;
  std::unique_ptr<test_database> (*fresh)();
};
// Those that this program was built with, by name: memory, sqlite, postgres, mysql, redis, etcd.
std::vector<backend_kind>& backends();

// Follows a log as the store does: applies what it gives, in order, and knows what stands.
class server {
 public:
  explicit server(test_database& db) : log_(db.make()) {}
  log& raw() { return *log_; }
  task<result<void>> start();
  // One batch; what it says is applied, and an unknown outcome is looked up as the store does.
  task<result<std::vector<outcome>>> write(std::vector<operation> ops);
  task<result<void>> follow(time_point deadline);  // one tail
  task<result<void>> catch_up(revision to, time_point deadline);

  revision applied() const { return applied_; }
  const std::map<std::string, entry>& heads() const { return heads_; }
  const std::vector<entry>& history() const { return history_; }

 private:
  void apply(std::span<const entry> entries);
  void apply(const entry& e);
  task<result<void>> load(revision after);
  std::unique_ptr<log> log_;
  std::map<std::string, entry> heads_;  // of what exists
  std::vector<entry> history_;
  revision applied_ = 0;
};

operation create(std::string name, std::string value, std::uint32_t lease = 0);
operation update(const entry& standing, std::string value, std::uint32_t lease = 0);
operation remove(const entry& standing);

}  // namespace kedge::datastore
