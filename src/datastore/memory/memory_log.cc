#include "datastore/memory/memory_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "datastore/history.h"
#include "datastore/limits.h"

namespace kedge::datastore {

class memory_log final : public log {
 public:
  memory_log(memory_database& db, const memory_link* link) : db_(db), link_(link) { db_.logs_.push_back(this); }
  ~memory_log() override { std::erase(db_.logs_, this); }

  task<result<void>> open() override {
    home_ = &reactor::loop::current();
    if (auto e = fault(db_.faults.fail_read)) co_return fail(*e);
    co_return result<void>();
  }
  task<result<page>> load(revision after) override {
    KEDGE_CO_CHECK(co_await passes());
    if (auto e = fault(db_.faults.fail_read)) co_return fail(*e);
    co_return co_await give_page(after);
  }
  task<result<void>> begin() override {
    if (db_.newest() == 0) {
      // The two rows that a new K3s database begins with; the first is no entry.
      std::vector<operation> first(2);
      first[0].name = "compact_rev_key";
      first[1].name = "/registry/health";
      first[1].value = R"({"health":"true"})";
      db_.commit(first);
    }
    co_return result<void>();
  }

  task<result<appended>> append(batch ops) override {
    // Answers come in the order of the calls, however long each takes.
    auto mine = std::make_shared<turn>();
    // Also when the caller drops this.
    struct passes_on {
      turn& t;
      ~passes_on() { t.over.set(); }
    } guard{*mine};
    auto before = std::exchange(last_, mine);
    if (before) co_await before->over.wait();
    auto give = [&](result<appended> r) {
      failed_until_ = r ? time_point{} : reactor::loop::current().now() + failure_told;
      return r;
    };
    auto in_doubt = [](error e) {
      e.code = errc::unknown_outcome;
      return fail(std::move(e));
    };
    if (auto d = delay(db_.faults.delay_before_commit); d.count() > 0) co_await reactor::sleep_for(d);
    if (auto p = co_await passes(); !p) co_return give(in_doubt(p.error()));
    if (auto e = fault(db_.faults.fail_before_commit)) co_return give(fail(*e));
    if (auto same = same_history(); !same) co_return give(fail(same.error()));
    std::vector<entry> others;
    for (auto after = given_; db_.shared_;) {
      auto p = db_.read(after);
      std::move(p.entries.begin(), p.entries.end(), std::back_inserter(others));
      after = p.at;
      if (p.done) break;
    }
    auto out = db_.commit(*ops);
    out.others = std::move(others);
    if (auto p = co_await passes(size_of(out.others)); !p) co_return give(in_doubt(p.error()));
    if (auto d = delay(db_.faults.delay_after_commit); d.count() > 0) co_await reactor::sleep_for(d);
    if (auto e = fault(db_.faults.fail_after_commit)) co_return give(fail(*e));
    for (auto& o : out.outcomes) {
      if (o.what == outcome::status::committed) given_ = std::max(given_, o.at);
    }
    co_return give(std::move(out));
  }

  task<result<page>> tail(revision after, time_point deadline) override {
    while (!db_.shared_ || db_.newest() <= after) {
      KEDGE_CO_CHECK(same_history());
      if (!co_await news_.wait_until(deadline)) {
        page none;
        none.at = after;
        co_return none;
      }
    }
    if (link_ && link_->cut) {
      co_await reactor::sleep_for(look_again);
      page none;
      none.at = after;
      co_return none;
    }
    if (auto e = fault(db_.faults.fail_read)) co_return fail(*e);
    KEDGE_CO_CHECK(same_history());
    if (after != 0 && after < db_.compacted())
      co_return fail(errc::expired,
                     fmt::format("revision {} is compacted: the history begins at {}", after, db_.compacted()));
    co_return co_await give_page(after);
  }
  task<result<past_page>> past(past_question q) override {
    if (auto e = fault(db_.faults.fail_read)) co_return fail(*e);
    if (q.after < db_.compacted()) co_return fail(errc::expired, fmt::format("revision {} is compacted", q.after));
    co_return db_.past(q);
  }
  task<result<revision>> current() override {
    KEDGE_CO_CHECK(co_await passes());
    if (auto e = fault(db_.faults.fail_read)) co_return fail(*e);
    KEDGE_CO_CHECK(same_history());
    auto newest = db_.newest();
    KEDGE_CO_CHECK(co_await arrives(0));
    co_return newest;
  }
  task<result<void>> compact(revision to) override {
    db_.compact(to);
    co_return result<void>();
  }
  task<result<void>> tell_loss(revision seen) override {
    KEDGE_CO_CHECK(co_await passes());
    db_.tell_loss(seen);
    co_return result<void>();
  }
  task<result<void>> pass_over(revision seen) override {
    db_.pass_over(seen);
    co_return result<void>();
  }
  task<void> close() override {
    db_.sync();
    co_return;
  }
  bool shared() const noexcept override { return db_.shared_; }
  result<void> healthy() const override {
    if (home_ && home_->now() < failed_until_)
      return fail(errc::unavailable, "the database in memory was told to fail");
    if (link_ && link_->cut) return fail(errc::unavailable, "the database in memory is cut off");
    return {};
  }
  std::string description() const override { return "a database in memory"; }

  void tell() {
    if (!home_) return;
    // Through the mailbox: the log may belong to another loop than the one that wrote.
    home_->post([this, alive = std::weak_ptr<int>(alive_)] {
      if (!alive.expired()) news_.pulse();
    });
  }

 private:
  struct turn {
    reactor::event over;
  };
  static std::optional<error> fault(const std::function<std::optional<error>()>& f) { return f ? f() : std::nullopt; }
  static duration delay(const std::function<duration()>& f) { return f ? f() : duration(0); }

  // Whether what was given out is still there.
  result<void> same_history() {
    if (losses_ == db_.losses_) return {};
    if (given_ > db_.left_)
      return fail(lost_history(fmt::format("revisions above {} are gone", db_.left_), "It was told to lose them."));
    losses_ = db_.losses_;
    return {};
  }

  static constexpr std::chrono::milliseconds look_again{20};
  static constexpr std::chrono::seconds failure_told{1};
  static std::size_t size_of(const std::vector<entry>& entries) {
    std::size_t n = 0;
    for (auto& e : entries) n += e.name.size() + e.value.size();
    return n;
  }
  // The way there, or back with so many bytes.
  task<result<void>> passes(std::size_t n = 0) {
    if (!link_) co_return result<void>();
    auto until = reactor::loop::current().now() + memory_answer_wait;
    while (link_->cut) {
      if (reactor::loop::current().now() >= until)
        co_return fail(errc::unavailable, "the database in memory does not answer");
      co_await reactor::sleep_for(look_again);
    }
    if (n && link_->bytes_per_second)
      co_await reactor::sleep_for(std::chrono::microseconds(n * 1'000'000 / link_->bytes_per_second));
    co_return result<void>();
  }

  task<result<void>> arrives(std::size_t n) {
    if (auto d = delay(db_.faults.delay_read); d.count() > 0) co_await reactor::sleep_for(d);
    co_return co_await passes(n);
  }

  task<result<page>> give_page(revision after) {
    auto out = db_.read(after);
    KEDGE_CO_CHECK(co_await arrives(size_of(out.entries)));
    given_ = std::max(given_, out.at);
    co_return out;
  }

  memory_database& db_;
  const memory_link* link_;
  unsigned losses_ = db_.losses_;
  revision given_ = 0;  // everything up to here is with the caller
  reactor::loop* home_ = nullptr;
  reactor::event news_;
  std::shared_ptr<turn> last_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
  time_point failed_until_{};  // nothing else than an append finds out that they work again
};

appended memory_database::commit(const std::vector<operation>& ops) {
  appended out;
  for (auto& op : ops) {
    auto head = heads_.find(op.name);
    revision standing = head == heads_.end() ? 0 : head->second;
    bool live = live_at(op.name) != 0;
    if (std::any_of(op.guards.begin(), op.guards.end(),
                    [&](const guard& g) { return live_at(g.name) != g.expected; })) {
      out.outcomes.push_back({outcome::status::guard_failed, 0});
      continue;
    }
    bool fits = op.kind == change::create ? !live : live && standing == op.expected;
    if (!fits) {
      out.outcomes.push_back({outcome::status::conflict, live ? standing : 0});
      continue;
    }
    auto at = ++newest_;
    heads_.insert_or_assign(op.name, at);
    rows_[at] = {at,
                 op.kind,
                 op.name,
                 op.value,
                 standing,
                 op.kind == change::create   ? at
                 : op.kind == change::update ? op.created
                                             : 0,
                 op.lease_seconds};
    out.outcomes.push_back({outcome::status::committed, at});
  }
  if (durability_ == durability::each_commit) sync();
  for (auto* l : logs_) l->tell();
  return out;
}

revision memory_database::live_at(std::string_view name) const {
  auto head = heads_.find(name);
  auto row = head == heads_.end() ? rows_.end() : rows_.find(head->second);
  return row != rows_.end() && row->second.kind != change::remove ? row->first : 0;
}

const entry* memory_database::newest_of(std::string_view name) const {
  auto at = live_at(name);
  return at ? &rows_.at(at) : nullptr;
}

page memory_database::read(revision after) const {
  page out;
  out.compacted = compacted_;
  out.at = std::max(after, newest_);
  std::size_t bytes = 0;
  for (auto i = rows_.upper_bound(after); i != rows_.end(); ++i) {
    if (out.entries.size() >= page_entries_max || bytes >= page_bytes_max) {
      out.at = out.entries.back().at;
      out.done = false;
      break;
    }
    bytes += i->second.name.size() + i->second.value.size();
    if (i->second.name != "compact_rev_key") out.entries.push_back(i->second);
  }
  return out;
}

past_page memory_database::past(const past_question& q) const {
  past_page out;
  out.at = std::min(q.upto, q.after + past_step_revisions);
  std::size_t bytes = 0;
  for (auto i = rows_.upper_bound(q.after); i != rows_.end() && i->first <= out.at; ++i) {
    auto& e = i->second;
    if (!e.name.starts_with(q.prefix) || e.name == "compact_rev_key" || e.previous > q.replaced_max) continue;
    past_change c{e, std::nullopt};
    if (auto before = rows_.find(e.previous); before != rows_.end() && before->second.kind != change::remove)
      c.replaced = before->second.value;
    if (q.replaced_max != UINT64_MAX) c.what.value.clear();
    bytes += c.what.value.size() + (c.replaced ? c.replaced->size() : 0);
    out.changes.push_back(std::move(c));
    if (bytes >= page_bytes_max) {
      out.at = i->first;
      break;
    }
  }
  return out;
}

void memory_database::compact(revision to) {
  compacted_ = std::max(compacted_, to);
  // As kine: what a change up to here has replaced goes, and so do the tombstones.
  for (auto i = rows_.begin(); i != rows_.end() && i->first <= compacted_;) {
    rows_.erase(i->second.previous);
    bool tombstone = i->second.kind == change::remove;
    if (auto head = heads_.find(i->second.name); tombstone && head != heads_.end() && head->second == i->first)
      heads_.erase(head);
    i = tombstone ? rows_.erase(i) : std::next(i);
  }
}

void memory_database::lose_power() {
  if (durable_ == newest_) return;
  auto seen = newest_;
  lose_after(durable_);
  pass_over(seen);
  sync();
}

void memory_database::lose_after(revision last) {
  rows_.erase(rows_.upper_bound(last), rows_.end());
  heads_.clear();
  for (auto& [at, e] : rows_) heads_[e.name] = at;
  newest_ = std::min(newest_, last);
  durable_ = std::min(durable_, newest_);
  compacted_ = std::min(compacted_, newest_);
  left_ = newest_;
  ++losses_;
  for (auto* l : logs_) l->tell();
}

void memory_database::tell_loss(revision seen) {
  auto standing = live_at(loss_name);
  if (standing && std::stoull(rows_[standing].value) >= seen) return;
  operation op{standing ? change::update : change::create, std::string(loss_name), std::to_string(seen), standing};
  if (standing) op.created = rows_[standing].created;
  commit({op});
}

void memory_database::pass_over(revision seen) {
  if (compacted_ >= seen) return;
  newest_ = std::max(newest_, seen) + revision_jump;
  compacted_ = newest_;
  sync();
  for (auto* l : logs_) l->tell();
}

std::unique_ptr<log> make_memory_log(memory_database& db, const memory_link* link) {
  return std::make_unique<memory_log>(db, link);
}

}  // namespace kedge::datastore
