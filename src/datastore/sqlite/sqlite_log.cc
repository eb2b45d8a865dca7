#include "datastore/sqlite/sqlite_log.h"

#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/assert.h"
#include "base/log.h"
#include "datastore/limits.h"

namespace kedge::datastore {

namespace {

// An answer on its way from the writer thread to the loop that asked.
template <typename T>
struct answer {
  explicit answer(reactor::loop& l) : home(l) {}
  reactor::loop& home;
  std::optional<result<T>> value;
  reactor::event done;
};

template <typename T>
void give(std::shared_ptr<answer<T>> to, result<T> value) {
  auto& home = to->home;
  home.post([to = std::move(to), value = std::move(value)]() mutable {
    to->value.emplace(std::move(value));
    to->done.set();
  });
}

struct job {
  batch ops;  // an append, when set
  std::shared_ptr<answer<appended>> append_answer;
  std::move_only_function<void(sqlite_database&)> other;  // anything else
};

std::size_t bytes_of(const batch& b) {
  std::size_t n = 0;
  for (auto& op : *b) n += op.name.size() + op.value.size();
  return n;
}

class sqlite_log final : public log {
 public:
  explicit sqlite_log(sqlite_options options)
      : path_(options.path), thread_([this, o = std::move(options)]() mutable { write(std::move(o)); }) {}

  ~sqlite_log() override {
    {
      std::lock_guard guard(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  task<result<void>> open() override {
    return on_writer<void>([](sqlite_database& db) { return db.open(); });
  }
  task<result<page>> load(revision after) override {
    return on_writer<page>([after](sqlite_database& db) -> result<page> {
      if (!db.is_open()) KEDGE_CHECK(db.reopen());
      return db.load(after);
    });
  }
  task<result<page>> load_live(revision after) override {
    return on_writer<page>([after](sqlite_database& db) -> result<page> {
      if (!db.is_open()) KEDGE_CHECK(db.reopen());
      return db.load_live(after);
    });
  }
  task<result<past_page>> past(past_question q) override {
    return on_writer<past_page>([q = std::move(q)](sqlite_database& db) { return db.past(q); });
  }
  task<result<void>> begin() override {
    auto done = co_await on_writer<revision>([](sqlite_database& db) -> result<revision> {
      KEDGE_CHECK(db.begin());
      return db.newest();
    });
    if (!done) co_return fail(std::move(done).error());
    newest_ = *done;
    services_.spawn(tidy_up());
    co_return result<void>();
  }

  task<result<appended>> append(batch ops) override {
    auto a = std::make_shared<answer<appended>>(reactor::loop::current());
    if (!push({std::move(ops), a, {}})) co_return full();
    co_await a->done.wait();
    auto& value = *a->value;
    if (value) {
      failed_.reset();
      for (auto& o : value->outcomes) {
        if (o.what == outcome::status::committed) newest_ = o.at;
      }
    } else {
      failed_ = value.error();
    }
    co_return std::move(value);
  }

  task<result<page>> tail(revision after, time_point deadline) override {
    // Nobody else writes: there is only the deadline to wait for.
    co_await reactor::sleep_until(deadline);
    page none;
    none.at = after;
    co_return none;
  }
  task<result<revision>> current() override { co_return newest_; }

  task<result<void>> compact(revision to) override {
    auto done = co_await alone(sweep(to));
    tidy_.pulse();
    co_return done;
  }

  task<result<void>> give_back() override { return alone(give_back_down_to(0, 0)); }
  std::optional<space> occupied() const override { return occupied_; }

  task<void> close() override {
    services_.cancel();
    auto done = co_await on_writer<void>([](sqlite_database& db) { return db.close_cleanly(); });
    if (!done) kedge::log::warning("closing {}: {}", path_, done.error().message);
  }

  bool shared() const noexcept override { return false; }
  result<void> healthy() const override {
    if (failed_) return fail(*failed_);
    return {};
  }
  std::string description() const override { return "SQLite " + path_; }

 private:
  // One at a time of what goes on beside the appends: a file that is being rewritten must not be compacted.
  task<result<void>> alone(task<result<void>> work) {
    co_await maintaining_.acquire();
    struct turn {
      reactor::semaphore& of;
      ~turn() { of.release(); }
    } mine{maintaining_};
    co_return co_await std::move(work);
  }

  task<result<void>> sweep(revision to) {
    // What an earlier owner of the file left behind lies anywhere, so the first time goes from the beginning.
    while (swept_ < to) {
      auto before = reactor::loop::current().now();
      auto reached =
          co_await on_writer<revision>([from = swept_, to](sqlite_database& db) { return db.compact_step(from, to); });
      if (!reached) co_return fail(std::move(reached).error());
      swept_ = *reached;
      // As long a pause as the step took, so that writers keep half of the thread.
      co_await reactor::sleep_for(reactor::loop::current().now() - before);
    }
    co_return result<void>();
  }

  task<result<void>> pass_over(revision seen) override {
    auto done = co_await on_writer<revision>([seen](sqlite_database& db) -> result<revision> {
      KEDGE_CHECK(db.pass_over(seen));
      return db.newest();
    });
    if (!done) co_return fail(std::move(done).error());
    newest_ = *done;
    co_return result<void>();
  }

  // Space that compaction has freed goes back to the file system, when it is worth it.
  task<void> tidy_up() {
    for (std::string told;;) {
      auto done = co_await alone(give_back_down_to(free_bytes_kept, free_part_kept));
      auto why = done ? std::string() : done.error().message;
      if (!done && why != told) kedge::log::warning("giving free space of {} back: {}", path_, why);
      told = std::move(why);
      co_await tidy_.wait();
    }
  }

  // Until no more than `bytes` are free, or no more than that part of the file (0: nothing).
  task<result<void>> give_back_down_to(std::uint64_t bytes, std::uint64_t part) {
    std::optional<space> began;
    for (;;) {
      KEDGE_CO_TRY(occupied_, co_await on_writer<space>([](sqlite_database& db) { return db.occupied(); }));
      auto now = *occupied_;
      if (!began) began = now;
      if (now.free > bytes && (!part || now.free > now.bytes / part)) {
        KEDGE_CO_TRY(auto went_on, co_await give_back_step(now, part == 0));
        if (went_on) continue;
      }
      if (now.bytes < began->bytes) {
        // Its end goes with the WAL.
        co_await on_writer<void>([](sqlite_database& db) -> result<void> {
          db.checkpoint_beyond(0);
          return {};
        });
        kedge::log::info("{}: {} MB of free space were given back, {} MB are left of the file", path_,
                         (began->bytes - now.bytes) >> 20, now.bytes >> 20);
      }
      co_return result<void>();
    }
  }

  // False: that was all that can be done.
  task<result<bool>> give_back_step(space now, bool all) {
    auto before = reactor::loop::current().now();
    auto done = co_await on_writer<bool>([all, now](sqlite_database& db) -> result<bool> {
      if (db.gives_back()) {
        KEDGE_TRY(auto pages, db.give_back());
        return pages > 0;
      }
      if (!all && (now.free < rewrite_free_bytes_min || now.free < now.bytes / rewrite_free_part)) return false;
      auto step = db.rewrite();
      if (!step && step.error().code == errc::unsupported) return false;
      KEDGE_CHECK(std::move(step));
      return true;
    });
    // As long a pause as the step took, so that writers keep half of the thread.
    co_await reactor::sleep_for(reactor::loop::current().now() - before);
    co_return done;
  }

  static std::unexpected<error> full() {
    return fail(errc::exhausted, "too much waits for the database's writer already");
  }

  bool push(job j) {
    {
      std::lock_guard guard(mutex_);
      if (jobs_.size() >= writer_jobs_max) return false;
      jobs_.push_back(std::move(j));
    }
    changed_.notify_one();
    return true;
  }

  template <typename T, typename F>
  task<result<T>> on_writer(F f) {
    auto a = std::make_shared<answer<T>>(reactor::loop::current());
    if (!push({nullptr, nullptr, [a, f = std::move(f)](sqlite_database& db) mutable { give<T>(a, f(db)); }}))
      co_return full();
    co_await a->done.wait();
    co_return std::move(*a->value);
  }

  // The writer thread.
  void write(sqlite_options options) {
    sqlite_database db(std::move(options));
    std::vector<job> group;
    std::vector<batch> batches;
    for (;;) {
      bool idle;
      {
        std::unique_lock lock(mutex_);
        if (jobs_.empty() && !stopping_) {
          lock.unlock();
          db.checkpoint_beyond(wal_idle_checkpoint_bytes);
          lock.lock();
        }
        auto anything = [this] { return !jobs_.empty() || stopping_; };
        if (!changed_.wait_for(lock, sqlite_cache_kept, anything)) {
          db.release_cache();
          changed_.wait(lock, anything);
        }
        if (stopping_) return;
        std::size_t ops = 0, bytes = 0;
        do {
          auto& first = jobs_.front();
          if (!first.ops && !group.empty()) break;
          bool append = first.ops != nullptr;
          if (append) {
            ops += first.ops->size();
            bytes += bytes_of(first.ops);
            if (!group.empty() && (ops > batch_ops_max || bytes > batch_bytes_max)) break;
          }
          group.push_back(std::move(first));
          jobs_.pop_front();
          if (!append) break;
        } while (!jobs_.empty());
        idle = jobs_.empty();
      }
      if (group.front().other) {
        group.front().other(db);
      } else {
        for (auto& j : group) batches.push_back(j.ops);
        auto written = db.append(batches);
        for (std::size_t i = 0; i < group.size(); ++i) {
          if (written)
            give<appended>(std::move(group[i].append_answer), std::move((*written)[i]));
          else
            give<appended>(std::move(group[i].append_answer), fail(written.error()));
        }
        batches.clear();
      }
      group.clear();
      if (!idle) db.checkpoint_beyond(wal_forced_checkpoint_bytes);
    }
  }

  const std::string path_;
  // The loop's side.
  revision newest_ = 0, swept_ = 0;
  std::optional<error> failed_;
  std::optional<space> occupied_;
  reactor::semaphore maintaining_{1};
  reactor::event tidy_;
  // Between the two.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<job> jobs_;
  bool stopping_ = false;
  reactor::scope services_;
  std::thread thread_;  // last: starts when everything else is there
};

}  // namespace

std::unique_ptr<log> make_sqlite_log(sqlite_options options) {
  return std::make_unique<sqlite_log>(std::move(options));
}

}  // namespace kedge::datastore
