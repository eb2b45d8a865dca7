#include "datastore/mysql/mysql_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "datastore/guards.h"
#include "datastore/kine_log.h"
#include "datastore/limits.h"
#include "datastore/mysql/limits.h"
#include "datastore/mysql/schema.h"
#include "datastore/mysql/sql.h"

namespace kedge::datastore {

using namespace mysql;

namespace {

// The eight columns from `at` on.
kine_row row_at(const statement_result& r, int i, int at) {
  return make_row({r.number(i, at), r.number(i, at + 2), r.number(i, at + 3), r.number(i, at + 4), r.number(i, at + 5),
                   r.number(i, at + 6), r.bytes(i, at + 1), r.bytes(i, at + 7)});
}

// `live`: what was replaced counts as a row and is no entry.
kine_news read_news(const statement_result& r, bool live = false) {
  kine_news out;
  for (int i = 0; i < r.size(); ++i) {
    out.newest = static_cast<revision>(r.number(i, 0));
    out.compacted = static_cast<revision>(r.number(i, 1));
    if (r.null(i, 2)) continue;
    out.list.push_back(row_at(r, i, 2));
    if (live && r.number(i, 10) != 0) out.list.back().what.reset();
  }
  std::ranges::sort(out.list, {}, &kine_row::id);
  return out;
}

// Of letters that the table's character set has, and none behind which a comparison of padded texts would look away.
bool storable(std::string_view name) {
  return !name.empty() && name.size() <= name_bytes_max && name.back() != ' ' &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > 0; });
}

// The lock wait's end, a deadlock's victim, and a row of K3s's that came between a look and an insert.
bool worth_repeating(errc code) { return code == errc::timeout || code == errc::conflict; }

// What an error means for those who asked, without the server's words: those are in the log.
error meaning_of(errc code) {
  switch (code) {
    case errc::timeout: return {errc::unavailable, "the database is held by another session; try again"};
    case errc::conflict: return {errc::unavailable, "the database gave it up; try again"};
    case errc::exhausted: return {errc::exhausted, "the database's disk is full, or its numbers for rows are used up"};
    case errc::unavailable: return {errc::unavailable, "the database refuses for now"};
    default: return {errc::internal, "the database refuses; the reason is in this server's log"};
  }
}

class mysql_log final : public kine_log {
 public:
  explicit mysql_log(mysql_options o) : kine_log("MySQL " + mysql::describe(o.connection)), options_(std::move(o)) {}

  // ---- starting

  task<result<void>> open() override {
    bool tried_create = false;
    KEDGE_CO_TRY(t_, describe(co_await first_link<connection>(
                         [this, &tried_create]() -> task<result<link_ref>> {
                           auto c = co_await connect();
                           if (c || c.error().code != errc::not_found || !options_.makes_database ||
                               std::exchange(tried_create, true))
                             co_return c;
                           KEDGE_CO_CHECK(co_await create_database(options_.connection));
                           co_return co_await connect();
                         },
                         options_.start_wait)));
    KEDGE_CO_TRY(table_, describe(co_await inspect(*t_)));
    KEDGE_CO_TRY(auto who, describe(co_await t_->run(sql::identity)));
    kedge::log::info("{}: connected, server {}", description_, who.bytes(0, 2));
    co_return result<void>();
  }

  task<result<page>> load_live(revision after) override {
    if (!table_.there) co_return page();
    co_return co_await load_snapshot(after, true);
  }

  task<result<page>> load(revision after) override {
    if (!table_.there) co_return page();
    if (after == 0 || (snapshot_ && in_snapshot(after))) co_return co_await load_snapshot(after, false);
    end_snapshot();
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
    if (!table_.there) { KEDGE_CO_TRY(table_, describe(co_await inspect(*t_))); }
    KEDGE_CO_TRY(w_, describe(co_await connect()));
    KEDGE_CO_CHECK(describe(co_await mark_session(*w_)));
    began_ = true;
    services_.spawn(keep<connection>(t_, "reading ", reads, [this] { return renew(false); }, [](connection&) {}));
    services_.spawn(keep<connection>(
        w_, "writing ", writes, [this] { return renew(true); },
        [this](connection& c) { unfinished_.push_back(c.mark); }));
    co_return result<void>();
  }

  // ---- writing

  task<result<appended>> append(batch ops) override {
    for (auto& op : *ops) {
      if (!storable(op.name)) co_return fail(errc::invalid, fmt::format("{} can't be a key", quote(op.name)));
    }
    auto guards = number_guards(*ops);
    auto give_up = reactor::loop::current().now() + append_retry;
    error why;
    for (std::uint64_t sent = 0;;) {
      KEDGE_CO_TRY(auto sending, co_await turn_to_send());
      // What was sent after this one may have landed, and this one's answer has to come first.
      if (sent != 0 && sent != appends_) co_return fail(std::move(why));
      auto* link = w_.get();
      auto most = link->packet_bytes_max - std::min(link->packet_bytes_max, packet_head_bytes);
      auto text = sql::append(*ops, guards, {known_.at, known_.name, known_.previous}, table_.folds_case,
                              std::min(packet_bytes_about, most), page_rows, others_bytes_max);
      if (text.statement_bytes_max > most)
        co_return fail(errc::too_large, fmt::format("the database takes {} bytes at once (max_allowed_packet), and an "
                                                    "object needs {}",
                                                    link->packet_bytes_max, text.statement_bytes_max));
      ++appending_;
      last_news_ = reactor::loop::current().now();
      sent = ++appends_;
      auto r = link->send(std::move(text.packets), sql::give_up_append);
      sending.sent();
      co_await r->done.wait();
      --appending_;
      if (*r->value) {
        auto& said = **r->value;
        auto state = static_cast<sql::append_state>(said[text.answer].number(0, 0));
        if (state == sql::append_state::done) {
          all_well();
          auto w = outcomes_of(*ops, guards, text, said);
          co_await find_standing(*ops, w);
          co_return co_await settle(std::move(w));
        }
        if (state == sql::append_state::forked)
          co_return fail(fork(fmt::format("row {} is not what it was", known_.at)));
        if (state == sql::append_state::read_only) {
          if (w_.get() == link) link->abandon({errc::closed, "the server has become read only"});
          co_return fail(errc::unavailable, "the database has become read only");
        }
        why = meaning_of(errc::timeout);
        complain("the lock of the writers is not to be had");
        services_.spawn(name_blocker());
      } else {
        auto said = (*r->value).error();
        if (said.code == errc::closed)
          co_return fail(errc::unknown_outcome, "the connection to the database was lost during a write");
        bool used_up = said.code == errc::exhausted && (r->state == "167" || r->state == "1467");
        complain(used_up ? fmt::format("{}; {}", said.message, widening) : said.message);
        // What was not committed by then is rolled back before anything else is done there.
        if (r->done_statements.size() >= text.commit)
          co_return fail(errc::unknown_outcome,
                         "the database gave a write up, and whether before or after its commit is not known");
        if (said.code == errc::unavailable && w_.get() == link) link->abandon({errc::closed, said.message});
        why = meaning_of(said.code);
        if (!worth_repeating(said.code)) co_return fail(std::move(why));
      }
      if (reactor::loop::current().now() >= give_up) co_return fail(std::move(why));
      co_await reactor::sleep_for(std::chrono::milliseconds(10 + reactor::loop::current().random().next() % 40));
    }
  }

  // ---- reading

  task<result<past_page>> past(past_question q) override {
    KEDGE_CO_CHECK(co_await wait_for([this] { return can_read(); }));
    past_page out;
    out.at = std::min(q.upto, q.after + past_step_revisions);
    KEDGE_CO_TRY(auto r, co_await ask(sql::past(q, out.at, page_bytes_max)));
    if (r.size() == 0) co_return fail(errc::internal, "no answer to a question for the past");
    KEDGE_CO_CHECK(still_there(q.after, static_cast<revision>(r.number(0, 0))));
    std::int64_t last = 0;
    for (int i = 0; i < r.size() && !r.null(i, 2); ++i) {
      last = std::max(last, r.number(i, 2));
      auto found = row_at(r, i, 2);
      if (!found.what) continue;
      past_change c{std::move(*found.what), std::nullopt};
      if (r.number(i, 10) != 0) c.replaced = std::string(r.bytes(i, 11));
      out.changes.push_back(std::move(c));
    }
    std::ranges::sort(out.changes, {}, [](auto& c) { return c.what.at; });
    if (last != 0 && last < r.number(0, 1)) out.at = static_cast<revision>(last);
    co_return out;
  }

  task<result<revision>> current() override {
    KEDGE_CO_CHECK(co_await wait_for([this] { return can_read(); }));
    auto* link = t_.get();
    auto seen = known_.at;  // an answer on the other connection may overtake this one
    KEDGE_CO_TRY(auto r, co_await ask(sql::newest));
    if (r.size() != 1) co_return fail(errc::internal, "no answer to a question for the newest row");
    if (r.number(0, 1) != 0) {
      if (t_.get() == link) link->abandon({errc::closed, "the server has become read only"});
      co_return fail(errc::unavailable, "the database has become read only");
    }
    auto newest = static_cast<revision>(r.number(0, 0));
    if (newest < seen) co_return fail(fork(fmt::format("its newest row is {}, this server has {}", newest, seen)));
    found_newest(newest);
    co_return newest;
  }

  task<result<void>> compact(revision to) override {
    KEDGE_CO_TRY(auto link, co_await connect());
    auto& loop = reactor::loop::current();
    while (swept_ < to) {
      auto began = loop.now();
      KEDGE_CO_TRY(auto step, co_await link->run(sql::compaction_step(to, swept_, compaction_rows, compaction_kept)));
      auto upto = static_cast<revision>(step.number(0, 1));
      // What an earlier owner left behind lies anywhere, so the first time goes from the beginning.
      if (step.null(0, 0) || upto <= swept_) co_return result<void>();
      KEDGE_CO_CHECK(co_await link->run(sql::compact(step.number(0, 0), swept_, upto), "ROLLBACK"));
      swept_ = upto;
      co_await reactor::sleep_for(loop.now() - began);
    }
    co_return result<void>();
  }

  task<result<void>> tell_loss(revision seen) override {
    KEDGE_CO_TRY(auto c, co_await connect());
    co_return had_lock(co_await c->run(sql::tell_loss(seen), sql::give_up_append));
  }

  task<result<void>> pass_over(revision seen) override {
    co_return describe(had_lock(co_await t_->run(sql::pass_over(seen, revision_jump), sql::give_up_append)));
  }

  task<void> close() override {
    services_.cancel();
    gap_ = nullptr;
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
    return std::clamp<duration>((reactor::loop::current().now() - last_news_) / poll_part, poll_min, poll_max);
  }
  void found_news(bool) override { last_news_ = reactor::loop::current().now(); }
  std::string cause_of_loss() const override {
    return "It was restored, or a replica took over that had not received everything.";
  }

  static result<void> had_lock(result<statement_result> r) {
    if (!r) return fail(std::move(r).error());
    if (r->number(0, 0) != 1) return fail(errc::unavailable, "the lock of the writers is not to be had");
    return {};
  }

  // ---- connections

  task<result<link_ref>> connect() { return open_session(options_.connection); }

  task<result<link_ref>> renew(bool writer) {
    KEDGE_CO_TRY(auto c, co_await connect());
    if (writer) {
      while (!unfinished_.empty()) {
        auto mark = unfinished_.back();
        KEDGE_CO_CHECK(co_await end_session(*c, mark));
        unfinished_.pop_back();
      }
    }
    KEDGE_CO_CHECK(co_await same_history(*c));
    if (writer) KEDGE_CO_CHECK(co_await mark_session(*c));
    co_return c;
  }

  // On T. Errors are what they mean for the caller.
  task<result<statement_result>> ask(std::string statement) {
    if (!t_) co_return fail(errc::unavailable, "the database can't be reached");
    std::vector<std::string> packets;
    packets.push_back(std::move(statement));
    auto r = t_->send(std::move(packets));
    auto answer = co_await await_answer(*t_, r, read_patience);
    if (answer && !answer->empty()) co_return std::move(answer->back());
    if (answer) co_return fail(errc::internal, "the database gave no answer");
    if (answer.error().code == errc::closed)
      co_return fail(errc::unavailable, "the connection to the database was lost");
    if (r->state.empty()) co_return fail(std::move(answer).error());
    complain(answer.error().message);
    co_return fail(meaning_of(answer.error().code));
  }

  task<void> name_blocker() {
    auto r = co_await ask(sql::blocker);
    if (r && r->size() == 1)
      kedge::log::warning("{}: writes wait for session {} of {} at {} ({})", description_, r->number(0, 0),
                          quote(r->bytes(0, 1)), r->bytes(0, 2), r->bytes(0, 3).substr(0, 80));
  }

  // ---- history

  // Whether the newest row that was given out is still there as it was.
  task<result<void>> same_history(connection& c) {
    auto seen = known_;
    if (seen.at == 0) co_return result<void>();
    KEDGE_CO_TRY(auto r, co_await c.run(sql::lineage(seen.at, seen.value)));
    auto newest = static_cast<revision>(r.number(0, 0)), compacted = static_cast<revision>(r.number(0, 1));
    if (newest < seen.at)
      co_return fail(fork(fmt::format("its newest row is {}, this server has {}", newest, seen.at)));
    if (seen.name.empty() || (r.null(0, 2) && seen.at <= compacted)) co_return result<void>();
    if (r.null(0, 2) || r.bytes(0, 2) != seen.name || r.number(0, 3) != static_cast<std::int64_t>(seen.previous))
      co_return fail(fork(fmt::format("row {} is not {} any more", seen.at, seen.name)));
    // The same object may have been written again under the same number: the value tells.
    if (r.number(0, 5) == 0 && r.number(0, 4) == 0)
      co_return fail(fork(fmt::format("row {} has another value", seen.at)));
    co_return result<void>();
  }

  // ---- pages

  task<result<kine_news>> ask_news(revision after) override {
    KEDGE_CO_TRY(auto r, co_await ask(sql::news(after, page_rows, tail_bytes_max)));
    co_return read_news(r);
  }

  // First for rows that are there and not committed, which holds nobody up; a compaction may take its time. Then for
  // those who have drawn a number and not put their row there yet: for all who write, who are let go on at once. Where
  // one of them does not end, the numbers are taken, so that its row is refused.
  task<result<void>> look_into(gap& g, const kine_news& n) override {
    auto first = static_cast<revision>(n.list.front().id), horizon = static_cast<revision>(n.list.back().id);
    if (!gap_ || !gap_->usable()) { KEDGE_CO_TRY(gap_, co_await connect()); }
    auto ended = co_await gap_->run(sql::wait_for_rows(g.after, first));
    if (ended) {
      ended = co_await gap_->run(sql::stop_writers);
      if (ended) {
        KEDGE_CO_CHECK(co_await gap_->run(sql::let_writers));
        kedge::log::debug("{}: nothing will come between rows {} and {}", description_, g.after, first);
        explain(horizon);
        gap_ = nullptr;
        co_return result<void>();
      }
      if (worth_repeating(ended.error().code) && first - g.after - 1 <= gap_filled_max)
        ended = co_await gap_->run(sql::fill(g.after, first));
    }
    if (!ended && !worth_repeating(ended.error().code)) {
      gap_ = nullptr;
      complain(ended.error().message);
      co_return fail(meaning_of(ended.error().code));
    }
    if (!ended && reactor::loop::current().now() >= g.told) {
      g.told = time_point::max();
      kedge::log::warning(
          "{}: row {} may still come from a session whose transaction does not end (SHOW PROCESSLIST); "
          "waiting for it",
          description_, g.after + 1);
    }
    co_await reactor::sleep_for(gap_look_again);
    co_return result<void>();
  }

  task<result<kine_news>> ask_snapshot(revision after, bool live) override {
    if (after == 0) {
      snapshot_ = nullptr;
      KEDGE_CO_TRY(auto made, co_await connect());
      KEDGE_CO_CHECK(co_await made->run(sql::begin_snapshot));
      snapshot_ = std::move(made);
    }
    KEDGE_CO_TRY(auto r, co_await snapshot_->run(sql::news(after, page_rows, tail_bytes_max, live)));
    co_return read_news(r, live);
  }
  void end_snapshot() override { snapshot_ = nullptr; }

  // ---- what an append has done

  static written outcomes_of(const std::vector<operation>& ops, const numbered_guards& guards,
                             const sql::append_text& text, const std::vector<statement_result>& said) {
    auto& answer = said[text.answer];
    written out;
    out.told = static_cast<revision>(answer.number(0, 1));
    auto held = answer.bytes(0, 2);
    out.others.compacted = static_cast<revision>(answer.number(0, 3));
    for (int i = 0; i < answer.size() && !answer.null(i, 5); ++i) out.others.list.push_back(row_at(answer, i, 5));
    std::ranges::sort(out.others.list, {}, &kine_row::id);
    auto guarded = guards.of.begin();
    for (std::size_t i = 0; i < ops.size(); ++i) {
      bool stands = true;
      if (guarded != guards.of.end() && guarded->first == i) {
        for (auto place : guarded->second) stands = stands && place < held.size() && held[place] == '1';
        ++guarded;
      }
      auto& r = said[text.first + i];
      if (r.affected() == 1) {
        auto at = static_cast<revision>(r.insert_id());
        out.outcomes.push_back({outcome::status::committed, at});
        if (at > out.newest.at)
          out.newest = {at, ops[i].name, static_cast<revision>(answer.number(0, 4)),
                        ops[i].kind == change::remove ? std::string() : ops[i].value};
      } else {
        out.outcomes.push_back({stands ? outcome::status::conflict : outcome::status::guard_failed, 0});
      }
    }
    return out;
  }

  // What stands where something else was expected.
  task<void> find_standing(const std::vector<operation>& ops, written& w) {
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < ops.size(); ++i)
      if (w.outcomes[i].what == outcome::status::conflict) places.push_back(i);
    if (places.empty()) co_return;
    auto r = co_await ask(sql::standing(ops, places, table_.folds_case));
    for (int i = 0; r && i < r->size(); ++i) {
      auto place = static_cast<std::size_t>(r->number(i, 0));
      if (place < ops.size()) w.outcomes[place].at = static_cast<revision>(r->number(i, 1));
    }
  }

  mysql_options options_;
  table_facts table_;
  bool began_ = false;
  link_ref t_, w_, snapshot_, gap_;
  revision swept_ = 0;
  std::vector<std::string> unfinished_;  // marks of lost sessions that may still run what they were sent
  std::uint64_t appends_ = 0;            // sent
  time_point last_news_{};               // and own writes
  reactor::scope services_;              // last: ends first
};

}  // namespace

std::unique_ptr<log> make_mysql_log(mysql_options options) { return std::make_unique<mysql_log>(std::move(options)); }

}  // namespace kedge::datastore
