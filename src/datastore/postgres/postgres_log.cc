#include "datastore/postgres/postgres_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/assert.h"
#include "base/strings.h"
#include "datastore/guards.h"
#include "datastore/kine_log.h"
#include "datastore/limits.h"
#include "datastore/postgres/limits.h"
#include "datastore/postgres/schema.h"
#include "datastore/postgres/sql.h"

namespace kedge::datastore {

using namespace postgres;

namespace {

constexpr const char* fork_state = "KG001";

// The eight columns from `at` on.
kine_row row_at(const rows& r, int i, int at) {
  return make_row({r.number(i, at), r.number(i, at + 2), r.number(i, at + 3), r.number(i, at + 4), r.number(i, at + 5),
                   r.number(i, at + 6), r.bytes(i, at + 1), r.bytes(i, at + 7)});
}

// `live`: of news_live; what was replaced counts as a row and is no entry.
kine_news read_news(const rows& r, bool live = false) {
  kine_news out;
  for (int i = 0; i < r.size(); ++i) {
    out.newest = static_cast<revision>(r.number(i, 0));
    out.compacted = static_cast<revision>(r.number(i, 1));
    if (r.null(i, 2)) continue;
    out.list.push_back(row_at(r, i, 2));
    if (live && r.number(i, 10) != 0) out.list.back().what.reset();
  }
  return out;
}

parameter bigint(revision n) { return parameter::bigint(static_cast<std::int64_t>(n)); }

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
  out.push_back(parameter::integer(others_bytes_max));
  return out;
}

// Names are Kubernetes keys; a byte that the database's encoding refuses would take the whole batch down.
bool storable(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c > 0; });
}

// What the server says with these was decided before the commit. Anything else may have come after it.
bool surely_not_landed(std::string_view state) {
  for (std::string_view known : {"55P03", "40P01", "40001", "25006", "53100", "KG001"})
    if (state == known) return true;
  for (std::string_view known : {"0A", "22", "23", "25", "26", "28", "2D", "42", "54", "55"})
    if (state.starts_with(known)) return true;
  return false;
}

// "h1:p1,h2:p2/name" of libpq's lists; one port may be for all hosts.
std::string describe_target(const settings& s) {
  auto text = [&](std::string_view key, std::string without) {
    auto* v = postgres::find(s, key);
    return v && !v->empty() ? *v : without;
  };
  auto hosts_text = text("host", "localhost"), ports_text = text("port", "5432");
  auto ports = split(ports_text, ',');
  std::vector<std::string> each;
  for (auto host : split(hosts_text, ',')) {
    auto port = ports.size() == 1 ? ports[0] : each.size() < ports.size() ? ports[each.size()] : std::string_view();
    auto bare = host.find(':') == std::string_view::npos ? std::string(host) : fmt::format("[{}]", host);
    each.push_back(fmt::format("{}:{}", bare, port.empty() ? "5432" : port));
  }
  return fmt::format("PostgreSQL {}/{}", join(each, ","), text("dbname", ""));
}

class postgres_log final : public kine_log {
 public:
  explicit postgres_log(postgres_options o) : kine_log(describe_target(o.connection)), options_(std::move(o)) {
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
    bool tried_create = false;
    KEDGE_CO_TRY(t_, describe(co_await first_link<connection>(
                         [this, &tried_create]() -> task<result<link_ref>> {
                           auto c = co_await connect();
                           // libpq tells the reason in the server's language only, so the question is put to the
                           // server.
                           if (c || std::exchange(tried_create, true)) co_return c;
                           if (!options_.makes_database) {
                             auto there = co_await has_database(options_.connection);
                             if (there && !*there) c.error().code = errc::not_found;
                             co_return c;
                           }
                           if (!co_await create_database(options_.connection)) co_return c;
                           co_return co_await connect();
                         },
                         options_.start_wait)));
    KEDGE_CO_TRY(has_table_, describe(co_await inspect(*t_)));
    kedge::log::info("{}: connected, server {}", description_, t_->parameter_status("server_version"));
    co_return result<void>();
  }

  task<result<page>> load_live(revision after) override {
    if (!has_table_) co_return page();
    co_return co_await load_snapshot(after, true);
  }

  task<result<page>> load(revision after) override {
    if (!has_table_) co_return page();
    if (after == 0 || (snapshot_ && in_snapshot(after))) co_return co_await load_snapshot(after, false);
    snapshot_ = nullptr;
    if (began_) {
      // What a lost session of ours still held is ended first: afterwards, what isn't there won't come.
      KEDGE_CO_CHECK(co_await wait_for([this]() -> result<void> {
        KEDGE_CHECK(can_write());
        if (!unfinished_.empty()) return fail(errc::unavailable, "the database can't be reached");
        return can_read();
      }));
    }
    co_return co_await read_from(after);
  }

  task<result<void>> begin() override {
    KEDGE_CO_CHECK(describe(co_await create_schema(*t_)));
    KEDGE_CO_TRY(has_table_, describe(co_await inspect(*t_)));
    KEDGE_CO_CHECK(describe(co_await make_tail(*t_)));
    KEDGE_CO_TRY(w_, describe(co_await connect()));
    KEDGE_CO_CHECK(describe(co_await make_writer(*w_)));
    began_ = true;
    services_.spawn(keep<connection>(t_, "reading ", reads, [this] { return renew(false); }, [](connection&) {}));
    services_.spawn(keep<connection>(
        w_, "writing ", writes, [this] { return renew(true); },
        [this](connection& c) { unfinished_.emplace_back(c.backend_pid(), c.started); }));
    co_return result<void>();
  }

  // ---- writing

  task<result<appended>> append(batch ops) override {
    for (auto& op : *ops) {
      if (!storable(op.name)) co_return fail(errc::invalid, fmt::format("{} can't be a key", quote(op.name)));
    }
    auto p = append_parameters(*ops);
    auto give_up = reactor::loop::current().now() + append_retry;
    error why;
    for (std::uint64_t sent = 0;;) {
      KEDGE_CO_TRY(auto sending, co_await turn_to_send());
      // What was sent after this one may have landed, and this one's answer has to come first.
      if (sent != 0 && sent != appends_) co_return fail(std::move(why));
      p[0] = bigint(known_.at);
      p[1] = parameter::text(known_.name);
      p[1].null = known_.name.empty();
      p[2] = bigint(known_.previous);
      auto* link = w_.get();
      ++appending_;
      sent = ++appends_;
      auto r = link->send("kedge_append", p, true);
      sending.sent();
      co_await r->done.wait();
      --appending_;
      if (*r->value) {
        all_well();
        auto done = co_await settle(outcomes_of(*ops, **r->value));
        if (done && r->not_replicated) {
          done->unsafe = error(errc::timeout, "written, but the wait for the database's standbys was cancelled");
          kedge::log::error("{}: {}", description_, done->unsafe->message);
        }
        co_return done;
      }
      auto said = (*r->value).error();
      if (said.code == errc::closed)
        co_return fail(errc::unknown_outcome, "the connection to the database was lost during a write");
      if (r->state == fork_state) co_return fail(fork(said.message));
      bool used_up = r->state == "2200H" || r->state == "22003";
      complain(used_up ? fmt::format("{}; {}", said.message, widening) : said.message);
      if (!surely_not_landed(r->state))
        co_return fail(errc::unknown_outcome,
                       "the database gave a write up, and whether before or after its commit is not known");
      if (r->state == "25006" && w_.get() == link) link->abandon({errc::closed, said.message});
      why = meaning_of(r->state);
      bool again = r->state == "55P03" || r->state == "40P01" || r->state == "40001";
      if (!again || reactor::loop::current().now() >= give_up) co_return fail(std::move(why));
      if (r->state == "55P03") services_.spawn(name_blocker());
      co_await reactor::sleep_for(std::chrono::milliseconds(10 + reactor::loop::current().random().next() % 40));
    }
  }

  // ---- reading

  task<result<past_page>> past(past_question q) override {
    KEDGE_CO_CHECK(co_await wait_for([this] { return can_read(); }));
    past_page out;
    out.at = std::min(q.upto, q.after + past_step_revisions);
    auto number = [](revision r) { return bigint(std::min<revision>(r, INT64_MAX)); };
    KEDGE_CO_TRY(auto r,
                 co_await ask(sql::past,
                              {number(q.after), number(out.at), parameter::text(q.prefix), number(q.replaced_max),
                               parameter::integer(q.replaced_max == UINT64_MAX), number(page_bytes_max)},
                              false));
    if (r.size() == 0) co_return fail(errc::internal, "no answer to a question for the past");
    KEDGE_CO_CHECK(still_there(q.after, static_cast<revision>(r.number(0, 0))));
    for (int i = 0; i < r.size() && !r.null(i, 2); ++i) {
      auto found = row_at(r, i, 2);
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
    KEDGE_CO_CHECK(co_await wait_for([this] { return can_read(); }));
    auto* link = t_.get();
    auto seen = known_.at;  // an answer on the other connection may overtake this one
    KEDGE_CO_TRY(auto r, co_await ask("kedge_newest", {}, true));
    if (r.size() != 1) co_return fail(errc::internal, "no answer to a question for the newest row");
    if (r.number(0, 1) != 0) {
      if (t_.get() == link) link->abandon({errc::closed, "the server has become a standby"});
      co_return fail(errc::unavailable, "the database has become a standby");
    }
    auto newest = static_cast<revision>(r.number(0, 0));
    if (newest < seen) co_return fail(fork(fmt::format("its newest row is {}, this server has {}", newest, seen)));
    found_newest(newest);
    co_return newest;
  }

  task<result<void>> compact(revision to) override {
    KEDGE_CO_TRY(auto link, co_await connect());
    KEDGE_CO_CHECK(co_await link->run(sql::compact_function));
    auto& loop = reactor::loop::current();
    while (swept_ < to) {
      auto began = loop.now();
      KEDGE_CO_TRY(auto r, co_await link->run(sql::compact, {bigint(to), bigint(swept_), bigint(compaction_rows),
                                                             bigint(compaction_kept)}));
      auto reached = static_cast<revision>(r.number(0, 0));
      // What an earlier owner left behind lies anywhere, so the first time goes from the beginning.
      if (reached <= swept_) co_return result<void>();
      swept_ = reached;
      co_await reactor::sleep_for(loop.now() - began);
    }
    co_return result<void>();
  }

  task<result<void>> tell_loss(revision seen) override {
    KEDGE_CO_TRY(auto c, co_await connect());
    KEDGE_CO_CHECK(co_await c->run(sql::tell_loss, {bigint(seen)}));
    co_return result<void>();
  }

  task<result<void>> pass_over(revision seen) override {
    KEDGE_CO_CHECK(describe(co_await t_->run(sql::pass_over_function)));
    KEDGE_CO_CHECK(describe(co_await t_->run(sql::pass_over, {bigint(seen), bigint(revision_jump)})));
    co_return result<void>();
  }

  task<void> close() override {
    services_.cancel();
    snapshot_ = nullptr;
    w_ = nullptr;
    t_ = nullptr;
    co_return;
  }

 private:
  using link_ref = std::unique_ptr<connection>;
  static constexpr patience reads{read_patience, give_up_after}, writes{write_patience, give_up_after};

  result<void> can_read() const override { return answers(t_.get(), reads); }
  result<void> can_write() const override { return answers(w_.get(), writes, t_.get(), reads); }
  duration poll() const override {
    return reactor::loop::current().now() < peers_until_ ? poll_with_peers : poll_with_notifications;
  }
  // Somebody writes without telling: K3s.
  void found_news(bool told) override {
    if (!told) peers_until_ = reactor::loop::current().now() + peers_remembered;
  }
  std::string cause_of_loss() const override {
    return "It was restored, or a standby took over that had not received everything.";
  }

  // What an error means for those who asked, without the server's words: those are in the log.
  static error meaning_of(std::string_view state) {
    if (state == "55P03") return {errc::unavailable, "the database is held by another session; try again"};
    if (state == "40P01" || state == "40001" || state == "57014")
      return {errc::unavailable, "the database gave it up; try again"};
    if (state == "25006") return {errc::unavailable, "the database has become a standby"};
    if (state == "53100") return {errc::exhausted, "the database's disk is full"};
    if (state == "53200") return {errc::exhausted, "the database has no memory left"};
    if (state == "2200H" || state == "22003")
      return {errc::exhausted, "the database's numbers for rows are used up; this server's log says what to do"};
    if (state.starts_with("53") || state.starts_with("57") || state.starts_with("08"))
      return {errc::unavailable, "the database refuses for now"};
    return {errc::internal, "the database refuses; the reason is in this server's log"};
  }

  // ---- connections

  task<result<link_ref>> connect() {
    KEDGE_CO_TRY(auto c,
                 co_await connection::open(options_.connection, reactor::loop::current().now() + connect_timeout));
    KEDGE_CO_TRY(c->started, co_await begin_session(*c));
    co_return c;
  }

  task<result<void>> make_tail(connection& c) {
    KEDGE_CO_CHECK(co_await c.prepare("kedge_news", sql::news));
    KEDGE_CO_CHECK(co_await c.prepare("kedge_newest", sql::newest));
    c.on_notification = [this](int pid, std::string_view payload) {
      // Our own rows come with the answer of the append.
      if (w_ && pid == w_->backend_pid()) return;
      auto at = parse_uint(payload);
      hint(at ? *at : known_.at + 1);
    };
    KEDGE_CO_CHECK(co_await c.run("LISTEN kedge"));
    co_return result<void>();
  }

  task<result<void>> make_writer(connection& c) {
    KEDGE_CO_CHECK(co_await c.run(sql::writer_session));
    KEDGE_CO_CHECK(co_await c.run(sql::append_procedure));
    KEDGE_CO_CHECK(co_await c.prepare("kedge_append", sql::append));
    co_return result<void>();
  }

  task<result<link_ref>> renew(bool writer) {
    KEDGE_CO_TRY(auto c, co_await connect());
    if (writer) {
      while (!unfinished_.empty()) {
        auto [pid, started] = unfinished_.back();
        KEDGE_CO_CHECK(co_await end_session(*c, pid, started));
        unfinished_.pop_back();
      }
    }
    KEDGE_CO_CHECK(co_await same_history(*c));
    if (writer)
      KEDGE_CO_CHECK(co_await make_writer(*c));
    else
      KEDGE_CO_CHECK(co_await make_tail(*c));
    co_return c;
  }

  // On T. Errors are what they mean for the caller.
  task<result<rows>> ask(const char* sql, std::vector<parameter> p, bool prepared) {
    if (!t_) co_return fail(errc::unavailable, "the database can't be reached");
    auto r = t_->send(sql, p, prepared);
    auto answer = co_await await_answer(*t_, r, read_patience);
    if (answer) co_return answer;
    if (answer.error().code == errc::closed)
      co_return fail(errc::unavailable, "the connection to the database was lost");
    if (r->state.empty()) co_return answer;
    complain(answer.error().message);
    co_return fail(meaning_of(r->state));
  }

  task<void> name_blocker() {
    auto r = co_await ask(sql::blocker, {}, false);
    if (r && r->size() == 1)
      kedge::log::warning("{}: writes wait for session {} of {} at {} ({})", description_, r->number(0, 0),
                          quote(r->bytes(0, 1)), r->bytes(0, 2), r->bytes(0, 3));
  }

  // ---- history

  // Whether the newest row that was given out is still there as it was.
  task<result<void>> same_history(connection& c) {
    auto seen = known_;
    if (seen.at == 0) co_return result<void>();
    KEDGE_CO_TRY(auto r, co_await c.run(sql::lineage, {bigint(seen.at)}));
    auto newest = static_cast<revision>(r.number(0, 0)), compacted = static_cast<revision>(r.number(0, 1));
    if (newest < seen.at)
      co_return fail(fork(fmt::format("its newest row is {}, this server has {}", newest, seen.at)));
    if (seen.name.empty() || (r.null(0, 2) && seen.at <= compacted)) co_return result<void>();
    if (r.null(0, 2) || r.bytes(0, 2) != seen.name || r.number(0, 3) != static_cast<std::int64_t>(seen.previous))
      co_return fail(fork(fmt::format("row {} is not {} any more", seen.at, seen.name)));
    // The same object may have been written again under the same number: the value tells.
    KEDGE_CO_TRY(auto v, co_await c.run(sql::same_value, {bigint(seen.at), parameter{17, seen.value}}));
    if (v.size() == 1 && v.number(0, 0) == 0) co_return fail(fork(fmt::format("row {} has another value", seen.at)));
    co_return result<void>();
  }

  // ---- pages

  task<result<kine_news>> ask_news(revision after) override {
    KEDGE_CO_TRY(
        auto answer,
        co_await ask("kedge_news", {bigint(after), parameter::integer(page_rows), parameter::integer(tail_bytes_max)},
                     true));
    co_return read_news(answer);
  }

  // An id is drawn under a lock on the table that is held until the commit. Whoever doesn't hold one any more, or
  // didn't when rows above were seen already, puts nothing into the gap.
  task<result<void>> look_into(gap& g, const kine_news& n) override {
    KEDGE_CO_TRY(auto now, co_await ask(sql::inserting, {}, false));
    gap::names alive;
    for (int i = 0; i < now.size(); ++i) alive.emplace(now.bytes(i, 0));
    if (!g.holders) {
      g.horizon = static_cast<revision>(n.list.back().id);
      g.holders = std::move(alive);
    } else {
      std::erase_if(*g.holders, [&](auto& h) { return !alive.contains(h); });
    }
    if (g.holders->empty()) {
      // What they committed is seen by the next question.
      kedge::log::debug("{}: nothing will come between rows {} and {}", description_, g.after, n.list.front().id);
      explain(g.horizon);
      co_return result<void>();
    }
    if (reactor::loop::current().now() >= g.told) {
      g.told = time_point::max();
      name_holder(now, *g.holders, g.after + 1);
    }
    co_await reactor::sleep_for(gap_look_again);
    co_return result<void>();
  }

  void name_holder(const rows& inserting, const gap::names& holders, revision missing) {
    for (int i = 0; i < inserting.size(); ++i) {
      if (!holders.contains(inserting.bytes(i, 0))) continue;
      kedge::log::warning(
          "{}: row {} may still come from session {} of {} at {} ({}), whose transaction does not end; waiting for it",
          description_, missing, inserting.number(i, 1), quote(inserting.bytes(i, 2)), inserting.bytes(i, 3),
          inserting.bytes(i, 4));
      return;
    }
  }

  task<result<kine_news>> ask_snapshot(revision after, bool live) override {
    if (after == 0) {
      snapshot_ = nullptr;
      KEDGE_CO_TRY(auto made, co_await connect());
      KEDGE_CO_CHECK(co_await made->run(sql::begin_snapshot));
      KEDGE_CO_CHECK(co_await made->run(sql::patient));
      snapshot_ = std::move(made);
    }
    KEDGE_CO_TRY(auto answer, co_await snapshot_->run(
                                  live ? sql::news_live : sql::news,
                                  {bigint(after), parameter::integer(page_rows), parameter::integer(tail_bytes_max)}));
    co_return read_news(answer, live);
  }
  void end_snapshot() override { snapshot_ = nullptr; }

  // ---- what an append has done

  static written outcomes_of(const std::vector<operation>& ops, const rows& r) {
    append_answer a(r);
    written out;
    out.told = a.told;
    for (auto& op : ops) {
      if (auto l = a.landed.find(op.name); l != a.landed.end()) {
        out.outcomes.push_back({outcome::status::committed, l->second.at});
        if (l->second.at == a.newest)
          out.newest = {a.newest, op.name, l->second.previous, op.kind == change::remove ? std::string() : op.value};
      } else if (a.barred.contains(op.name)) {
        out.outcomes.push_back({outcome::status::guard_failed, 0});
      } else {
        auto s = a.standing.find(op.name);
        out.outcomes.push_back({outcome::status::conflict, s == a.standing.end() ? 0 : s->second});
      }
    }
    out.others = std::move(a.others);
    return out;
  }

  // The one row that an append answers with (sql.h); views into it.
  struct append_answer {
    struct landing {
      revision at, previous;
    };
    revision told = 0, newest = 0;
    std::unordered_map<std::string_view, landing> landed;
    std::unordered_map<std::string_view, revision> standing;
    std::unordered_set<std::string_view> barred;
    kine_news others;

    explicit append_answer(const rows& r) {
      if (r.size() != 1) return;
      told = static_cast<revision>(r.number(0, 0));
      others.compacted = static_cast<revision>(r.number(0, 1));
      array_reader names(r.bytes(0, 2)), ids(r.bytes(0, 3)), previous(r.bytes(0, 4)), refused(r.bytes(0, 5)),
          stands(r.bytes(0, 6)), kept_out(r.bytes(0, 7));
      while (names.next() && ids.next() && previous.next()) {
        auto at = static_cast<revision>(ids.number());
        landed[names.bytes()] = {at, static_cast<revision>(previous.number())};
        newest = std::max(newest, at);
      }
      while (refused.next() && stands.next()) standing[refused.bytes()] = static_cast<revision>(stands.number());
      while (kept_out.next()) barred.insert(kept_out.bytes());
      array_reader each[] = {array_reader(r.bytes(0, 8)),  array_reader(r.bytes(0, 9)),  array_reader(r.bytes(0, 10)),
                             array_reader(r.bytes(0, 11)), array_reader(r.bytes(0, 12)), array_reader(r.bytes(0, 13)),
                             array_reader(r.bytes(0, 14)), array_reader(r.bytes(0, 15))};
      while (std::all_of(std::begin(each), std::end(each), [](array_reader& a) { return a.next(); }))
        others.list.push_back(make_row({each[0].number(), each[2].number(), each[3].number(), each[4].number(),
                                        each[5].number(), each[6].number(), each[1].bytes(), each[7].bytes()}));
    }
  };

  postgres_options options_;
  bool has_table_ = false, began_ = false;
  link_ref t_, w_, snapshot_;
  revision swept_ = 0;
  std::vector<std::pair<int, std::string>> unfinished_;  // lost sessions that may still run what they were sent
  std::uint64_t appends_ = 0;                            // sent
  time_point peers_until_{};
  reactor::scope services_;  // last: ends first
};

}  // namespace

std::unique_ptr<log> make_postgres_log(postgres_options options) {
  return std::make_unique<postgres_log>(std::move(options));
}

}  // namespace kedge::datastore
