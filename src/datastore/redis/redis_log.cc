#include "datastore/redis/redis_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <span>

#include "base/random.h"
#include "base/strings.h"
#include "datastore/guards.h"
#include "datastore/limits.h"
#include "datastore/redis/connection.h"
#include "datastore/redis/scripts.h"
#include "datastore/redis/server_check.h"
#include "datastore/shared_log.h"

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

std::string describe_target(const settings& s) {
  bool v6 = s.host.find(':') != std::string::npos;
  return fmt::format("Redis {}{}{}:{}/{}", v6 ? "[" : "", s.host, v6 ? "]" : "", s.port, s.database);
}

class redis_log final : public shared_log {
 public:
  explicit redis_log(redis_options o) : shared_log(describe_target(o.connection)), options_(std::move(o)) {
    auto& s = options_.connection;
    auto key = [&](std::string_view name) { return fmt::format("{{{}}}:{}", s.prefix, name); };
    id_ = random_id();
    meta_ = key("meta");
    log_ = key("log");
    heads_ = key("heads");
    server_ = key("server:" + id_);
    channel_ = key(fmt::format("news:{}", s.database));
    if (s.replicas > 0) {
      patience_.answer += s.replica_timeout;
      patience_.give_up += s.replica_timeout;
    }
  }

  // ---- starting

  task<result<void>> open() override {
    KEDGE_CO_TRY(looker_, describe(co_await first_link<connection>([this] { return connect(); }, options_.start_wait)));
    KEDGE_CO_TRY(auto schema, describe(co_await looker_->run(command::of("HGET", meta_, "schema"))));
    auto text = (*schema).text();
    if (!text.empty() && text != "1")
      co_return fail(errc::unsupported, fmt::format("{}: the data under {} was written by a later kedge (schema {})",
                                                    description_, meta_, quote(text)));
    co_return result<void>();
  }

  task<result<page>> load(revision after) override {
    if (after == 0) {
      loaded_.clear();
      KEDGE_CO_CHECK(co_await read_everything());
    } else if (loaded_.empty() || after != loaded_at_) {
      loaded_.clear();
      if (!began_) {
        // Between open() and begin(): what others wrote since the first load.
        co_return co_await read_from(*looker_, after);
      }
      KEDGE_CO_CHECK(co_await wait_for([this] { return can_read(); }));
      co_return co_await read_from(*w_, after);
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

  // Page by page: what another server replaces meanwhile comes later, and its removals too, as long as they aren't
  // compacted.
  task<result<page>> load_live(revision after) override {
    auto* link = looker_ ? looker_.get() : w_.get();
    if (!link) co_return fail(errc::unavailable, "the database can't be reached");
    auto count = page_rows_;
    auto entries =
        link->send(command::of("XRANGE", log_, fmt::format("{}-0", after + 1), "+", "COUNT", std::uint64_t(count)));
    KEDGE_CO_TRY(auto meta, describe(co_await link->run(command::of("HMGET", meta_, "rev", "compacted"))));
    if (!entries->value || !*entries->value)
      co_return fail(errc::unavailable, "the connection to the database was lost");
    auto& list = **entries->value;
    page out;
    out.at = after;
    out.compacted = static_cast<revision>(meta[1].number());
    if (after == 0) live_from_ = static_cast<revision>(meta[0].number());
    if (out.compacted > live_from_) co_return fail(errc::expired, "it was compacted while it was read");
    out.done = list.size() < count;
    if (list.size() == 0) co_return out;
    std::vector<row> rows;
    std::size_t bytes = 0;
    command ask_heads("HMGET");
    ask_heads.add(heads_);
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto& what = rows.emplace_back(read_row(list[i])).what;
      bytes += what.value.size();
      ask_heads.add(what.name);
    }
    fit_page(list.size(), bytes);
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
    services_.spawn(keep<connection>(w_, "", patience_, [this] { return make_writer(); }, [](connection&) {}));
    services_.spawn(keep_subscription());
    services_.spawn(bound_memory());
    co_return result<void>();
  }

  task<result<void>> tell_loss(revision seen) override {
    KEDGE_CO_TRY(auto c, co_await connect());
    // An empty database has nothing to say it in, and no server that would go on with it.
    KEDGE_CO_TRY(auto there, co_await c->run(command::of("EXISTS", meta_)));
    if ((*there).number() == 0) co_return result<void>();
    KEDGE_CO_CHECK(co_await c->run(command::of("EVAL", script::tell_loss, "3", meta_, log_, heads_, seen, next_nonce(),
                                               channel_, " " + id_, loss_name)));
    co_return result<void>();
  }

  task<result<void>> pass_over(revision seen) override {
    KEDGE_CO_CHECK(describe(
        co_await w_->run(command::of("EVAL", script::pass_over, "2", meta_, log_, seen, revision_jump, next_nonce()))));
    co_return result<void>();
  }

  // ---- writing

  task<result<appended>> append(batch ops) override {
    auto give_up = reactor::loop::current().now() + append_retry;
    error why;
    for (std::uint64_t sent = 0;;) {
      KEDGE_CO_TRY(auto sending, co_await turn_to_send());
      // What was sent after this one may have landed, and this one's answer has to come first.
      if (sent != 0 && sent != appends_) co_return fail(std::move(why));
      auto* link = w_.get();
      sent = ++appends_;
      // All calls of the batch in one write, in order.
      std::vector<part> parts;
      for (std::size_t first = 0; first < ops->size();) parts.push_back(send_part(*link, *ops, first));
      request_ref wait;
      if (options_.connection.replicas > 0)
        wait = link->send(command::of("WAIT", std::uint64_t(options_.connection.replicas),
                                      std::uint64_t(options_.connection.replica_timeout.count())));
      sending.sent();
      ++appending_;
      for (auto& p : parts) co_await p.request->done.wait();
      if (wait) co_await wait->done.wait();
      --appending_;
      auto refused = std::find_if(parts.begin(), parts.end(), [](auto& p) { return !*p.request->value; });
      if (refused != parts.end()) {
        auto& r = *refused->request;
        auto said = r.value->error();
        if (r.state == "KEDGEFORK") co_return fail(fork(said.message.substr(r.state.size() + 1)));
        // Any of them may have landed if one has, or if the link was lost.
        bool none = std::none_of(parts.begin(), parts.end(), [](auto& p) {
          return *p.request->value || p.request->value->error().code == errc::closed;
        });
        if (said.code != errc::closed) complain(said.message);
        if (!none) co_return fail(errc::unknown_outcome, "the connection to the database was lost during a write");
        bool again = r.state == "NOSCRIPT" || r.state == "KEDGEFENCED" || r.state == "READONLY";
        if (again && w_.get() == link) link->abandon({errc::closed, said.message});
        why = meaning_of(r.state);
        if (r.state != "BUSY" && (!again || r.state == "READONLY")) co_return fail(std::move(why));
        if (reactor::loop::current().now() >= give_up) co_return fail(std::move(why));
        co_await reactor::sleep_for(link_retry_min);
        continue;
      }
      // The primary went before it told whether a replica has it: who takes over may have it or not, and the log is
      // read again.
      if (wait && !*wait->value && wait->value->error().code == errc::closed)
        co_return fail(errc::unknown_outcome, "the connection to the database was lost during a write");
      all_well();
      auto done = co_await settle(ops, parts);
      if (done && wait) check_replicas(*wait, *done);
      co_return done;
    }
  }

  // ---- reading

  task<result<past_page>> past(past_question q) override {
    KEDGE_CO_CHECK(co_await wait_for([this] { return can_read(); }));
    auto* link = w_.get();
    auto upto = std::min(q.upto, q.after + past_step_revisions);
    auto range = link->send(command::of("XRANGE", log_, fmt::format("{}-0", q.after + 1), fmt::format("{}-0", upto),
                                        "COUNT", std::uint64_t(past_rows_)));
    KEDGE_CO_CHECK(co_await ask(*link, command::of("PING")));
    if (!range->value || !*range->value) co_return fail(errc::unavailable, "the connection to the database was lost");
    auto& list = **range->value;
    past_page out;
    out.at = list.size() < past_rows_ ? upto : read_id(list[list.size() - 1]);
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < list.size(); ++i) bytes += list[i][1][13].text().size();
    // Entries can't be asked for by their bytes: the next step takes more or fewer of them.
    past_rows_ = bytes > page_bytes_max / 2   ? std::max<std::size_t>(past_rows_ / 2, 1)
                 : bytes < page_bytes_max / 4 ? std::min<std::size_t>(past_rows_ * 2, page_rows_max)
                                              : past_rows_;
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
    KEDGE_CO_TRY(auto meta, co_await ask(*link, command::of("HGET", meta_, "compacted")));
    if (auto compacted = static_cast<revision>((*meta).number()); q.after < compacted)
      co_return fail(errc::expired,
                     fmt::format("revision {} is compacted: the history begins at {}", q.after, compacted));
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (!before[i]) continue;
      if (!before[i]->value || !*before[i]->value)
        co_return fail(errc::unavailable, "the connection to the database was lost");
      auto& found = **before[i]->value;
      if (found.size() == 0) continue;
      auto r = read_row(found[0]);
      if (r.what.kind != change::remove) out.changes[i].replaced = std::move(r.what.value);
    }
    co_return out;
  }

  task<result<revision>> current() override {
    KEDGE_CO_CHECK(co_await wait_for([this] { return can_read(); }));
    auto* link = w_.get();
    auto seen = known_.at;
    // A primary that was made a replica goes on answering what it has.
    auto role = link->send(command::of("ROLE"));
    KEDGE_CO_TRY(auto r, co_await ask(*link, command::of("HGET", meta_, "rev")));
    if (role->value && *role->value && (**role->value)[0].text() != "master") {
      if (w_.get() == link) link->abandon({errc::closed, "the server has become a replica"});
      co_return fail(errc::unavailable, "the database has become a replica");
    }
    auto newest = static_cast<revision>((*r).number());
    if (newest < seen) co_return fail(fork(fmt::format("its newest revision is {}, this server has {}", newest, seen)));
    found_newest(newest);
    co_return newest;
  }

  task<result<void>> compact(revision to) override { return compact_but(to, compaction_kept); }
  void hold(revision from) override { hold_ = from; }

  task<result<void>> compact_but(revision to, std::uint64_t kept) {
    if (hold_) to = std::min(to, hold_ - 1);
    for (;;) {
      KEDGE_CO_CHECK(co_await wait_for([this] { return can_write(); }));
      KEDGE_CO_TRY(auto r, co_await ask(*w_, command::of("EVALSHA", compact_sha_, "2", meta_, log_, to,
                                                         std::uint64_t(compaction_step), kept)));
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

 private:
  using connection_ref = std::unique_ptr<connection>;

  result<void> can_read() const override { return answers(w_.get(), patience_); }
  result<void> can_write() const override { return can_read(); }
  duration poll() const override { return subscribed_ ? duration(poll_with_news) : duration(poll_without_news); }
  revision known_at() const override { return known_.at; }
  std::string cause_of_loss() const override {
    return fmt::format(
        "It was restarted without its last writes ({}), restored, or a replica took over that had not received "
        "everything.",
        durability_);
  }

  // What an error reply means for those who asked, without the server's words: those are in the log.
  static error meaning_of(std::string_view state) {
    switch (code_of(state)) {
      case errc::exhausted: return {errc::exhausted, "the database has no memory left"};
      case errc::unavailable:
        return {errc::unavailable,
                state == "READONLY" ? "the database has become a replica" : "the database refuses for now"};
      default: return {errc::internal, "the database refuses; the reason is in this server's log"};
    }
  }

  // One call of a batch.
  struct part {
    std::size_t first, count;
    std::string nonce;
    request_ref request;
  };

  static std::string random_id() { return fmt::format("{:016x}", system_random().next()); }
  std::string next_nonce() { return fmt::format("{}.{}", id_, ++nonces_); }

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

  // The word that something is new. Without it (away, or forbidden to this user) the log is polled.
  task<void> keep_subscription() {
    auto pause = duration(link_retry_min);
    for (bool told = false;;) {
      auto made = co_await connection::open(options_.connection, reactor::loop::current().now() + connect_timeout);
      if (made) {
        s_ = std::move(*made);
        auto* link = s_.get();
        link->on_message = [this](std::string_view payload) { hear(payload); };
        auto subscribed = co_await ask(*link, command::of("SUBSCRIBE", channel_));
        if (subscribed) {
          pause = link_retry_min;
          told = false;
          subscribed_ = true;
          hint(known_.at + 1);  // what was written before the subscription is not told
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
    hint(at ? *at : known_.at + 1);
  }

  // Errors are what they mean for the caller.
  task<result<reply>> ask(connection& link, command c) {
    auto r = link.send(c);
    auto answer = co_await await_answer(link, r, patience_.answer);
    if (answer) co_return answer;
    if (answer.error().code == errc::closed)
      co_return fail(errc::unavailable, "the connection to the database was lost");
    if (r->state.empty()) co_return answer;
    complain(answer.error().message);
    co_return fail(meaning_of(r->state));
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

  void know(revision at, const std::string& nonce) {
    if (at <= known_.at) return;
    known_ = {at, nonce};
  }

  // ---- pages

  task<result<page>> read_from(revision after) override {
    if (!w_) co_return fail(errc::unavailable, "the database can't be reached");
    co_return co_await read_from(*w_, after);
  }

  // Entries above `after`; errc::expired when some are gone.
  task<result<page>> read_from(connection& link, revision after) {
    auto count = page_rows_;
    auto entries =
        link.send(command::of("XRANGE", log_, fmt::format("{}-0", after + 1), "+", "COUNT", std::uint64_t(count)));
    // Asked after the entries: a compaction that took some of them is seen.
    auto meta = co_await ask(link, command::of("HMGET", meta_, "rev", "compacted"));
    if (!meta) co_return fail(std::move(meta).error());
    if (!entries->value || !*entries->value)
      co_return fail(errc::unavailable, "the connection to the database was lost");
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
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      auto r = read_row(list[i]);
      if (r.what.at != out.at + 1) co_return fail(fork(fmt::format("revision {} follows {}", r.what.at, out.at)));
      out.at = r.what.at;
      bytes += r.what.value.size();
      know(out.at, r.nonce);
      out.entries.push_back(std::move(r.what));
    }
    out.done = list.size() < count;
    fit_page(list.size(), bytes);
    co_return out;
  }

  // As many entries as fill a page when they are like the last ones; only slowly more after large ones.
  void fit_page(std::size_t entries, std::size_t bytes) {
    if (entries == 0) return;
    auto fitting = page_bytes_wanted / std::max<std::size_t>(1, bytes / entries);
    page_rows_ =
        std::clamp<std::size_t>(fitting, 1, std::min(page_rows_max, 2 * std::max(page_rows_, page_rows_first / 2)));
  }

  // Everything, at once: between two pages a compaction may take a removal whose object the first page had. Then again.
  task<result<void>> read_everything() {
    KEDGE_CO_TRY(auto c, co_await connect());
    for (;;) {
      KEDGE_CO_TRY(auto before, co_await c->run(command::of("HGET", meta_, "compacted")));
      loaded_compacted_ = static_cast<revision>((*before).number());
      loaded_.clear();
      bool whole = true;
      for (revision after = 0; whole;) {
        auto count = page_rows_;
        auto r = co_await c->run(
            command::of("XRANGE", log_, fmt::format("{}-0", after + 1), "+", "COUNT", std::uint64_t(count)));
        if (!r) co_return fail(std::move(r).error());
        std::size_t bytes = 0;
        for (std::size_t i = 0; i < r->size(); ++i) {
          loaded_.push_back(read_row((*r)[i]));
          bytes += loaded_.back().what.value.size();
        }
        fit_page(r->size(), bytes);
        if (!loaded_.empty()) after = loaded_.back().what.at;
        KEDGE_CO_TRY(auto now, co_await c->run(command::of("HGET", meta_, "compacted")));
        whole = static_cast<revision>((*now).number()) == loaded_compacted_;
        if (r->size() < count) break;
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
    c.add(fence_).add(known_.at).add(known_.nonce).add(out.nonce).add(channel_).add(" " + id_);
    c.add(std::uint64_t(others_bytes_max)).add(std::uint64_t(out.count));
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
      auto p = co_await read_from(after);
      if (!p) {
        kedge::log::warning("{}: writes landed, but what came before them can't be read: {}", description_,
                            p.error().message);
        co_return fail(errc::unknown_outcome, p.error().message);
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
                        fmt::format("written, but only {} of {} of the database's replicas have it after {} ms", have,
                                    options_.connection.replicas, options_.connection.replica_timeout.count()));
    kedge::log::error("{}: {}", description_, done.unsafe->message);
  }

  struct known {
    revision at = 0;
    std::string nonce;
  };

  redis_options options_;
  std::string id_, meta_, log_, heads_, server_, channel_;
  std::string append_sha_, compact_sha_, fence_, run_id_, durability_ = "durability not known";
  std::uint64_t nonces_ = 0, appends_ = 0;
  bool began_ = false, subscribed_ = false;
  connection_ref looker_, w_, s_;
  std::deque<row> loaded_;  // of a load from 0, what was not given yet: bounded by the database, which is in memory too
  revision loaded_at_ = 0, loaded_compacted_ = 0;
  revision live_from_ = 0;  // of load_live: where the log was when it began
  std::size_t past_rows_ = past_rows_first;
  known known_;  // the newest entry that was given out
  patience patience_{answer_patience, give_up_after};
  std::size_t page_rows_ = page_rows_first;
  revision hold_ = 0;
  std::size_t written_ = 0, ops_written_ = 0;
  reactor::event much_written_;
  reactor::scope services_;  // last: ends first
};

}  // namespace

std::unique_ptr<log> make_redis_log(redis_options options) { return std::make_unique<redis_log>(std::move(options)); }

}  // namespace kedge::datastore
