// shared_log.h: what the logs over a database that several servers share have in common: they wait for the database,
// keep their links to it, follow what others write, know when it is away or silent, and find out when it has lost what
// was read from it.
//
//                      keep(): made again by itself, for ever
//                        │
//   link ── lost, silent ┴─▶ healthy(), link_up(): refused soon, instead of queueing behind what nobody answers
//     ▲
//     └── tail(): a word that something is new, and polling beside it, which also notices a database that vanished
//
// What the database itself says of an error goes to this server's log, once; callers are told what it means for them.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/log.h"
#include "datastore/limits.h"
#include "datastore/link.h"
#include "datastore/log.h"

namespace kedge::datastore {

class shared_log : public log {
 public:
  task<result<page>> tail(revision after, time_point deadline) final;
  result<void> healthy() const final;
  bool shared() const noexcept final { return true; }
  std::string description() const final { return description_; }

 protected:
  // How much a link is waited for (limits.h).
  struct patience {
    duration answer;   // without a byte for so long the database counts as away
    duration give_up;  // and for so long the link as lost
  };

  explicit shared_log(std::string description) : description_(std::move(description)) {}

  // ---- what a database adds

  // The entries after `after` that are known to be complete; errc::expired when they are gone.
  virtual task<result<page>> read_from(revision after) = 0;
  // Why nothing can be read, or written, now.
  virtual result<void> can_read() const = 0;
  virtual result<void> can_write() const = 0;
  // How often entries are looked for that nobody told of.
  virtual duration poll() const = 0;
  // What `tail` found; `told` says whether somebody had said so.
  virtual void found_news(bool told) { (void)told; }
  // What the message about a lost history says of its cause.
  virtual std::string cause_of_loss() const = 0;

  // ---- links

  template <typename L>
  result<void> answers(const L* l, const patience& p) const {
    if (forked_) return fail(*forked_);
    if (!l || !l->usable()) return fail(errc::unavailable, "the database can't be reached");
    if (l->silent() >= p.answer) return fail(errc::unavailable, "the database does not answer");
    return {};
  }
  // The same of a link that has another one beside it. Where nothing waits, or not for long yet, a link can't know that
  // it is dead: when the other one has fallen silent, and nothing was heard here since, nothing is sent here either.
  template <typename L>
  result<void> answers(const L* l, const patience& p, const L* beside, const patience& of_beside) const {
    KEDGE_CHECK(answers(l, p));
    if (beside && beside->silent() >= of_beside.answer && l->unheard() >= beside->silent())
      return fail(errc::unavailable, "the database does not answer");
    return {};
  }

  // Waits until the database can be connected to; gives up after `wait`, or at once for what time won't mend. `connect`
  // makes a link.
  template <typename L>
  task<result<std::unique_ptr<L>>> first_link(std::function<task<result<std::unique_ptr<L>>>()> connect, duration wait);

  // Makes the link in `slot` again whenever it is lost, also when it is silent for too long. `name` is for the log,
  // with a blank behind it, or empty. `lost` is told of each before it goes.
  template <typename L>
  task<void> keep(std::unique_ptr<L>& slot, const char* name, patience p,
                  std::function<task<result<std::unique_ptr<L>>>()> make, std::function<void(L&)> lost);

  // Waits a little for what is being made again; `ready` gives the reason as long as it isn't.
  task<result<void>> wait_for(std::function<result<void>()> ready) {
    return wait_for(std::move(ready), reactor::loop::current().now() + reconnect_patience);
  }

  // The turn of an append, until it is sent.
  class turn {
   public:
    explicit turn(reactor::semaphore& s) noexcept : of_(&s) {}
    turn(turn&& o) noexcept : of_(std::exchange(o.of_, nullptr)) {}
    ~turn() { sent(); }
    void sent() noexcept {
      if (auto* of = std::exchange(of_, nullptr)) of->release();
    }

   private:
    reactor::semaphore* of_;
  };
  // Waits like wait_for() until writes are possible, each append behind those that were called before: revisions grow
  // in the order of the calls, whoever is woken first.
  task<result<turn>> turn_to_send();

  // The answer, unless the link is lost or silent. Who asked need not wait longer than anybody else will; the request
  // stays.
  template <typename L>
  static task<result<typename L::answer>> await_answer(L& l, typename L::request_ref r, duration patience);

  // ---- news

  // Somebody said that there is an entry up to there.
  void hint(revision at) {
    hint_ = std::max(hint_, at);
    news_.pulse();
  }
  // The linearizable question was answered with `newest`. The reader waits until that is in memory: no need to wait for
  // a poll.
  void found_newest(revision newest) {
    if (newest > known_at() && appending_ == 0 && newest > hint_) hint(newest);
  }
  virtual revision known_at() const = 0;  // the newest entry that was given out

  // ---- history

  // The database has another history than this server: from here on nothing is served from it.
  error fork(std::string_view why);
  const std::optional<error>& forked() const noexcept { return forked_; }

  // ---- errors

  // Names the database in front, for errors of a start.
  template <typename T>
  result<T> describe(result<T> r) const {
    if (r) return r;
    auto e = std::move(r).error();
    if (e.code == errc::closed) e.code = errc::unavailable;
    return fail(std::move(e).with(description_ + ": "));
  }
  // Says it once, until all_well().
  void complain(std::string text);
  void all_well() noexcept { complaint_.clear(); }

  const std::string description_;
  std::size_t appending_ = 0;  // appends on their way
  reactor::event news_;

 private:
  void note_away(std::string_view what, const std::string& why);
  task<result<void>> wait_for(std::function<result<void>()> ready, time_point until);

  std::optional<error> forked_;
  std::string away_, complaint_;
  revision hint_ = 0;
  time_point read_at_{};
  reactor::event up_;
  reactor::semaphore sending_{1};
};

// ---- what follows is how

template <typename L>
task<result<std::unique_ptr<L>>> shared_log::first_link(std::function<task<result<std::unique_ptr<L>>>()> connect,
                                                        duration wait) {
  auto& loop = reactor::loop::current();
  auto until = loop.now() + wait;
  auto pause = duration(link_retry_min);
  for (bool told = false;;) {
    auto made = co_await connect();
    if (made || made.error().code != errc::unavailable || loop.now() + pause > until) co_return made;
    if (!std::exchange(told, true)) kedge::log::warning("{}: {}; waiting for it", description_, made.error().message);
    co_await reactor::sleep_for(pause);
    pause = std::min<duration>(pause * 2, link_retry_max);
  }
}

template <typename L>
task<void> shared_log::keep(std::unique_ptr<L>& slot, const char* name, patience p,
                            std::function<task<result<std::unique_ptr<L>>>()> make, std::function<void(L&)> lost) {
  auto& loop = reactor::loop::current();
  auto pause = duration(link_retry_min);
  for (bool told = false;;) {
    if (slot) {
      while (!co_await slot->lost().wait_until(loop.now() + link_watch_interval))
        if (slot->silent() >= p.give_up) slot->abandon({errc::timeout, "the server does not answer"});
      note_away(fmt::format("lost the {}connection", name), slot->why().message);
      lost(*slot);
      slot = nullptr;
      told = true;
    }
    auto made = forked_ ? result<std::unique_ptr<L>>(fail(*forked_))
                        : co_await reactor::with_deadline(make(), loop.now() + p.give_up);
    if (made) {
      slot = std::move(*made);
      pause = link_retry_min;
      if (std::exchange(told, false)) kedge::log::info("{}: the {}connection is back", description_, name);
      away_.clear();
      read_at_ = {};
      up_.pulse();
      news_.pulse();
      continue;
    }
    note_away(fmt::format("no {}connection", name), made.error().message);
    co_await reactor::sleep_for(pause + pause * static_cast<int>(loop.random().next() % 256) / 512);
    pause = std::min<duration>(pause * 2, link_retry_max);
  }
}

// A request without an answer proves that its link still is there: one that goes answers them all.
template <typename L>
task<result<typename L::answer>> shared_log::await_answer(L& l, typename L::request_ref r, duration patience) {
  while (!r->value) {
    auto left = patience - l.silent();
    if (left <= duration::zero()) co_return fail(errc::unavailable, "the database does not answer");
    co_await r->done.wait_until(reactor::loop::current().now() + left);
  }
  co_return std::move(*r->value);
}

}  // namespace kedge::datastore
