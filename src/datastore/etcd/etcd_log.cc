#include "datastore/etcd/etcd_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "base/random.h"
#include "base/strings.h"
#include "datastore/etcd/connection.h"
#include "datastore/etcd/members.h"
#include "datastore/etcd/news.h"
#include "datastore/limits.h"
#include "datastore/shared_log.h"

namespace kedge::datastore {

using namespace etcd;

namespace {

constexpr std::string_view health_key = "/registry/health", health_value = R"({"health":"true"})";
// Beside the cluster's keys, so that nobody takes them for objects.
constexpr std::string_view fences = "/kedge-fence/", gap_key = "/kedge-fence/gap";
constexpr std::string_view prefixes[] = {"/bootstrap/", "/kedge/", "/registry/"};

std::string describe_target(const settings& s) {
  std::string out = "etcd ";
  for (auto& m : s.members) out += (&m == &s.members.front() ? "" : ",") + m.url();
  return out;
}

error no_space() {
  return {errc::exhausted,
          "etcd has raised the alarm NOSPACE and takes no writes: its database has reached --quota-backend-bytes. "
          "Compact and defragment it, or give it more, then disarm the alarm (etcdctl alarm disarm)"};
}

entry own_entry(const operation& op, revision at) {
  bool gone = op.kind == change::remove;
  return {at,
          op.kind,
          op.name,
          gone ? std::string() : op.value,
          op.expected,
          op.kind == change::create ? at
          : gone                    ? 0
                                    : op.created,
          gone ? 0 : op.lease_seconds};
}

struct released {
  reactor::semaphore& of;
  ~released() { of.release(); }
};

class etcd_log final : public shared_log {
 public:
  explicit etcd_log(etcd_options o) : shared_log(describe_target(o.cluster)), options_(std::move(o)) {
    fence_key_ = fmt::format("{}{:016x}", fences, system_random().next());
  }

  // ---- starting

  task<result<void>> open() override {
    KEDGE_CO_TRY(looker_, describe(co_await first_link<connection>([this] { return connect(); }, options_.start_wait)));
    co_return result<void>();
  }

  task<result<page>> load(revision after) override {
    if (doubt_ && began_) co_return fail(errc::unavailable, "what was sent to the database may still land");
    if (after == 0) {
      KEDGE_CO_TRY(compacted_, describe(co_await asked_of_anybody([](auto& c) { return c.compacted(); })));
      loaded_.clear();
      if (compacted_) { KEDGE_CO_CHECK(describe(co_await read_what_stood(compacted_))); }
      loaded_upto_ = after = compacted_;
    } else if (after != loaded_at_) {
      loaded_.clear();
    }
    if (loaded_.empty()) co_return co_await load_changes(after);
    auto out = next_loaded();
    out.compacted = compacted_;
    out.done = false;  // what was changed since
    co_return out;
  }

  task<result<page>> load_live(revision after) override {
    if (after == 0) {
      KEDGE_CO_TRY(compacted_, describe(co_await asked_of_anybody([](auto& c) { return c.compacted(); })));
      KEDGE_CO_TRY(loaded_upto_, co_await newest());
      KEDGE_CO_CHECK(describe(co_await read_what_stood(loaded_upto_)));
    }
    auto out = next_loaded();
    out.compacted = compacted_;
    out.done = loaded_.empty();
    co_return out;
  }

  task<result<void>> begin() override {
    KEDGE_CO_TRY(auto at, co_await newest());
    if (at == 1) {
      transaction first{.when = {{health_key, 0}}, .key = health_key, .value = health_value};
      KEDGE_CO_CHECK(describe(co_await looker_->ask(method::txn, encode(first))));
    }
    recent_.begin(told_);
    w_ = std::move(looker_);
    began_ = true;
    services_.spawn(keep<connection>(w_, "", patience_, [this] { return make_writer(); }, [](connection&) {}));
    services_.spawn(follow_news());
    services_.spawn(watch_over());
    co_return result<void>();
  }

  task<result<void>> tell_loss(revision seen) override {
    // The log may have stopped for good: a connection of its own.
    KEDGE_CO_TRY(auto c, co_await any_member(options_.cluster, reactor::loop::current().now() + connect_timeout));
    for (;;) {
      KEDGE_CO_TRY(auto told, co_await c->range({.key = std::string(loss_name)}));
      auto standing = told.found.empty() ? key_value() : told.found.front();
      if (parse_uint(standing.value).value_or(0) >= seen) co_return result<void>();
      auto text = std::to_string(seen);
      transaction t{.when = {{loss_name, standing.modified}}, .key = loss_name, .value = text};
      KEDGE_CO_TRY(auto answer, co_await c->ask(method::txn, encode(t)));
      KEDGE_CO_TRY(auto done, decode_transaction(answer));
      if (done.succeeded) co_return result<void>();
    }
  }

  // etcd counts up by what is written, and by nothing else.
  task<result<void>> pass_over(revision seen) override {
    KEDGE_CO_TRY(auto compacted, describe(co_await asked_of_anybody([](auto& c) { return c.compacted(); })));
    if (compacted >= seen) co_return result<void>();
    KEDGE_CO_TRY(auto at, co_await newest());
    auto height = std::max(at, seen) + options_.revision_jump;
    if (height - at > jump_max)
      co_return fail(
          errc::unsupported,
          fmt::format(
              "{}: its revision is {}, and clients have seen {}: too many to be passed over by writing. Restore "
              "it with etcd's own tool, which can: etcdutl snapshot restore --bump-revision {} --mark-compacted",
              description_, at, seen, height - at));
    kedge::log::info("{}: revisions are passed over up to {}", description_, height);
    KEDGE_CO_CHECK(describe(co_await write_gap(height - at)));
    KEDGE_CO_TRY(at, co_await newest());
    co_return co_await compact(at);
  }

  // ---- writing

  task<result<appended>> append(batch ops) override {
    // One batch after the other: what the second depends on may be in the first.
    co_await turn_.acquire();
    released after{turn_};
    auto give_up = reactor::loop::current().now() + append_retry;
    for (;;) {
      KEDGE_CO_CHECK(co_await wait_for([this] { return can_write(); }));
      auto leases = co_await leases_for(*ops);
      if (!leases) co_return fail(meant(std::move(leases).error()));
      if (!can_write()) continue;
      ++appending_;
      auto state = co_await send_all(ops, std::move(*leases));
      auto done = co_await settle(ops, std::move(state));
      --appending_;
      if (done || done.error().code != errc::refused) co_return done;
      // Refused for what passes.
      if (reactor::loop::current().now() >= give_up) co_return fail(errc::unavailable, "the database refuses for now");
      co_await reactor::sleep_for(link_retry_min);
    }
  }

  // ---- reading

  task<result<past_page>> past(past_question q) override {
    KEDGE_CO_CHECK(co_await wait_for([this] { return can_look(); }));
    auto upto = std::min(q.upto, q.after + past_step_revisions);
    if (q.after < compacted_) co_return fail(expired(q.after));
    KEDGE_CO_TRY(auto found, co_await read_history(q.after, upto));
    past_page out;
    out.at = found.upto;
    for (auto& e : found.events) {
      if (!is_ours(e.now.key) || !e.now.key.starts_with(q.prefix) || e.before.modified > q.replaced_max) continue;
      auto& c = out.changes.emplace_back();
      if (e.has_before) c.replaced = std::move(e.before.value);
      c.what = to_entry(std::move(e));
      if (q.replaced_max != UINT64_MAX) c.what.value.clear();
    }
    co_return out;
  }

  task<result<revision>> current() override {
    auto seen = seen_so_far();
    KEDGE_CO_TRY(auto at, co_await newest());
    if (at < seen) co_return fail(fork(fmt::format("its newest revision is {}, this server has {}", at, seen)));
    found_newest(at);
    co_return at;
  }

  task<result<void>> compact(revision to) override {
    KEDGE_CO_CHECK(co_await wait_for([this] { return can_look(); }));
    auto done = co_await link()->ask(method::compact, encode_compaction(to), false);
    if (!done && meaning_of(done.error()) != meaning::compacted) co_return fail(meant(std::move(done).error()));
    compacted_ = std::max(compacted_, to);
    co_return result<void>();
  }

  std::optional<space> occupied() const override { return space_; }
  bool in_one_piece() const noexcept override { return false; }

  task<void> close() override {
    services_.cancel();
    looker_ = nullptr;
    w_ = nullptr;
    co_return;
  }

 private:
  using connection_ref = std::unique_ptr<connection>;

  connection* link() const { return w_ ? w_.get() : looker_.get(); }
  result<void> can_look() const { return answers(link(), patience_); }
  result<void> can_read() const override { return answers(w_.get(), patience_); }
  result<void> can_write() const override {
    KEDGE_CHECK(can_read());
    if (full_) return fail(no_space());
    if (doubt_) return fail(errc::unavailable, "the connection to the database was lost during a write");
    return {};
  }
  duration poll() const override { return poll_interval; }
  revision known_at() const override { return told_; }
  revision seen_so_far() const { return std::max(told_, recent_.upto()); }
  std::string cause_of_loss() const override {
    return "It was restored from a snapshot, made anew, or the endpoint leads to another cluster.";
  }

  static error expired(revision after) {
    return {errc::expired, fmt::format("revision {} is compacted: the history begins later", after)};
  }

  // What an error of etcd is for who asked, without its words: those are in the log.
  error meant(error e) {
    auto means = meaning_of(e);
    if (means == meaning::no_space) {
      full_ = true;
      return no_space();
    }
    if (means == meaning::compacted) return {errc::expired, "the revision is compacted"};
    if (e.code == errc::corrupt || e.code == errc::expired) return e;
    if (e.code != errc::closed && e.code != errc::timeout) complain(e.message);
    if (means == meaning::forbidden)
      return {errc::internal, "the database refuses; the reason is in this server's log"};
    return {errc::unavailable,
            e.code == errc::closed ? "the connection to the database was lost" : "the database does not answer"};
  }

  template <typename F>
  auto asked_of_anybody(F f) -> decltype(f(std::declval<connection&>())) {
    if (auto can = can_look(); !can) co_return fail(std::move(can).error());
    co_return co_await f(*link());
  }

  // ---- connections

  task<result<connection_ref>> connect() {
    KEDGE_CO_TRY(auto c, co_await any_member(options_.cluster, reactor::loop::current().now() + connect_timeout));
    auto& at = c->at();
    if (cluster_ && at.cluster != cluster_)
      co_return fail(fork(fmt::format("it is the cluster {:x}, and was {:x}", at.cluster, cluster_)));
    if (at.revision < seen_so_far())
      co_return fail(fork(fmt::format("its newest revision is {}, this server has {}", at.revision, seen_so_far())));
    if (!cluster_ || member_ != c->member_url())
      kedge::log::info("{}: etcd {} at {}, cluster {:x}", description_, c->status().version, c->member_url(),
                       at.cluster);
    cluster_ = at.cluster;
    member_ = c->member_url();
    look_at(c->status());
    if (options_.learn_members)
      if (auto all = co_await list_members(*c)) learn(*all);
    co_return c;
  }

  // What was on its way over the link before never comes from here on.
  task<result<connection_ref>> make_writer() {
    KEDGE_CO_TRY(auto c, co_await connect());
    if (!doubt_) co_return c;
    auto lease = lease_number(fence_kept_s, static_cast<std::uint32_t>(system_random().next()));
    auto granted = co_await c->ask(method::lease_grant, encode_lease_grant(lease, fence_kept_s));
    if (!granted) co_return fail(std::move(granted).error());
    transaction t{.key = fence_key_, .value = "1", .lease = lease};
    auto put = co_await c->ask(method::txn, encode(t));
    if (!put && meaning_of(put.error()) == meaning::no_space) {
      full_ = true;  // it can be read, and nothing written
      co_return c;
    }
    if (!put) co_return fail(std::move(put).error());
    KEDGE_CO_TRY(auto done, decode_transaction(*put));
    fence_ = done.from.revision;
    doubt_ = false;
    co_return c;
  }

  void look_at(const status_answer& s) {
    space_ = space{s.bytes, s.bytes > s.bytes_in_use ? s.bytes - s.bytes_in_use : 0};
    bool full =
        std::any_of(s.errors.begin(), s.errors.end(), [](auto& e) { return e.find("NOSPACE") != std::string::npos; });
    if (full && !full_) kedge::log::error("{}: {}", description_, no_space().message);
    if (!full && full_) kedge::log::info("{}: the alarm NOSPACE is over", description_);
    full_ = full;
  }

  // The watch over everything, for as long as the log lives.
  task<void> follow_news() {
    for (;; co_await reactor::sleep_for(link_retry_min)) {
      if (!can_read() || forked()) continue;
      auto from = recent_.upto();
      auto opened = co_await w_->events(std::max<revision>(from, 1));
      if (!opened) {
        if (w_) w_->abandon({errc::closed, opened.error().message});
        continue;
      }
      auto stream = std::move(*opened);
      for (bool first = true;; first = false) {
        auto piece = co_await stream->next();
        if (!piece) {
          co_await watch_ended(*stream, std::move(piece).error());
          break;
        }
        // It begins with what is known already, which has to be what it was.
        if (first && recent_.mark() && piece->events.front().now.modified == from &&
            news::mark_of(piece->events, from) != recent_.mark()) {
          fork(fmt::format("revision {} is not what it was", from));
          break;
        }
        recent_.take(std::move(*piece));
        hint(recent_.upto());
        // Who follows is slow, or gone; an append that waits for what is before its own takes all of it.
        while (recent_.full() && appending_ == 0)
          co_await room_.wait_until(reactor::loop::current().now() + poll_interval);
      }
    }
  }

  task<void> watch_ended(event_stream& stream, error why) {
    if (why.code == errc::expired) {
      // It was away for so long that the history has gone. Who follows learns it by asking for that.
      if (auto at = co_await newest()) {
        compacted_ = std::max(compacted_, stream.compacted());
        recent_.begin(*at);
        hint(*at);
      }
      co_return;
    }
    if (why.code == errc::forbidden)
      complain(fmt::format("the user may not watch all keys, which is needed ({})", why.message));
    stream.abandon({errc::closed, why.message});
  }

  // Asks a majority when nothing else does, and gives up a member that doesn't answer.
  task<void> watch_over() {
    auto& loop = reactor::loop::current();
    reactor::scope questions;
    auto next_status = loop.now() + status_interval;
    for (;;) {
      bool busy = w_ && w_->oldest() > duration::zero();
      co_await reactor::sleep_for(busy ? watch_over_interval : probe_interval);
      if (!w_ || !w_->usable()) continue;
      if (w_->silent() >= give_up_after || w_->oldest() >= give_up_after) {
        w_->abandon({errc::timeout, fmt::format("{} does not answer", w_->member_url())});
        continue;
      }
      if (full_ && doubt_ && loop.now() >= next_status) w_->abandon({errc::closed, "looking whether it takes writes"});
      if (questions.size() > 0) continue;
      if (loop.now() >= next_status) {
        next_status = loop.now() + (full_ ? status_interval / 5 : duration(status_interval));
        questions.spawn(ask_status());
      }
      if (!busy) questions.spawn(probe());
    }
  }

  task<void> probe() {
    auto* asked = w_.get();
    auto answer = co_await asked->range({.key = std::string(health_key), .count_only = true});
    if (answer || w_.get() != asked || !w_->usable()) co_return;
    // Proposals that were on their way when the leader changed are gone with it, and nobody says so.
    auto means = meaning_of(answer.error());
    if (means == meaning::not_now || means == meaning::unknown) w_->abandon({errc::closed, answer.error().message});
  }

  task<void> ask_status() {
    auto answer = co_await w_->ask(method::status, {}, false);
    if (!answer) co_return;
    if (auto s = decode_status(*answer)) look_at(*s);
    if (!options_.learn_members || !w_) co_return;
    if (auto all = co_await list_members(*w_)) learn(*all);
  }

  // Of the members that are there, those that can be asked.
  void learn(const std::vector<cluster_member>& all) {
    std::vector<member> found{options_.cluster.members.front()};
    for (auto& m : all)
      for (auto& url : m.client_urls)
        if (auto s = parse_endpoint(url); s && !m.learner && found.size() < members_max)
          found.push_back(std::move(s->members.front()));
    options_.cluster.members = std::move(found);
  }

  // The newest revision, as a majority has it.
  task<result<revision>> newest() {
    auto until = reactor::loop::current().now() + answer_patience;
    for (;;) {
      KEDGE_CO_CHECK(co_await wait_for([this] { return can_look(); }));
      auto answer = co_await reactor::with_deadline(link()->range({.key = std::string(health_key), .count_only = true}),
                                                    reactor::loop::current().now() + answer_patience);
      if (answer) co_return answer->from.revision;
      if (meaning_of(answer.error()) != meaning::not_now || reactor::loop::current().now() >= until)
        co_return fail(meant(std::move(answer).error()));
      co_await reactor::sleep_for(link_retry_min);
    }
  }

  // ---- pages

  // What stood at a revision, in the order of its own revisions, to be given page by page.
  task<result<void>> read_what_stood(revision at) {
    loaded_.clear();
    std::vector<entry> all;
    for (auto prefix : prefixes) {
      range_request r{.key = std::string(prefix), .end = end_of(prefix), .limit = page_keys_first, .revision = at};
      for (bool more = true; more;) {
        auto asked = link();
        if (!asked) co_return fail(errc::unavailable, "the database can't be reached");
        auto got = co_await asked->range(r);
        if (!got && meaning_of(got.error()) == meaning::compacted) co_return fail(expired(at));
        if (!got) co_return fail(meant(std::move(got).error()));
        std::size_t bytes = 0;
        for (auto& kv : got->found) {
          bytes += kv.value.size();
          all.push_back(to_entry(kv));
        }
        more = got->more && !got->found.empty();
        if (!more) break;
        // The next page as large as fills a message of the size that is wanted, if they are like these.
        r.key = got->found.back().key + '\0';
        auto fitting = page_bytes_wanted / std::max<std::size_t>(1, bytes / got->found.size());
        r.limit = std::clamp<std::size_t>(fitting, 1, std::min<std::size_t>(page_keys_max, 2 * got->found.size()));
        co_await reactor::maybe_yield();
      }
    }
    std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.at < b.at; });
    loaded_ = {std::make_move_iterator(all.begin()), std::make_move_iterator(all.end())};
    co_return result<void>();
  }

  page next_loaded() {
    page out;
    std::size_t bytes = 0;
    while (!loaded_.empty() &&
           ((out.entries.size() < page_entries_max && bytes < page_bytes_max) || loaded_.front().at == out.at)) {
      auto& e = loaded_.front();
      bytes += e.name.size() + e.value.size();
      out.at = e.at;
      out.entries.push_back(std::move(e));
      loaded_.pop_front();
    }
    if (loaded_.empty()) out.at = loaded_upto_;
    loaded_at_ = out.at;
    tell(out.at);
    return out;
  }

  void tell(revision at) {
    told_ = std::max(told_, at);
    recent_.given(told_);
    room_.pulse();
  }

  // Everything after a revision that is there by now.
  task<result<page>> load_changes(revision after) {
    KEDGE_CO_TRY(auto target, co_await newest());
    if (target < after)
      co_return fail(fork(fmt::format("its newest revision is {}, this server has {}", target, after)));
    page out;
    // A new etcd is at revision 1, and nothing was changed by that.
    out.at = std::max<revision>(after, 1);
    if (target > out.at) {
      if (began_ && after >= recent_.from()) {
        KEDGE_CO_CHECK(co_await news_up_to(target));
        out = recent_.read(after);
      } else {
        KEDGE_CO_TRY(out, co_await read_changes(after, target));
      }
    }
    out.compacted = compacted_;
    out.done = out.at >= target;
    tell(out.at);
    co_return out;
  }

  task<result<page>> read_from(revision after) override {
    page out;
    if (after >= recent_.from()) {
      out = recent_.read(after);
    } else {
      KEDGE_CO_TRY(out, co_await read_changes(after, recent_.upto()));
    }
    out.compacted = compacted_;
    tell(out.at);
    co_return out;
  }

  task<result<page>> read_changes(revision after, revision upto) {
    KEDGE_CO_TRY(auto found, co_await read_history(after, upto));
    page out;
    out.at = found.upto;
    for (auto& e : found.events) out.entries.push_back(to_entry(std::move(e)));
    out.done = out.at >= upto;
    co_return out;
  }

  // Changes in (after, upto], as many as are a page: whole revisions.
  task<result<event_stream::piece>> read_history(revision after, revision upto) {
    if (!link()) co_return fail(errc::unavailable, "the database can't be reached");
    // From one that is known on: so that it is told when that is compacted.
    auto opened = co_await link()->events(std::max<revision>(after, 1));
    if (!opened) co_return fail(meant(std::move(opened).error()));
    auto stream = std::move(*opened);
    event_stream::piece out;
    out.upto = after;
    for (std::size_t bytes = 0; out.upto < upto && bytes < page_bytes_max;) {
      auto piece = co_await reactor::with_deadline(stream->next(), reactor::loop::current().now() + give_up_after);
      if (!piece && piece.error().code == errc::expired) {
        compacted_ = std::max(compacted_, stream->compacted());
        co_return fail(expired(after));
      }
      if (!piece) co_return fail(meant(std::move(piece).error()));
      bool whole = true;
      for (auto& e : piece->events) {
        auto at = e.now.modified;
        if (at <= after) continue;
        if (at > upto || (bytes >= page_bytes_max && at != out.upto)) {
          whole = false;
          break;
        }
        bytes += e.now.key.size() + e.now.value.size() + e.before.value.size();
        out.upto = at;
        out.events.push_back(std::move(e));
      }
      if (whole) out.upto = std::max(out.upto, std::min(piece->upto, upto));
      if (!whole && out.upto < upto && bytes < page_bytes_max) out.upto = upto;
    }
    co_return out;
  }

  task<result<void>> news_up_to(revision at) {
    auto until = reactor::loop::current().now() + append_retry;
    while (recent_.upto() < at) {
      KEDGE_CO_CHECK(can_read());
      if (reactor::loop::current().now() >= until) co_return fail(errc::unavailable, "the database's watch is silent");
      co_await news_.wait_until(std::min(until, reactor::loop::current().now() + silence_interval));
    }
    co_return result<void>();
  }

  // ---- what an append has done

  struct lease {
    std::uint64_t number = 0;
    time_point shared_until{};
    std::size_t keys = 0;
  };

  // One for each operation, 0 where it has none.
  task<result<std::vector<std::uint64_t>>> leases_for(const std::vector<operation>& ops) {
    std::vector<std::uint64_t> out(ops.size());
    for (std::size_t i = 0; i < ops.size(); ++i) {
      auto seconds = ops[i].kind == change::remove ? 0 : ops[i].lease_seconds;
      if (seconds == 0) continue;
      auto now = reactor::loop::current().now();
      auto known = leases_.find(seconds);
      if (known == leases_.end() || now >= known->second.shared_until || known->second.keys >= lease_keys_max) {
        auto shared = std::clamp(seconds / 20, lease_shared_min_s, lease_shared_max_s);
        auto number = lease_number(seconds, static_cast<std::uint32_t>(system_random().next()));
        if (!can_write()) co_return fail(errc::closed, "the connection was lost");
        auto granted = co_await w_->ask(method::lease_grant,
                                        encode_lease_grant(number, std::uint64_t(seconds) + shared + lease_slack_s));
        if (!granted) co_return fail(std::move(granted).error());
        if (leases_.size() >= lease_kinds_max) leases_.clear();
        known = leases_.insert_or_assign(seconds, lease{number, now + std::chrono::seconds(shared), 0}).first;
      }
      ++known->second.keys;
      out[i] = known->second.number;
    }
    co_return out;
  }

  using answer = std::optional<result<transaction_answer>>;

  // The answers of all. Those that were not sent, because the connection was lost before, have none.
  task<std::vector<answer>> send_all(batch ops, std::vector<std::uint64_t> leases) {
    std::vector<answer> out(ops->size());
    reactor::semaphore room(transactions_in_flight_max);
    reactor::scope sending;
    auto* over = w_.get();
    for (std::size_t i = 0; i < ops->size(); ++i) {
      co_await room.acquire();
      if (w_.get() != over || !over->usable()) break;
      auto& op = (*ops)[i];
      transaction t{.when = {{op.name, op.kind == change::create ? 0 : op.expected}, {fence_key_, fence_}},
                    .what = op.kind == change::remove ? transaction::change::remove : transaction::change::put,
                    .key = op.name,
                    .value = op.value,
                    .lease = leases[i],
                    .reads = {op.name, fence_key_}};
      for (auto& g : op.guards) t.when.push_back({g.name, g.expected});
      sending.spawn([](task<result<std::string>> asked, answer& to, reactor::semaphore& back) -> task<void> {
        auto text = co_await asked;
        to = text ? decode_transaction(*text) : result<transaction_answer>(fail(std::move(text).error()));
        back.release();
      }(over->ask(method::txn, encode(t)), out[i], room));
    }
    co_await sending.join();
    co_return out;
  }

  // errc::refused: nothing landed, for a reason that passes.
  task<result<appended>> settle(batch ops, std::vector<answer> answers) {
    appended out;
    bool sent = false, lost = false, passing = false, forbidden = false, full = false;
    std::set<revision> own;
    for (std::size_t i = 0; i < ops->size(); ++i) {
      auto& a = answers[i];
      auto& o = out.outcomes.emplace_back(outcome{outcome::status::refused, 0});
      if (!a) {
        passing = true;
      } else if (*a) {
        o = outcome_of((*ops)[i], **a);
        passing = passing || o.what == outcome::status::refused;
        if (o.what == outcome::status::committed) own.insert(o.at);
      } else {
        auto& e = a->error();
        auto means = meaning_of(e);
        if (e.code != errc::closed && means != meaning::too_large) complain(e.message);
        lost = lost || means == meaning::unknown;
        passing = passing || means == meaning::not_now;
        full = full || means == meaning::no_space;
        forbidden = forbidden || means == meaning::forbidden;
        if (means == meaning::too_large)
          out.refused = error(errc::too_large, "the value is larger than etcd takes (--max-request-bytes)");
      }
      sent = sent || a.has_value();
    }
    if (full) full_ = true;
    if (forbidden) out.refused = error(errc::internal, "the database refuses; the reason is in this server's log");
    if (lost) co_return fail(in_doubt());
    // The one that finds the quota reached has landed, and is told the same as those that have not.
    if (full) co_return fail(errc::unknown_outcome, no_space().message);
    // A new connection has a new token, or a fence that stands.
    if (passing && sent && w_) w_->abandon({errc::closed, "etcd refuses for now"});
    if (own.empty()) {
      if (passing) co_return fail(errc::refused, "etcd refuses for now");
      if (forbidden) co_return fail(std::move(*out.refused));
      co_return out;
    }
    if (passing && !out.refused) out.refused = error(errc::unavailable, "the database refuses for now");
    all_well();
    KEDGE_CO_CHECK(co_await give_what_lies_before(ops, own, out));
    co_return out;
  }

  // Some of what was sent may have landed, or still land.
  error in_doubt() {
    doubt_ = true;
    if (w_) w_->abandon({errc::closed, "a write was not answered"});
    return {errc::unknown_outcome, "the connection to the database was lost during a write"};
  }

  outcome outcome_of(const operation& op, const transaction_answer& a) {
    if (a.succeeded) return {outcome::status::committed, a.from.revision};
    revision stands = 0, fence = 0;
    for (auto& kv : a.standing) (kv.key == op.name ? stands : fence) = kv.modified;
    if (fence != fence_) {
      doubt_ = true;  // it has expired, or was taken away: a new one
      return {outcome::status::refused, 0};
    }
    if (stands != (op.kind == change::create ? 0 : op.expected)) return {outcome::status::conflict, stands};
    return {outcome::status::guard_failed, 0};
  }

  // Everything up to the newest of ours, unless that is ours alone and in order.
  task<result<void>> give_what_lies_before(batch ops, const std::set<revision>& own, appended& out) {
    auto upto = *own.rbegin();
    auto until = reactor::loop::current().now() + append_retry;
    auto known = [&] {
      auto base = std::max(told_, recent_.upto());
      auto ours_above = static_cast<revision>(std::distance(own.upper_bound(base), own.end()));
      return base >= upto || ours_above == upto - base;
    };
    while (!known()) {
      if (!can_read() || reactor::loop::current().now() >= until) {
        kedge::log::warning("{}: writes landed, but what came before them can't be read", description_);
        co_return fail(in_doubt());
      }
      co_await news_.wait_until(std::min(until, reactor::loop::current().now() + silence_interval));
    }
    if (told_ < recent_.from()) {
      KEDGE_CO_TRY(auto gone, co_await read_gap(upto));
      out.others = std::move(gone);
    } else {
      out.others = recent_.between(told_, upto);
    }
    std::erase_if(out.others, [&](auto& e) { return own.contains(e.at); });
    bool in_order = true;
    for (revision last = 0; auto& o : out.outcomes) {
      if (o.what != outcome::status::committed) continue;
      in_order = in_order && o.at > last;
      last = o.at;
    }
    if (!in_order || (!out.others.empty() && out.others.back().at > *own.begin())) {
      for (std::size_t i = 0; i < ops->size(); ++i)
        if (out.outcomes[i].what == outcome::status::committed)
          out.others.push_back(own_entry((*ops)[i], out.outcomes[i].at));
      std::sort(out.others.begin(), out.others.end(), [](auto& a, auto& b) { return a.at < b.at; });
    }
    tell(upto);
    co_return result<void>();
  }

  // What was dropped of the news before it was given.
  task<result<std::vector<entry>>> read_gap(revision upto) {
    std::vector<entry> out;
    for (auto after = told_; after < upto;) {
      auto p = co_await read_changes(after, upto);
      if (!p) co_return fail(in_doubt());
      after = p->at;
      std::move(p->entries.begin(), p->entries.end(), std::back_inserter(out));
    }
    co_return out;
  }

  task<result<void>> write_gap(std::uint64_t revisions) {
    reactor::semaphore room(transactions_in_flight_max);
    reactor::scope writing;
    std::optional<error> failed;
    for (std::uint64_t i = 0; i < revisions && !failed; ++i) {
      co_await room.acquire();
      if (!link()) co_return fail(errc::unavailable, "the connection to the database was lost");
      writing.spawn(
          [](task<result<std::string>> asked, std::optional<error>& e, reactor::semaphore& back) -> task<void> {
            auto done = co_await asked;
            if (!done) e = std::move(done).error();
            back.release();
          }(link()->ask(method::txn, encode(transaction{.key = gap_key, .value = "1"})), failed, room));
    }
    co_await writing.join();
    if (failed) co_return fail(std::move(*failed));
    co_return result<void>();
  }

  etcd_options options_;
  std::string fence_key_, member_;
  std::uint64_t cluster_ = 0;
  revision fence_ = 0;  // the revision of fence_key_; 0: it doesn't exist
  bool doubt_ = false;  // what was sent may still land, until the fence is changed
  bool full_ = false;   // the alarm NOSPACE
  bool began_ = false;
  connection_ref looker_, w_;
  std::deque<entry> loaded_;  // what was not given yet of what stood: bounded by the memory that it all goes into
  revision loaded_at_ = 0, loaded_upto_ = 0, compacted_ = 0;
  revision told_ = 0;  // everything up to there has been given out
  news recent_;        // what the watch has brought
  std::optional<space> space_;
  std::map<std::uint32_t, lease> leases_;  // by the time to live that was asked for
  patience patience_{answer_patience, give_up_after};
  reactor::semaphore turn_{1};
  reactor::event room_;
  reactor::scope services_;  // last: ends first
};

}  // namespace

std::unique_ptr<log> make_etcd_log(etcd_options options) { return std::make_unique<etcd_log>(std::move(options)); }

}  // namespace kedge::datastore
