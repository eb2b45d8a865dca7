#include "datastore/postgres/postgres_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/assert.h"
#include "base/log.h"
#include "base/strings.h"
#include "datastore/guards.h"
#include "datastore/limits.h"
#include "datastore/postgres/limits.h"
#include "datastore/postgres/schema.h"
#include "datastore/postgres/sql.h"

namespace kedge::datastore {

using namespace postgres;

namespace {

constexpr std::string_view compact_key = "compact_rev_key";
constexpr const char* fork_state = "KG001";

// A row of the table: an entry, unless it is the compaction's mark or something that nobody can have written.
struct row {
  std::int64_t id = 0;
  std::optional<entry> what;
};

// `at` is the first of the eight columns of KEDGE_ROW.
row read_row(const rows& r, int i, int at) {
  row out;
  out.id = r.number(i, at);
  auto name = r.bytes(i, at + 1);
  if (out.id <= 0 || name.empty() || name == compact_key) return out;
  auto number = [&](int column) { return static_cast<revision>(std::max<std::int64_t>(0, r.number(i, column))); };
  entry e;
  e.at = static_cast<revision>(out.id);
  e.name = name;
  e.kind = r.number(i, at + 3) != 0 ? change::remove : r.number(i, at + 2) != 0 ? change::create : change::update;
  e.previous = number(at + 5);
  e.created = e.kind == change::create ? e.at : number(at + 4);
  e.lease_seconds = e.kind == change::remove ? 0 : static_cast<std::uint32_t>(number(at + 6));
  e.value = r.bytes(i, at + 7);
  out.what = std::move(e);
  return out;
}

struct news {
  revision newest = 0, compacted = 0;
  std::vector<row> list;
};
// `live`: of news_live; what was replaced counts as a row and is no entry.
news read_news(const rows& r, bool live = false) {
  news out;
  for (int i = 0; i < r.size(); ++i) {
    out.newest = static_cast<revision>(r.number(i, 0));
    out.compacted = static_cast<revision>(r.number(i, 1));
    if (r.null(i, 2)) continue;
    out.list.push_back(read_row(r, i, 2));
    if (live && r.number(i, 10) != 0) out.list.back().what.reset();
  }
  return out;
}

std::vector<parameter> append_parameters(const std::vector<operation>& ops) {
  using of = array_parameter::of;
  std::size_t name_bytes = 0, value_bytes = 0;
  for (auto& op : ops) {
    name_bytes += op.name.size();
    value_bytes += op.value.size();
  }
  array_parameter names(of::text, ops.size(), name_bytes), kinds(of::int4, ops.size(), ops.size() * 4),
      expecteds(of::int8, ops.size(), ops.size() * 8), leases(of::int4, ops.size(), ops.size() * 4),
      values(of::bytea, ops.size(), value_bytes);
  for (auto& op : ops) {
    names.add(op.name);
    kinds.add_int4(op.kind == change::create ? 0 : op.kind == change::update ? 1 : 2);
    expecteds.add_int8(static_cast<std::int64_t>(op.expected));
    leases.add_int4(static_cast<std::int32_t>(op.kind == change::remove ? 0 : op.lease_seconds));
    if (op.kind == change::remove)
      values.add_null();
    else
      values.add(op.value);
  }
  auto g = number_guards(ops);
  array_parameter guard_names(of::text, g.names.size(), 0), guard_ids(of::int8, g.names.size(), g.names.size() * 8);
  for (auto name : g.names) guard_names.add(name);
  for (auto id : g.expected) guard_ids.add_int8(static_cast<std::int64_t>(id));
  std::size_t pairs = 0;
  for (auto& [op, guards] : g.of) pairs += guards.size();
  array_parameter guarded(of::int4, pairs, pairs * 4), guards(of::int4, pairs, pairs * 4);
  for (auto& [op, places] : g.of) {
    for (auto place : places) {
      guarded.add_int4(static_cast<std::int32_t>(op + 1));
      guards.add_int4(static_cast<std::int32_t>(place + 1));
    }
  }
  std::vector<parameter> out(3);  // set when it is sent
  for (auto* a : {&names, &kinds, &expecteds, &leases, &values, &guard_names, &guard_ids, &guarded, &guards})
    out.push_back(std::move(*a).done());
  return out;
}

// Names are Kubernetes keys; a byte that the database's encoding refuses would take the whole batch down.
bool storable(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c > 0; });
}

class postgres_log final : public log {
 public:
  explicit postgres_log(postgres_options o) : options_(std::move(o)) {
    auto text = [&](std::string_view key, std::string_view without) {
      auto* v = postgres::find(options_.connection, key);
      return v ? *v : std::string(without);
    };
    auto port = text("port", "5432");
    description_ = fmt::format("PostgreSQL {}:{}/{}", text("host", "localhost"), port, text("dbname", ""));
    auto preset = [&](std::string_view key, std::string_view value) {
      if (!postgres::find(options_.connection, key)) postgres::put(options_.connection, key, std::string(value));
    };
    preset("application_name", "kedge");
    preset("client_encoding", "UTF8");
    preset("target_session_attrs", "read-write");
    preset("gssencmode", "disable");  // its library asks the network, and waits for it
    preset("keepalives_idle", "5");
    preset("keepalives_interval", "2");
    preset("keepalives_count", "3");
    preset("tcp_user_timeout", "10000");
  }

  // ---- starting

  task<result<void>> open() override {
    auto& loop = reactor::loop::current();
    auto until = loop.now() + options_.start_wait;
    auto pause = duration(retry_min);
    bool told = false, tried_create = false;
    for (;;) {
      auto c = co_await connect();
      if (c) {
        KEDGE_CO_TRY(has_table_, describe(co_await inspect(*(*c)->link)));
        kedge::log::info("{}: connected, server {}", description_, (*c)->link->parameter_status("server_version"));
        t_ = std::move(*c);
        co_return result<void>();
      }
      // libpq tells the reason in the server's language only, so the question is put to the server.
      if (!std::exchange(tried_create, true)) {
        if (auto made = co_await create_database(options_.connection); made) continue;
      }
      if (c.error().code != errc::unavailable || loop.now() + pause > until)
        co_return fail(std::move(c).error().with(description_ + ": "));
      if (!std::exchange(told, true)) kedge::log::warning("{}: {}; waiting for it", description_, c.error().message);
      co_await reactor::sleep_for(pause);
      pause = std::min<duration>(pause * 2, retry_max);
    }
  }

  task<result<page>> load_live(revision after) override {
    if (!has_table_) co_return page();
    co_return co_await load_snapshot(after, true);
  }

  task<result<page>> load(revision after) override {
    if (!has_table_) co_return page();
    if (after == 0 || (snapshot_ && after == snapshot_at_)) co_return co_await load_snapshot(after, false);
    snapshot_ = nullptr;
    // What a lost session of ours still held is ended first: afterwards, what isn't there won't come.
    KEDGE_CO_CHECK(co_await link_up(w_, true));
    KEDGE_CO_CHECK(co_await link_up(t_, false));
    co_return describe(co_await read_from(after));
  }

  task<result<void>> begin() override {
    KEDGE_CO_CHECK(describe(co_await create_schema(*t_->link)));
    KEDGE_CO_TRY(has_table_, describe(co_await inspect(*t_->link)));
    KEDGE_CO_CHECK(describe(co_await make_tail(*t_)));
    KEDGE_CO_TRY(w_, describe(co_await connect()));
    KEDGE_CO_CHECK(describe(co_await make_writer(*w_)));
    began_ = true;
    services_.spawn(keep(t_, false));
    services_.spawn(keep(w_, true));
    co_return result<void>();
  }

  // ---- writing

  task<result<appended>> append(batch ops) override {
    for (auto& op : *ops) {
      if (!storable(op.name)) co_return fail(errc::invalid, fmt::format("{} can't be a key", quote(op.name)));
    }
    auto p = append_parameters(*ops);
    auto give_up = reactor::loop::current().now() + append_retry;
    for (;;) {
      if (forked_) co_return fail(*forked_);
      KEDGE_CO_CHECK(co_await link_up(w_, false));
      p[0] = parameter::bigint(static_cast<std::int64_t>(known_.at));
      p[1] = parameter::text(known_.name);
      p[1].null = known_.name.empty();
      p[2] = parameter::bigint(static_cast<std::int64_t>(known_.previous));
      auto* link = w_->link.get();
      ++appending_;
      auto turn = ++appends_;
      auto r = link->send("kedge_append", p, true);
      bool answered = co_await r->done.wait_until(reactor::loop::current().now() + answer_timeout);
      --appending_;
      if (!answered && !r->value) {
        if (w_ && w_->link.get() == link) link->abandon({errc::timeout, "the server does not answer"});
        co_return fail(errc::unknown_outcome, description_ + ": the server did not answer a write");
      }
      if (auto& v = *r->value; !v) {
        if (r->state == fork_state) co_return fail(fork(v.error().message));
        if (v.error().code == errc::closed)
          co_return fail(errc::unknown_outcome,
                         fmt::format("{}: connection lost: {}", description_, v.error().message));
        // From here on the server has answered that nothing landed.
        if (r->state == "25006" && w_ && w_->link.get() == link) link->abandon({errc::closed, v.error().message});
        bool again = r->state == "55P03" || r->state == "40P01" || r->state == "40001";
        if (!again || reactor::loop::current().now() >= give_up)
          co_return fail(error(v.error().code, v.error().message).with(description_ + ": "));
        if (r->state == "55P03") services_.spawn(name_blocker());
        co_await reactor::sleep_for(std::chrono::milliseconds(10 + reactor::loop::current().random().next() % 40));
        // The batch that was sent after this one may have landed, and this one's answer has to come first.
        if (turn != appends_) co_return fail(errc::unavailable, fmt::format("{}: {}", description_, v.error().message));
        continue;
      }
      auto done = co_await settle(ops, **r->value);
      if (done && r->not_replicated) {
        done->unsafe = error(errc::timeout, description_ + ": written, but the wait for the standbys was cancelled");
        kedge::log::error("{}", done->unsafe->message);
      }
      co_return done;
    }
  }

  // ---- reading

  task<result<page>> tail(revision after, time_point deadline) override {
    auto& loop = reactor::loop::current();
    for (;;) {
      if (forked_) co_return fail(*forked_);
      auto now = loop.now();
      bool peers = now < peers_until_;
      auto due = read_at_ + (peers ? duration(poll_with_peers) : duration(poll_with_notifications));
      if (t_ && t_->link->usable() && (hint_ > after || now >= due)) {
        bool told = hint_ > after, quiet = appending_ == 0;
        read_at_ = now;
        auto p = co_await read_from(after);
        if (p && p->at > after) {
          // Somebody writes without telling: K3s.
          if (!told && quiet && appending_ == 0) peers_until_ = loop.now() + peers_remembered;
          co_return p;
        }
        if (p) hint_ = std::min(hint_, after);
        if (!p && p.error().code != errc::closed && p.error().code != errc::unavailable &&
            p.error().code != errc::timeout)
          co_return fail(std::move(p).error().with(description_ + ": "));
        if (!p) co_await reactor::sleep_for(retry_min);
        if (!p || hint_ > after) continue;
      }
      if (loop.now() >= deadline) break;
      due = read_at_ + (loop.now() < peers_until_ ? duration(poll_with_peers) : duration(poll_with_notifications));
      bool up = t_ && t_->link->usable();
      co_await news_.wait_until(up ? std::min(deadline, due) : deadline);
    }
    page none;
    none.at = after;
    co_return none;
  }

  task<result<past_page>> past(past_question q) override {
    KEDGE_CO_CHECK(co_await link_up(t_, false));
    past_page out;
    out.at = std::min(q.upto, q.after + past_step_revisions);
    auto number = [](revision r) { return parameter::bigint(static_cast<std::int64_t>(std::min<revision>(r, INT64_MAX))); };
    KEDGE_CO_TRY(auto r, describe(co_await ask(t_, sql::past,
                                               {number(q.after), number(out.at), parameter::text(q.prefix), number(q.replaced_max),
                                                parameter::integer(q.replaced_max == UINT64_MAX), number(page_bytes_max)},
                                               false)));
    if (r.size() == 0) co_return fail(errc::protocol, description_ + ": no answer to a question for the past");
    if (auto compacted = static_cast<revision>(r.number(0, 0)); q.after < compacted)
      co_return fail(errc::expired, fmt::format("revision {} is compacted: the history begins at {}", q.after, compacted));
    for (int i = 0; i < r.size() && !r.null(i, 2); ++i) {
      auto found = read_row(r, i, 2);
      if (!found.what) continue;
      past_change c{std::move(*found.what), std::nullopt};
      if (r.number(i, 10) != 0) c.replaced = std::string(r.bytes(i, 11));
      out.changes.push_back(std::move(c));
    }
    auto last = r.size() - 1;
    if (!r.null(last, 2) && r.number(last, 2) < r.number(last, 1)) out.at = static_cast<revision>(r.number(last, 2));
    co_return out;
  }

  task<result<revision>> current() override {
    if (forked_) co_return fail(*forked_);
    KEDGE_CO_CHECK(co_await link_up(t_, false));
    auto* link = t_->link.get();
    auto seen = known_.at;  // an answer on the other connection may overtake this one
    KEDGE_CO_TRY(auto r, describe(co_await ask(t_, "kedge_newest", {}, true)));
    if (r.size() != 1) co_return fail(errc::protocol, description_ + ": no answer to a question for the newest row");
    if (r.number(0, 1) != 0) {
      if (t_ && t_->link.get() == link) link->abandon({errc::closed, "the server has become a standby"});
      co_return fail(errc::unavailable, description_ + ": the server has become a standby");
    }
    auto newest = static_cast<revision>(r.number(0, 0));
    if (newest < seen) co_return fail(fork(fmt::format("its newest row is {}, this server has {}", newest, seen)));
    // The reader waits until this is in memory: no need to wait for the next poll.
    if (newest > known_.at && appending_ == 0 && newest > hint_) {
      hint_ = newest;
      news_.pulse();
    }
    co_return newest;
  }

  task<result<std::string>> lineage(revision at) override {
    KEDGE_CO_CHECK(co_await link_up(t_, false));
    KEDGE_CO_TRY(auto r,
                 describe(co_await ask(t_, sql::lineage, {parameter::bigint(static_cast<std::int64_t>(at))}, false)));
    if (r.null(0, 2)) co_return fail(errc::not_found, fmt::format("revision {} is not kept any more", at));
    co_return fmt::format("{}|{}|{}", r.bytes(0, 2), r.number(0, 3), r.bytes(0, 4));
  }

  task<result<void>> compact(revision to) override {
    KEDGE_CO_TRY(auto s, describe(co_await connect()));
    KEDGE_CO_CHECK(describe(co_await s->link->run(sql::compact_function)));
    auto& loop = reactor::loop::current();
    for (;;) {
      auto began = loop.now();
      KEDGE_CO_TRY(auto r,
                   describe(co_await s->link->run(
                       sql::compact,
                       {parameter::bigint(static_cast<std::int64_t>(to)), parameter::bigint(compaction_step),
                        parameter::bigint(static_cast<std::int64_t>(swept_)), parameter::bigint(compaction_kept)})));
      auto reached = static_cast<revision>(r.number(0, 0));
      // What an earlier owner left behind lies anywhere, so the first step goes from the beginning.
      swept_ = std::max(swept_, reached);
      if (reached >= to) co_return result<void>();
      co_await reactor::sleep_for(loop.now() - began);
    }
  }

  task<void> close() override {
    services_.cancel();
    snapshot_ = nullptr;
    filler_ = nullptr;
    w_ = nullptr;
    t_ = nullptr;
    co_return;
  }

  bool shared() const noexcept override { return true; }
  result<void> healthy() const override {
    if (forked_) return fail(*forked_);
    for (auto* s : {&t_, &w_}) {
      if (!*s || !(*s)->link->usable()) return fail(errc::unavailable, fmt::format("{}: {}", description_, away_));
    }
    return {};
  }
  std::string description() const override { return description_; }

 private:
  struct session {
    std::unique_ptr<connection> link;
    std::string started;
  };
  using session_ref = std::unique_ptr<session>;

  template <typename T>
  result<T> describe(result<T> r) const {
    if (r) return r;
    auto e = std::move(r).error();
    if (e.code == errc::closed) e.code = errc::unavailable;
    return fail(std::move(e).with(description_ + ": "));
  }

  // ---- connections

  task<result<session_ref>> connect() {
    auto s = std::make_unique<session>();
    KEDGE_CO_TRY(s->link,
                 co_await connection::open(options_.connection, reactor::loop::current().now() + connect_timeout));
    KEDGE_CO_TRY(s->started, co_await begin_session(*s->link));
    co_return s;
  }

  task<result<void>> make_tail(session& s) {
    auto& c = *s.link;
    KEDGE_CO_CHECK(co_await c.prepare("kedge_news", sql::news));
    KEDGE_CO_CHECK(co_await c.prepare("kedge_newest", sql::newest));
    c.on_notification = [this](int pid, std::string_view payload) {
      // Our own rows come with the answer of the append.
      if (w_ && pid == w_->link->backend_pid()) return;
      auto at = parse_uint(payload);
      hint_ = std::max(hint_, at ? *at : known_.at + 1);
      news_.pulse();
    };
    KEDGE_CO_CHECK(co_await c.run("LISTEN kedge"));
    co_return result<void>();
  }

  task<result<void>> make_writer(session& s) {
    KEDGE_CO_CHECK(co_await s.link->run(sql::writer_session));
    KEDGE_CO_CHECK(co_await s.link->run(sql::append_function));
    KEDGE_CO_CHECK(co_await s.link->prepare("kedge_append", sql::append));
    co_return result<void>();
  }

  // Keeps one of the two connections alive.
  task<void> keep(session_ref& slot, bool writer) {
    auto pause = duration(retry_min);
    bool told = false;
    for (;;) {
      if (slot) {
        co_await slot->link->lost().wait();
        away_ = slot->link->why().message;
        kedge::log::warning("{}: lost the {} connection: {}", description_, writer ? "writing" : "reading", away_);
        if (writer) unfinished_.emplace_back(slot->link->backend_pid(), std::move(slot->started));
        slot = nullptr;
        told = true;
      }
      auto made = co_await renew(writer);
      if (made) {
        slot = std::move(*made);
        pause = retry_min;
        if (std::exchange(told, false))
          kedge::log::info("{}: the {} connection is back", description_, writer ? "writing" : "reading");
        read_at_ = {};
        up_.pulse();
        news_.pulse();
        continue;
      }
      if (away_ != made.error().message) {
        away_ = made.error().message;
        kedge::log::warning("{}: no {} connection: {}", description_, writer ? "writing" : "reading", away_);
      }
      co_await reactor::sleep_for(pause +
                                  pause * static_cast<int>(reactor::loop::current().random().next() % 256) / 512);
      pause = std::min<duration>(pause * 2, retry_max);
    }
  }

  task<result<session_ref>> renew(bool writer) {
    if (forked_) co_return fail(*forked_);
    KEDGE_CO_TRY(auto s, co_await connect());
    if (writer) {
      while (!unfinished_.empty()) {
        auto [pid, started] = unfinished_.back();
        KEDGE_CO_CHECK(co_await end_session(*s->link, pid, started));
        unfinished_.pop_back();
      }
    }
    KEDGE_CO_CHECK(co_await same_history(*s->link));
    if (writer)
      KEDGE_CO_CHECK(co_await make_writer(*s));
    else
      KEDGE_CO_CHECK(co_await make_tail(*s));
    co_return s;
  }

  // Waits a little for a connection that is being made again. `ended`: also until lost sessions have been ended.
  task<result<void>> link_up(session_ref& slot, bool ended) {
    auto until = reactor::loop::current().now() + reconnect_patience;
    while (!slot || !slot->link->usable() || (ended && !unfinished_.empty())) {
      if (forked_) co_return fail(*forked_);
      if (!began_ && slot && slot->link->usable()) break;
      if (!co_await up_.wait_until(until))
        co_return fail(errc::unavailable, fmt::format("{}: {}", description_, away_));
    }
    co_return result<void>();
  }

  task<result<rows>> ask(session_ref& slot, const char* sql, std::vector<parameter> p, bool prepared) {
    auto* link = slot->link.get();
    auto r = link->send(sql, p, prepared);
    if (!co_await r->done.wait_until(reactor::loop::current().now() + answer_timeout) && !r->value) {
      if (slot && slot->link.get() == link) link->abandon({errc::timeout, "the server does not answer"});
      co_return fail(errc::closed, "the server does not answer");
    }
    co_return std::move(*r->value);
  }

  task<void> name_blocker() {
    if (!t_ || !t_->link->usable()) co_return;
    auto r = co_await ask(t_, sql::blocker, {}, false);
    if (r && r->size() == 1)
      kedge::log::warning("{}: writes wait for session {} of {} at {} ({})", description_, r->number(0, 0),
                          quote(r->bytes(0, 1)), r->bytes(0, 2), r->bytes(0, 3));
  }

  // ---- history

  error fork(std::string_view why) {
    if (!forked_) {
      forked_ = error(
          errc::corrupt,
          fmt::format(
              "{}: the database has lost or changed what this server has read from it ({}). It was restored, or a "
              "standby took over that had not received everything. Stop all servers, make sure that this is the "
              "database to go on with, and start them again",
              description_, why));
      kedge::log::error("{}", forked_->message);
      news_.pulse();
      up_.pulse();
    }
    return *forked_;
  }

  // Whether the newest row that was given out is still there as it was.
  task<result<void>> same_history(connection& c) {
    auto seen = known_;
    if (seen.at == 0) co_return result<void>();
    KEDGE_CO_TRY(auto r, co_await c.run(sql::lineage, {parameter::bigint(static_cast<std::int64_t>(seen.at))}));
    auto newest = static_cast<revision>(r.number(0, 0)), compacted = static_cast<revision>(r.number(0, 1));
    if (newest < seen.at)
      co_return fail(fork(fmt::format("its newest row is {}, this server has {}", newest, seen.at)));
    if (seen.name.empty() || (r.null(0, 2) && seen.at <= compacted)) co_return result<void>();
    if (r.null(0, 2) || r.bytes(0, 2) != seen.name || r.number(0, 3) != static_cast<std::int64_t>(seen.previous))
      co_return fail(fork(fmt::format("row {} is not {} any more", seen.at, seen.name)));
    // The same object may have been written again under the same number: the value tells.
    KEDGE_CO_TRY(
        auto v,
        co_await c.run("SELECT value IS NOT DISTINCT FROM $2::bytea FROM kine WHERE id = $1::bigint AND deleted = 0",
                       {parameter::bigint(static_cast<std::int64_t>(seen.at)), parameter{17, seen.value}}));
    if (v.size() == 1 && v.number(0, 0) == 0) co_return fail(fork(fmt::format("row {} has another value", seen.at)));
    co_return result<void>();
  }

  void know(revision at, const entry* e) {
    if (at <= known_.at) return;
    known_ = {};
    known_.at = at;
    if (e && e->at == at) {
      known_.name = e->name;
      known_.previous = e->previous;
      known_.value = e->value;
    }
  }

  // ---- pages

  // The rows after `after` that follow each other without a gap; waits until a gap is explained. errc::expired when
  // they are gone.
  task<result<page>> read_from(revision after) {
    std::size_t pause = 0;
    for (;;) {
      if (!t_ || !t_->link->usable()) co_return fail(errc::unavailable, away_);
      KEDGE_CO_TRY(
          auto answer,
          co_await ask(t_, "kedge_news",
                       {parameter::bigint(static_cast<std::int64_t>(after)), parameter::integer(page_rows)}, true));
      auto n = read_news(answer);
      if (n.newest < after)
        co_return fail(fork(fmt::format("its newest row is {}, this server has {}", n.newest, after)));
      if (after != 0 && after < n.compacted)
        co_return fail(errc::expired,
                       fmt::format("revision {} is compacted: the history begins at {}", after, n.compacted));
      page out;
      out.compacted = n.compacted;
      out.at = after;
      bool whole = take_contiguous(n, out);
      if (out.at > after || n.list.empty()) {
        out.done = whole && n.list.size() < page_rows;
        know(out.at, out.entries.empty() ? nullptr : &out.entries.back());
        co_return out;
      }
      auto last = static_cast<revision>(n.list.back().id);
      if (pause < std::size(hole_pauses)) {
        co_await reactor::sleep_for(hole_pauses[pause++]);
        continue;
      }
      KEDGE_CO_CHECK(co_await fill(after + 1, last));
    }
  }

  // Moves what follows `out.at` directly into `out`; false when rows are left behind a gap.
  static bool take_contiguous(news& n, page& out) {
    for (auto& r : n.list) {
      auto id = static_cast<revision>(r.id);
      if (r.id <= 0) continue;
      // Below the compact revision rows are missing by right; and a table may begin anywhere.
      bool follows = id == out.at + 1 || id <= n.compacted || (out.at == 0 && n.compacted == 0) ||
                     (out.at < n.compacted && id == n.compacted + 1);
      if (!follows) return false;
      out.at = id;
      if (r.what) out.entries.push_back(std::move(*r.what));
    }
    return true;
  }

  // Occupies the missing ids, waiting for whoever holds one.
  task<result<void>> fill(revision first, revision last) {
    ++holes_;
    kedge::log::info("{}: filling what is missing between rows {} and {} ({} times so far)", description_, first, last,
                     holes_);
    if (!filler_ || !filler_->link->usable()) {
      KEDGE_CO_TRY(filler_, co_await connect());
    }
    while (first <= last) {
      auto upto = std::min(last, first + fill_step - 1);
      auto r = filler_->link->send(sql::fill, {parameter::bigint(static_cast<std::int64_t>(first)),
                                               parameter::bigint(static_cast<std::int64_t>(upto))});
      co_await r->done.wait();
      if (!*r->value) {
        bool again = r->state == "55P03" || r->state == "40P01" || r->state == "57014";
        if (!again) co_return fail(std::move(*r->value).error());
        kedge::log::warning("{}: row {} is held by a transaction that does not end; waiting for it", description_,
                            first);
        co_return result<void>();  // asks again, and comes back here
      }
      first = upto + 1;
    }
    co_return result<void>();
  }

  task<result<page>> load_snapshot(revision after, bool live) {
    if (after == 0) {
      snapshot_ = nullptr;
      KEDGE_CO_TRY(auto made, describe(co_await connect()));
      KEDGE_CO_CHECK(describe(co_await made->link->run(sql::begin_snapshot)));
      KEDGE_CO_CHECK(describe(co_await made->link->run(sql::patient)));
      snapshot_ = std::move(made);
    }
    auto* link = snapshot_->link.get();
    auto answer = describe(co_await link->run(
        live ? sql::news_live : sql::news, {parameter::bigint(static_cast<std::int64_t>(after)), parameter::integer(page_rows)}));
    if (!answer) {
      snapshot_ = nullptr;
      co_return fail(std::move(answer).error());
    }
    auto n = read_news(*answer, live);
    page out;
    out.compacted = n.compacted;
    out.at = after;
    bool whole = take_contiguous(n, out);
    know(out.at, out.entries.empty() ? nullptr : &out.entries.back());
    out.done = !whole || n.list.size() < page_rows;
    snapshot_at_ = out.at;
    if (out.done) snapshot_ = nullptr;
    co_return out;
  }

  // ---- what an append has done

  task<result<appended>> settle(batch ops, const rows& r) {
    struct written {
      revision at, previous;
    };
    std::unordered_map<std::string_view, written> landed;
    std::unordered_map<std::string_view, revision> standing;
    std::unordered_set<std::string_view> barred;
    news others;
    revision told = 0, newest = 0;
    for (int i = 0; i < r.size(); ++i) {
      switch (r.number(i, 0)) {
        case 0:
          told = static_cast<revision>(r.number(i, 1));
          others.compacted = static_cast<revision>(r.number(i, 6));
          break;
        case 1:
          others.list.push_back(read_row(r, i, 1));
          break;
        case 2: {
          auto at = static_cast<revision>(r.number(i, 1));
          landed[r.bytes(i, 2)] = {at, static_cast<revision>(r.number(i, 6))};
          newest = std::max(newest, at);
          break;
        }
        case 3:
          standing[r.bytes(i, 2)] = static_cast<revision>(r.number(i, 1));
          break;
        case 4:
          barred.insert(r.bytes(i, 2));
          break;
      }
    }
    appended out;
    std::vector<revision> mine;
    for (auto& op : *ops) {
      if (auto l = landed.find(op.name); l != landed.end()) {
        out.outcomes.push_back({outcome::status::committed, l->second.at});
        mine.push_back(l->second.at);
      } else if (barred.contains(op.name)) {
        out.outcomes.push_back({outcome::status::guard_failed, 0});
      } else {
        auto s = standing.find(op.name);
        out.outcomes.push_back({outcome::status::conflict, s == standing.end() ? 0 : s->second});
      }
    }
    // The caller has everything up to `told`: this session's answers before, or what it named as seen.
    page before;
    before.at = told;
    before.compacted = others.compacted;
    bool plain = told >= others.compacted && take_contiguous(others, before);
    for (auto at : mine) plain = plain && at == ++before.at;
    if (mine.empty() || plain) {
      out.others = std::move(before.entries);
      if (mine.empty()) {
        know(before.at, out.others.empty() ? nullptr : &out.others.back());
      } else {
        auto last = std::find_if(ops->begin(), ops->end(), [&](const operation& op) {
          auto l = landed.find(op.name);
          return l != landed.end() && l->second.at == newest;
        });
        if (newest > known_.at) {
          known_ = {newest, last->name, landed[last->name].previous,
                    last->kind == change::remove ? std::string() : last->value};
        }
      }
      co_return out;
    }
    // Rows of others lie between ours, or some are not visible yet: everything comes from the table, in its order.
    for (auto after = told; after < newest;) {
      auto p = co_await read_from(after);
      if (!p) {
        kedge::log::warning("{}: {} writes landed, but what came before them can't be read: {}", description_,
                            mine.size(), p.error().message);
        co_return fail(errc::unknown_outcome, fmt::format("{}: {}", description_, p.error().message));
      }
      after = p->at;
      std::move(p->entries.begin(), p->entries.end(), std::back_inserter(out.others));
    }
    co_return out;
  }

  struct known {
    revision at = 0;
    std::string name;  // empty: not an entry
    revision previous = 0;
    std::string value;
  };

  postgres_options options_;
  std::string description_;
  std::string away_ = "not connected yet";
  bool has_table_ = false, began_ = false;
  session_ref t_, w_, snapshot_, filler_;
  revision snapshot_at_ = 0, swept_ = 0;
  std::vector<std::pair<int, std::string>> unfinished_;  // lost sessions that may still run what they were sent
  known known_;                                          // the newest row that was given out
  std::optional<error> forked_;
  std::size_t appending_ = 0, holes_ = 0;
  std::uint64_t appends_ = 0;  // sent
  revision hint_ = 0;  // somebody said that there is a row up to here
  time_point read_at_{}, peers_until_{};
  reactor::event news_, up_;
  reactor::scope services_;  // last: ends first
};

}  // namespace

std::unique_ptr<log> make_postgres_log(postgres_options options) {
  return std::make_unique<postgres_log>(std::move(options));
}

}  // namespace kedge::datastore
