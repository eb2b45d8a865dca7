// memory_log.h: a database in memory, for simulation and for tests of what stands above the log. It keeps the contract
// of log.h, for one server or for several that share it, and can be made to fail in every way that the contract names.
//
// The database outlives the logs over it, as a disk outlives the server: end a log without close() to play kill -9,
// then call lose_power() to play a machine that went down.
#pragma once

#include <functional>
#include <map>

#include "datastore/log.h"

namespace kedge::datastore {

class memory_log;

// The way between one server and the database, which a test changes while both live. Outlives the logs over it.
struct memory_link {
  // Nothing passes. What is not answered after memory_answer_wait is in doubt, and what has not been done by then never
  // will be, as where the session of a lost connection is ended first.
  bool cut = false;
  std::size_t bytes_per_second = 0;  // of what the database sends; 0: no bound
};
inline constexpr std::chrono::seconds memory_answer_wait{10};

// All of it on one thread; the logs may be on several loops of that thread.
class memory_database {
 public:
  enum class durability : unsigned char {
    each_commit,  // what was acknowledged survives lose_power()
    on_sync,      // only what stood at the last sync() does, as SQLite's synchronous=NORMAL
  };
  explicit memory_database(durability d = durability::each_commit, bool shared = false)
      : durability_(d), shared_(shared) {}

  void sync() noexcept { durable_ = newest(); }
  // Takes back what isn't durable. If that was anything, revisions go on 1,000,000 higher, as sqlite_log does it.
  void lose_power();
  // A standby takes over that had not received what came after `last`: servers that have more find it out, and end.
  void lose_after(revision last);

  revision newest() const noexcept { return newest_; }
  revision compacted() const noexcept { return compacted_; }
  const std::map<revision, entry>& rows() const noexcept { return rows_; }
  const entry* newest_of(std::string_view name) const;  // null: it doesn't exist

  // What goes wrong; each is asked at every append, and gives a delay, an error, or nothing. They may differ from call
  // to call.
  struct {
    std::function<duration()> delay_before_commit;
    std::function<duration()> delay_after_commit;
    std::function<duration()> delay_read;                      // of each answer to load, tail, current
    std::function<std::optional<error>()> fail_before_commit;  // nothing lands
    std::function<std::optional<error>()> fail_after_commit;   // it has landed: give errc::unknown_outcome
    std::function<std::optional<error>()> fail_read;           // load, tail, current
  } faults;

 private:
  friend class memory_log;
  appended commit(const std::vector<operation>& ops);
  void compact(revision to);
  void pass_over(revision seen);
  void tell_loss(revision seen);
  page read(revision after) const;
  past_page past(const past_question& q) const;
  revision live_at(std::string_view name) const;  // 0: it doesn't exist

  durability durability_;
  bool shared_;
  std::map<revision, entry> rows_;
  std::map<std::string, revision, std::less<>> heads_;  // also of tombstones
  revision newest_ = 0, durable_ = 0, compacted_ = 0;
  unsigned losses_ = 0;  // how often it lost its end
  revision left_ = 0;    // and what was left the last time
  std::vector<memory_log*> logs_;
};

std::unique_ptr<log> make_memory_log(memory_database& db, const memory_link* link = nullptr);

}  // namespace kedge::datastore
