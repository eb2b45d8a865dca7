#include "datastore/redis/redis_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <span>

#include "base/assert.h"
#include "base/log.h"
#include "base/random.h"
#include "base/strings.h"
#include "datastore/guards.h"
#include "datastore/limits.h"
#include "datastore/redis/connection.h"
#include "datastore/redis/scripts.h"
#include "datastore/redis/server_check.h"

namespace kedge::datastore {

using namespace redis;

namespace {

struct row {
  std::string nonce;
  entry what;
};

revision read_id(value v) {
  auto id = v[0].text();
  auto at = parse_uint(id.substr(0, id.find('-')));
  return at ? *at : 0;
}

row read_row(value v) {
  row out;
  auto fields = v[1];
  out.what.at = read_id(v);
  out.nonce = fields[1].text();
  auto kind = fields[3].text();
  out.what.kind = kind == "d" ? change::remove : kind == "c" ? change::create : change::update;
  out.what.name = fields[5].text();
  auto number = [&](std::size_t i) { return static_cast<revision>(std::max<std::int64_t>(0, fields[i].number())); };
  out.what.previous = number(7);
  out.what.created = number(9);
  out.what.lease_seconds = static_cast<std::uint32_t>(number(11));
  out.what.value = fields[13].text();
  return out;
}

class redis_log final : public log {
 public:
  explicit redis_log(redis_options o) : options_(std::move(o)) {
    auto& s = options_.connection;
    description_ = fmt::format("Redis {}:{}/{}", s.host, s.port, s.database);
    auto key = [&](std::string_view name) { return fmt::format("{{{}}}:{}", s.prefix, name); };
    id_ = random_id();
    meta_ = key("meta");
    log_ = key("log");
    heads_ = key("heads");
    server_ = key("server:" + id_);
    channel_ = key(fmt::format("news:{}", s.database));
  }

  // ---- starting

  task<result<void>> open() override {
    auto& loop = reactor::loop::current();
    auto until = loop.now() + options_.start_wait;
    auto pause = duration(retry_min);
    for (bool told = false;;) {
      auto c = co_await connect();
      if (c) {
        KEDGE_CO_TRY(auto schema, describe(co_await (*c)->run(command::of("HGET", meta_, "schema"))));
        auto text = (*schema).text();
        if (!text.empty() && text != "1")
          co_return fail(errc::unsupported,
                         fmt::format("{}: the data under {} was written by a later kedge (schema {})", description_,
                                     meta_, quote(text)));
        looker_ = std::move(*c);
        co_return result<void>();
      }
      if (c.error().code != errc::unavailable || loop.now() + pause > until)
        co_return fail(std::move(c).error().with(description_ + ": "));
      if (!std::exchange(told, true)) kedge::log::warning("{}: {}; waiting for it", description_, c.error().message);
      co_await reactor::sleep_for(pause);
      pause = std::min<duration>(pause * 2, retry_max);
    }
  }

  task<result<page>> load(revision after) override {
    if (after == 0) {
      loaded_.clear();
      KEDGE_CO_CHECK(co_await read_everything());
    } else if (loaded_.empty() || after != loaded_at_) {
      loaded_.clear();
      if (!began_) {
        // Between open() and begin(): what others wrote since the first load.
        KEDGE_CO_TRY(auto p, describe(co_await read_from(*looker_, after)));
        co_return p;
      }
      KEDGE_CO_CHECK(co_await link_up());
      co_return describe(co_await read_from(*w_, after));
    }
    page out;
    out.compacted = loaded_compacted_;
    out.at = after;
    std::size_t bytes = 0;
    while (!loaded_.empty() && out.entries.size() < page_entries_max && bytes < page_bytes_max) {
      auto& r = loaded_.front();
      bytes += r.what.name.size() + r.what.value.size();
      out.at = r.what.at;
      know(r.what.at, r.nonce);
      out.entries.push_back(std::move(r.what));
      loaded_.pop_front();
    }
    out.done = loaded_.empty();
    loaded_at_ = out.at;
    co_return out;
  }

  // Page by page: what another server replaces meanwhile comes later, and its removals too, as long as they aren't compacted.
  task<result<page>> load_live(revision after) override {
    auto* link = looker_.get();
    auto entries = link->send(command::of("XRANGE", log_, fmt::format("{}-0", after + 1), "+", "COUNT", std::uint64_t(page_rows)));
    KEDGE_CO_TRY(auto meta, describe(co_await link->run(command::of("HMGET", meta_, "rev", "compacted"))));
    if (!*entries->value) co_return describe(result<page>(fail(std::move(*entries->value).error())));
    auto& list = **entries->value;
    page out;
    out.at = after;
    out.compacted = static_cast<revision>(meta[1].number());
    if (after == 0) live_from_ = static_cast<revision>(meta[0].number());
    if (out.compacted > live_from_) co_return fail(errc::expired, description_ + ": it was compacted while it was read");
    out.done = list.size() < page_rows;
    if (list.size() == 0) co_return out;
    std::vector<row> rows;
    command ask_heads("HMGET");
    ask_heads.add(heads_);
    for (std::size_t i = 0; i < list.size(); ++i) ask_heads.add(rows.emplace_back(read_row(list[i])).what.name);
    KEDGE_CO_TRY(auto heads, describe(co_await link->run(std::move(ask_heads))));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto& r = rows[i];
      out.at = r.what.at;
      know(out.at, r.nonce);
      auto head = heads[i].text();
      auto newest = parse_uint(head.substr(0, head.find(':')));
      if (r.what.kind == change::remove || (newest && *newest == r.what.at)) out.entries.push_back(std::move(r.what));
    }
    co_return out;
  }

  task<result<void>> begin() override {
    KEDGE_CO_CHECK(
        describe(co_await looker_->run(command::of("EVAL", script::begin, "3", meta_, log_, heads_, next_nonce()))));
    looker_ = nullptr;
    KEDGE_CO_TRY(w_, describe(co_await make_writer()));
    began_ = true;
    services_.spawn(keep_writer());
    services_.spawn(keep_subscription());
    services_.spawn(bound_memory());
    co_return result<void>();
  }

  // ---- writing

  task<result<appended>> append(batch ops) override {
    auto give_up = reactor::loop::current().now() + append_retry;
    for (;;) {
      if (forked_) co_return fail(*forked_);
      KEDGE_CO_CHECK(co_await link_up());
      auto* link = w_.get();
      auto turn = ++appends_;
      // All calls of the batch in one write, in order.
      std::vector<part> parts;
      for (std::size_t first = 0; first < ops->size();) parts.push_back(send_part(*link, *ops, first));
      request_ref wait;
      if (options_.connection.replicas > 0)
        wait = link->send(command::of("WAIT", std::uint64_t(options_.connection.replicas),
                                      std::uint64_t(options_.connection.replica_timeout.count())));
      auto deadline = reactor::loop::current().now() + answer_timeout;
      if (wait) deadline += options_.connection.replica_timeout;
      ++appending_;
      for (auto& p : parts) co_await p.request->done.wait_until(deadline);
      bool answered = !wait || co_await wait->done.wait_until(deadline);
      --appending_;
      for (auto& p : parts) answered = answered && p.request->value;
      if (!answered) {
        link->abandon({errc::timeout, "the server does not answer"});
        co_return fail(errc::unknown_outcome, description_ + ": the server did not answer a write");
      }
      auto refused = std::find_if(parts.begin(), parts.end(), [](auto& p) { return !*p.request->value; });
      if (refused != parts.end()) {
        auto& r = *refused->request;
        auto why = r.value->error();
        if (r.state == "KEDGEFORK") co_return fail(fork(why.message.substr(r.state.size() + 1)));
        // Any of them may have landed if one has, or if the link was lost.
        bool none = std::none_of(parts.begin(), parts.end(), [](auto& p) {
          return *p.request->value || p.request->value->error().code == errc::closed;
        });
        if (!none) co_return fail(errc::unknown_outcome, fmt::format("{}: {}", description_, why.message));
        bool again = r.state == "NOSCRIPT" || r.state == "KEDGEFENCED" || r.state == "READONLY";
        if (again && w_.get() == link) link->abandon({errc::closed, why.message});
        if (r.state != "BUSY" && (!again || r.state == "READONLY"))
          co_return fail(std::move(why).with(description_ + ": "));
        if (reactor::loop::current().now() >= give_up)
          co_return fail(errc::unavailable, fmt::format("{}: {}", description_, why.message));
        co_await reactor::sleep_for(retry_min);
        // The batch that was sent after this one may have landed, and this one's answer has to come first.
        if (turn != appends_) co_return fail(errc::unavailable, fmt::format("{}: {}", description_, why.message));
        continue;
      }
      // The primary went before it told whether a replica has it: who takes over may have it or not, and the log is read again.
      if (wait && !*wait->value && wait->value->error().code == errc::closed)
        co_return fail(errc::unknown_outcome, fmt::format("{}: {}", description_, wait->value->error().message));
      auto done = co_await settle(ops, parts);
      if (done && wait) check_replicas(*wait, *done);
      co_return done;
    }
  }

  // ---- reading

  task<result<page>> tail(revision after, time_point deadline) override {
    auto& loop = reactor::loop::current();
    for (;;) {
      if (forked_) co_return fail(*forked_);
      auto now = loop.now();
      if (w_ && w_->usable() && (hint_ > after || now >= read_at_ + poll())) {
        read_at_ = now;
        auto p = co_await read_from(*w_, after);
        if (p && p->at > after) co_return p;
        if (p) hint_ = std::min(hint_, after);
        if (!p && p.error().code != errc::closed && p.error().code != errc::unavailable &&
            p.error().code != errc::timeout)
          co_return fail(std::move(p).error().with(description_ + ": "));
        if (!p) co_await reactor::sleep_for(retry_min);
        if (!p || hint_ > after) continue;
      }
      if (loop.now() >= deadline) break;
      bool up = w_ && w_->usable();
      co_await news_.wait_until(up ? std::min(deadline, read_at_ + poll()) : deadline);
    }
    page none;
    none.at = after;
    co_return none;
  }

  task<result<past_page>> past(past_question q) override {
    KEDGE_CO_CHECK(co_await link_up());
    auto* link = w_.get();
    auto upto = std::min(q.upto, q.after + past_step_revisions);
    auto range = link->send(command::of("XRANGE", log_, fmt::format("{}-0", q.after + 1), fmt::format("{}-0", upto), "COUNT", std::uint64_t(past_rows_)));
    KEDGE_CO_CHECK(describe(co_await ask(*link, command::of("PING"))));
    if (!*range->value) co_return describe(result<past_page>(fail(std::move(*range->value).error())));
    auto& list = **range->value;
    past_page out;
    out.at = list.size() < past_rows_ ? upto : read_id(list[list.size() - 1]);
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < list.size(); ++i) bytes += list[i][1][13].text().size();
    // Entries can't be asked for by their bytes: the next step takes more or fewer of them.
    past_rows_ = bytes > page_bytes_max / 2 ? std::max<std::size_t>(past_rows_ / 2, 1) : bytes < page_bytes_max / 4 ? std::min<std::size_t>(past_rows_ * 2, page_rows) : past_rows_;
    std::vector<request_ref> before;  // one for each change; null: it replaced nothing
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto r = read_row(list[i]);
      if (!r.what.name.starts_with(q.prefix) || r.what.previous > q.replaced_max) continue;
      auto id = fmt::format("{}-0", r.what.previous);
      before.push_back(r.what.previous ? link->send(command::of("XRANGE", log_, id, id)) : nullptr);
      if (q.replaced_max != UINT64_MAX) r.what.value.clear();
      out.changes.push_back({std::move(r.what), std::nullopt});
    }
    // Asked after all of them: a compaction that took some is seen.
    KEDGE_CO_TRY(auto meta, describe(co_await ask(*link, command::of("HGET", meta_, "compacted"))));
    if (auto compacted = static_cast<revision>((*meta).number()); q.after < compacted)
      co_return fail(errc::expired, fmt::format("revision {} is compacted: the history begins at {}", q.after, compacted));
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (!before[i]) continue;
      if (!*before[i]->value) co_return describe(result<past_page>(fail(std::move(*before[i]->value).error())));
      auto& found = **before[i]->value;
      if (found.size() == 0) continue;
      auto r = read_row(found[0]);
      if (r.what.kind != change::remove) out.changes[i].replaced = std::move(r.what.value);
    }
    co_return out;
  }

  task<result<revision>> current() override {
    if (forked_) co_return fail(*forked_);
    KEDGE_CO_CHECK(co_await link_up());
    auto* link = w_.get();
    auto seen = known_.at;
    // A primary that was made a replica goes on answering what it has.
    auto role = link->send(command::of("ROLE"));
    KEDGE_CO_TRY(auto r, describe(co_await ask(*link, command::of("HGET", meta_, "rev"))));
    if (role->value && *role->value && (**role->value)[0].text() != "master") {
      if (w_.get() == link) link->abandon({errc::closed, "the server has become a replica"});
      co_return fail(errc::unavailable, description_ + ": the server has become a replica");
    }
    auto newest = static_cast<revision>((*r).number());
    if (newest < seen) co_return fail(fork(fmt::format("its newest revision is {}, this server has {}", newest, seen)));
    // The reader waits until this is in memory: no need to wait for the news.
    if (newest > known_.at && appending_ == 0 && newest > hint_) {
      hint_ = newest;
      news_.pulse();
    }
    co_return newest;
  }

  task<result<std::string>> lineage(revision at) override {
    KEDGE_CO_CHECK(co_await link_up());
    auto id = fmt::format("{}-0", at);
    KEDGE_CO_TRY(auto r, describe(co_await ask(*w_, command::of("XRANGE", log_, id, id))));
    if (r.size() == 0) co_return fail(errc::not_found, fmt::format("revision {} is not kept any more", at));
    auto found = read_row(r[0]);
    co_return fmt::format("{}|{}|{}", found.what.name, found.what.previous, found.nonce);
  }

  task<result<void>> compact(revision to) override { return compact_but(to, compaction_kept); }

  task<result<void>> compact_but(revision to, std::uint64_t kept) {
    for (;;) {
      KEDGE_CO_CHECK(co_await link_up());
      KEDGE_CO_TRY(auto r, describe(co_await ask(*w_, command::of("EVALSHA", compact_sha_, "2", meta_, log_, to,
                                                                  std::uint64_t(compaction_step), kept))));
      if (r[1].number() == 0) co_return result<void>();
      co_await reactor::sleep_for(std::chrono::milliseconds(1));  // appends go first
    }
  }

  task<void> close() override {
    services_.cancel();
    looker_ = nullptr;
    s_ = nullptr;
    w_ = nullptr;
    co_return;
  }

  bool shared() const noexcept override { return true; }
  result<void> healthy() const override {
    if (forked_) return fail(*forked_);
    if (!w_ || !w_->usable()) return fail(errc::unavailable, fmt::format("{}: {}", description_, away_));
    return {};
  }
  std::string description() const override { return description_; }

 private:
  using connection_ref = std::unique_ptr<connection>;

  // One call of a batch.
  struct part {
    std::size_t first, count;
    std::string nonce;
    request_ref request;
  };

  static std::string random_id() { return fmt::format("{:016x}", system_random().next()); }
  std::string next_nonce() { return fmt::format("{}.{}", id_, ++nonces_); }

  template <typename T>
  result<T> describe(result<T> r) const {
    if (r) return r;
    auto e = std::move(r).error();
    if (e.code == errc::closed) e.code = errc::unavailable;
    return fail(std::move(e).with(description_ + ": "));
  }

  // ---- connections

  // A connection to the primary, its settings looked at when it is another server than before.
  task<result<connection_ref>> connect() {
    KEDGE_CO_TRY(auto c,
                 co_await connection::open(options_.connection, reactor::loop::current().now() + connect_timeout));
    KEDGE_CO_TRY(auto found, co_await check_server(*c));
    if (found.run_id != run_id_ || found.durability != durability_) {
      kedge::log::info("{}: Redis {}, {}", description_, found.version, found.durability);
      if (!found.warning.empty()) kedge::log::warning("{}: {}", description_, found.warning);
      run_id_ = found.run_id;
      durability_ = found.durability;
    }
    co_return c;
  }

  task<result<connection_ref>> make_writer() {
    if (forked_) co_return fail(*forked_);
    KEDGE_CO_TRY(auto c, co_await connect());
    auto seen = known_;
    auto entered = c->send(command::of("EVAL", script::enter, "3", meta_, log_, server_, seen.at, seen.nonce,
                                       std::uint64_t(fence_kept_s)));
    co_await entered->done.wait();
    auto& r = *entered->value;
    if (!r && entered->state == "KEDGEFORK") co_return fail(fork(r.error().message.substr(entered->state.size() + 1)));
    if (!r) co_return fail(std::move(r).error());
    auto fence = (*r)[0].number();
    KEDGE_CO_TRY(auto a, co_await c->run(command::of("SCRIPT", "LOAD", script::append)));
    KEDGE_CO_TRY(auto b, co_await c->run(command::of("SCRIPT", "LOAD", script::compact)));
    append_sha_ = (*a).text();
    compact_sha_ = (*b).text();
    fence_ = fmt::format("{}", fence);
    co_return c;
  }

  task<void> keep_writer() {
    auto pause = duration(retry_min);
    for (bool told = false;;) {
      if (w_) {
        co_await w_->lost().wait();
        away_ = w_->why().message;
        kedge::log::warning("{}: lost the connection: {}", description_, away_);
        w_ = nullptr;
        told = true;
      }
      auto made = co_await reactor::with_deadline(make_writer(), reactor::loop::current().now() + answer_timeout);
      if (made) {
        w_ = std::move(*made);
        pause = retry_min;
        if (std::exchange(told, false)) kedge::log::info("{}: the connection is back", description_);
        read_at_ = {};
        up_.pulse();
        news_.pulse();
        continue;
      }
      if (away_ != made.error().message) {
        away_ = made.error().message;
        kedge::log::warning("{}: no connection: {}", description_, away_);
      }
      co_await reactor::sleep_for(pause +
                                  pause * static_cast<int>(reactor::loop::current().random().next() % 256) / 512);
      pause = std::min<duration>(pause * 2, retry_max);
    }
  }

  // The word that something is new. Without it (away, or forbidden to this user) the log is polled.
  task<void> keep_subscription() {
    auto pause = duration(retry_min);
    for (bool told = false;;) {
      auto made = co_await connection::open(options_.connection, reactor::loop::current().now() + connect_timeout);
      if (made) {
        s_ = std::move(*made);
        auto* link = s_.get();
        link->on_message = [this](std::string_view payload) { hear(payload); };
        auto subscribed = co_await ask(*link, command::of("SUBSCRIBE", channel_));
        if (subscribed) {
          pause = retry_min;
          told = false;
          subscribed_ = true;
          // What was written before the subscription is not told.
          read_at_ = {};
          news_.pulse();
          while (link->usable()) {
            if (co_await link->lost().wait_until(reactor::loop::current().now() + ping_interval)) break;
            auto alive = link->send(command::of("PING"));
            if (!co_await alive->done.wait_until(reactor::loop::current().now() + 3 * duration(ping_interval)))
              link->abandon({errc::timeout, "the server does not answer"});
          }
          subscribed_ = false;
        } else if (!std::exchange(told, true)) {
          kedge::log::warning("{}: no news from other servers, they are looked for every {} ms: {}", description_,
                              poll_without_news.count(), subscribed.error().message);
        }
        s_ = nullptr;
        news_.pulse();
      }
      co_await reactor::sleep_for(pause);
      pause = std::min<duration>(pause * 2, std::chrono::seconds(2));
    }
  }

  void hear(std::string_view payload) {
    auto blank = payload.find(' ');
    // Our own entries come with the answer of the append.
    if (blank != std::string_view::npos && payload.substr(blank + 1) == id_) return;
    auto at = parse_uint(payload.substr(0, blank));
    hint_ = std::max(hint_, at ? *at : known_.at + 1);
    news_.pulse();
  }

  duration poll() const { return subscribed_ ? duration(poll_with_news) : duration(poll_without_news); }

  // Waits a little for a connection that is being made again.
  task<result<void>> link_up() {
    auto until = reactor::loop::current().now() + reconnect_patience;
    while (!w_ || !w_->usable()) {
      if (forked_) co_return fail(*forked_);
      if (!co_await up_.wait_until(until))
        co_return fail(errc::unavailable, fmt::format("{}: {}", description_, away_));
    }
    co_return result<void>();
  }

  // A request without an answer proves that its connection still is there: one that goes answers them all.
  static task<result<reply>> ask(connection& link, command c) {
    auto* which = &link;
    auto r = link.send(c);
    if (!co_await r->done.wait_until(reactor::loop::current().now() + answer_timeout) && !r->value) {
      which->abandon({errc::timeout, "the server does not answer"});
      co_return fail(errc::closed, "the server does not answer");
    }
    co_return std::move(*r->value);
  }

  // All of the log is in the server's memory, so a burst of writes can't wait for the owner's next compaction.
  task<void> bound_memory() {
    for (;;) {
      while (written_ < options_.history_bytes) co_await much_written_.wait();
      // Large values: what is kept of the newest must not be the memory that this is about.
      auto kept = std::min<std::uint64_t>(compaction_kept, options_.history_bytes / 2 * ops_written_ / written_);
      written_ = ops_written_ = 0;
      if (auto done = co_await compact_but(known_.at, kept); !done)
        kedge::log::warning("{}: compaction: {}", description_, done.error().message);
    }
  }
  void count_written(std::size_t ops, std::size_t bytes) {
    ops_written_ += ops;
    written_ += bytes;
    if (written_ >= options_.history_bytes) much_written_.pulse();
  }

  // ---- history

  error fork(std::string_view why) {
    if (!forked_) {
      forked_ = error(errc::corrupt,
                      fmt::format("{}: Redis has lost or changed what this server has read from it ({}). It was "
                                  "restarted without its last writes ({}), restored, or a replica took over that had "
                                  "not received everything. Stop all servers, make sure that this is the data to go on "
                                  "with, and start them again",
                                  description_, why, durability_));
      kedge::log::error("{}", forked_->message);
      news_.pulse();
      up_.pulse();
    }
    return *forked_;
  }

  void know(revision at, const std::string& nonce) {
    if (at <= known_.at) return;
    known_ = {at, nonce};
  }

  // ---- pages

  // Entries above `after`; errc::expired when some are gone.
  task<result<page>> read_from(connection& link, revision after) {
    auto* which = &link;
    auto entries = which->send(
        command::of("XRANGE", log_, fmt::format("{}-0", after + 1), "+", "COUNT", std::uint64_t(page_rows)));
    // Asked after the entries: a compaction that took some of them is seen.
    auto meta = co_await ask(*which, command::of("HMGET", meta_, "rev", "compacted"));
    if (!meta) co_return fail(std::move(meta).error());
    if (!entries->value) co_return fail(errc::closed, "the server does not answer");
    if (!*entries->value) co_return fail(std::move(*entries->value).error());
    auto& list = **entries->value;
    auto newest = static_cast<revision>((*meta)[0].number());
    page out;
    out.compacted = static_cast<revision>((*meta)[1].number());
    out.at = after;
    if (newest < after)
      co_return fail(fork(fmt::format("its newest revision is {}, this server has {}", newest, after)));
    if (after < out.compacted)
      co_return fail(errc::expired,
                     fmt::format("revision {} is compacted: the history begins at {}", after, out.compacted));
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto r = read_row(list[i]);
      if (r.what.at != out.at + 1)
        co_return fail(errc::corrupt, fmt::format("{}: revision {} follows {}", description_, r.what.at, out.at));
      out.at = r.what.at;
      know(out.at, r.nonce);
      out.entries.push_back(std::move(r.what));
    }
    out.done = list.size() < page_rows;
    co_return out;
  }

  // Everything, at once: between two pages a compaction may take a removal whose object the first page had. Then again.
  task<result<void>> read_everything() {
    KEDGE_CO_TRY(auto c, describe(co_await connect()));
    for (;;) {
      KEDGE_CO_TRY(auto before, describe(co_await c->run(command::of("HGET", meta_, "compacted"))));
      loaded_compacted_ = static_cast<revision>((*before).number());
      loaded_.clear();
      bool whole = true;
      for (revision after = 0; whole;) {
        auto r = co_await c->run(
            command::of("XRANGE", log_, fmt::format("{}-0", after + 1), "+", "COUNT", std::uint64_t(page_rows)));
        if (!r) co_return describe(result<void>(fail(std::move(r).error())));
        for (std::size_t i = 0; i < r->size(); ++i) loaded_.push_back(read_row((*r)[i]));
        if (!loaded_.empty()) after = loaded_.back().what.at;
        KEDGE_CO_TRY(auto now, describe(co_await c->run(command::of("HGET", meta_, "compacted"))));
        whole = static_cast<revision>((*now).number()) == loaded_compacted_;
        if (r->size() < page_rows) break;
      }
      if (whole) co_return result<void>();
    }
  }

  // ---- what an append has done

  part send_part(connection& link, const std::vector<operation>& ops, std::size_t& first) {
    part out{first, 0, next_nonce(), nullptr};
    std::size_t bytes = 0, last = first;
    for (; last < ops.size() && last - first < call_ops_max && (last == first || bytes < call_bytes_max); ++last)
      bytes += ops[last].name.size() + ops[last].value.size();
    out.count = last - first;
    command c("EVALSHA");
    c.reserve(bytes + out.count * 80 + 400);
    c.add(append_sha_).add("4").add(meta_).add(log_).add(heads_).add(server_);
    c.add(fence_).add(known_.at).add(known_.nonce).add(out.nonce).add(channel_).add(" " + id_).add(std::uint64_t(out.count));
    for (auto i = first; i < last; ++i) c.add(ops[i].name);
    for (; first < last; ++first) {
      auto& op = ops[first];
      c.add(op.kind == change::create ? "c" : op.kind == change::update ? "u" : "d").add(op.expected);
      c.add(op.kind == change::remove ? std::uint64_t(0) : std::uint64_t(op.lease_seconds));
      c.add(op.kind == change::remove ? std::string_view() : std::string_view(op.value));
    }
    add_guards(c, std::span(ops).subspan(out.first, out.count));
    out.request = link.send(c);
    count_written(out.count, bytes);
    return out;
  }

  static void add_guards(command& c, std::span<const operation> ops) {
    auto [names, expected, of] = number_guards(ops);
    if (names.empty()) return;
    c.add(std::uint64_t(names.size()));
    for (std::size_t i = 0; i < names.size(); ++i) c.add(names[i]).add(expected[i]);
    for (auto& [op, guards] : of) {
      c.add(std::uint64_t(op + 1)).add(std::uint64_t(guards.size()));
      for (auto g : guards) c.add(std::uint64_t(g + 1));
    }
  }

  static entry own_entry(const operation& op, revision at) {
    return {at,
            op.kind,
            op.name,
            op.kind == change::remove ? std::string() : op.value,
            op.expected,
            op.kind == change::create   ? at
            : op.kind == change::update ? op.created
                                        : 0,
            op.kind == change::remove ? 0 : op.lease_seconds};
  }

  task<result<appended>> settle(batch ops, const std::vector<part>& parts) {
    auto answer = [](const part& p) { return ***p.request->value; };
    appended out;
    auto told = static_cast<revision>(answer(parts.front())[0][0].number());
    // In one piece: others' entries and then ours, or (with several calls) pieces of both that follow each other.
    bool whole = true, apart = false;
    revision reached = told, newest = 0;
    for (auto& p : parts) {
      auto r = answer(p);
      whole = whole && r[0][0].number() >= r[0][1].number();  // told, compacted
      for (std::size_t i = 0; i < r[1].size(); ++i) whole = whole && read_id(r[1][i]) == ++reached;
      apart = apart || (&p != &parts.front() && r[1].size() > 0);
      for (std::size_t i = 0; i < p.count; ++i) {
        if (r[2][i].is_nil()) {
          out.outcomes.push_back({outcome::status::guard_failed, 0});
          continue;
        }
        auto n = r[2][i].number();
        bool committed = n > 0;
        out.outcomes.push_back({committed ? outcome::status::committed : outcome::status::conflict,
                                static_cast<revision>(committed ? n : -n)});
        if (!committed) continue;
        newest = static_cast<revision>(n);
        whole = whole && newest == ++reached;
      }
    }
    if (whole) {
      for (auto& p : parts) {
        auto r = answer(p);
        for (std::size_t i = 0; i < r[1].size(); ++i) {
          auto other = read_row(r[1][i]);
          know(other.what.at, other.nonce);
          out.others.push_back(std::move(other.what));
        }
        for (auto i = p.first; i < p.first + p.count; ++i) {
          if (out.outcomes[i].what != outcome::status::committed) continue;
          know(out.outcomes[i].at, p.nonce);
          if (apart) out.others.push_back(own_entry((*ops)[i], out.outcomes[i].at));
        }
      }
      co_return out;
    }
    // More of others lie before ours than one answer gives: everything comes from the log, in its order.
    for (auto after = told; after < newest;) {
      result<page> p = fail(errc::closed, away_);
      if (w_ && w_->usable()) p = co_await read_from(*w_, after);
      if (!p) {
        kedge::log::warning("{}: writes landed, but what came before them can't be read: {}", description_,
                            p.error().message);
        co_return fail(errc::unknown_outcome, fmt::format("{}: {}", description_, p.error().message));
      }
      after = p->at;
      std::move(p->entries.begin(), p->entries.end(), std::back_inserter(out.others));
    }
    co_return out;
  }

  void check_replicas(const request& wait, appended& done) {
    auto have = wait.value && *wait.value ? (***wait.value).number() : 0;
    if (have >= options_.connection.replicas) return;
    if (std::none_of(done.outcomes.begin(), done.outcomes.end(),
                     [](auto& o) { return o.what == outcome::status::committed; }))
      return;
    done.unsafe = error(errc::timeout,
                        fmt::format("{}: written, but only {} of {} replicas have it after {} ms", description_, have,
                                    options_.connection.replicas, options_.connection.replica_timeout.count()));
    kedge::log::error("{}", done.unsafe->message);
  }

  struct known {
    revision at = 0;
    std::string nonce;
  };

  redis_options options_;
  std::string description_, id_, meta_, log_, heads_, server_, channel_;
  std::string append_sha_, compact_sha_, fence_, run_id_, durability_ = "durability not known";
  std::string away_ = "not connected yet";
  std::uint64_t nonces_ = 0, appends_ = 0;
  bool began_ = false, subscribed_ = false;
  connection_ref looker_, w_, s_;
  std::deque<row> loaded_;  // of a load from 0, what was not given yet: bounded by the database, which is in memory too
  revision loaded_at_ = 0, loaded_compacted_ = 0;
  revision live_from_ = 0;  // of load_live: where the log was when it began
  std::size_t past_rows_ = past_rows_first;
  known known_;  // the newest entry that was given out
  std::optional<error> forked_;
  std::size_t appending_ = 0, written_ = 0, ops_written_ = 0;
  revision hint_ = 0;  // somebody said that there is an entry up to here
  time_point read_at_{};
  reactor::event news_, up_, much_written_;
  reactor::scope services_;  // last: ends first
};

}  // namespace

std::unique_ptr<log> make_redis_log(redis_options options) { return std::make_unique<redis_log>(std::move(options)); }

}  // namespace kedge::datastore
