#include "datastore/etcd/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/strings.h"
#include "datastore/etcd/limits.h"
#include "reactor/offload.h"

namespace kedge::datastore::etcd {

namespace {

// Asked for when only the header matters: cheap, whether it is there or not.
constexpr const char* any_key = "/registry/health";

result<std::string> read_file(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> f(std::fopen(path.c_str(), "re"), &std::fclose);
  if (!f) return fail(os_error(errno, "opening " + path));
  std::string out;
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, f.get())) > 0;) out.append(buffer, n);
  return out;
}

bool at_least(std::string_view version, unsigned major, unsigned minor) {
  auto parts = split(version, '.');
  if (parts.size() < 2) return false;
  auto a = parse_uint(parts[0]), b = parse_uint(parts[1]);
  return a && b && (*a > major || (*a == major && *b >= minor));
}

}  // namespace

meaning meaning_of(const error& e) {
  auto says = [&](std::string_view words) { return e.message.find(words) != std::string::npos; };
  if (says("has been compacted")) return meaning::compacted;
  if (says("database space exceeded")) return meaning::no_space;
  // etcd's word, and that of gRPC below it for what is larger still.
  if (says("request is too large") || says("received message larger than max") || e.code == errc::too_large)
    return meaning::too_large;
  // Tokens end, and are taken back when users change: a new connection gets a new one.
  if (says("invalid auth token") || says("auth store is old") || says("too many requests") || says("no leader") ||
      says("leader changed") || says("not supported for learner"))
    return meaning::not_now;
  if (says("authentication failed") || says("permission denied") || says("user name is empty") ||
      says("authentication is not enabled"))
    return meaning::forbidden;
  return meaning::unknown;
}

// ---- changes

task<result<event_stream::piece>> event_stream::next() {
  for (;;) {
    auto came = co_await reactor::with_stop(call_->next(), of_->lost);
    if (of_->broken && !came) co_return fail(errc::closed, of_->broken->message);
    KEDGE_CO_TRY(auto message, std::move(came));
    if (!message) co_return fail(errc::closed, "etcd has ended the watch");
    KEDGE_CO_TRY(auto answer, decode_watch(*message));
    if (answer.cancelled && answer.compacted) {
      compacted_ = answer.compacted;
      co_return fail(errc::expired, fmt::format("the history begins at {}", compacted_));
    }
    if (answer.cancelled) {
      auto why = answer.reason.empty() ? std::string("etcd has cancelled the watch") : answer.reason;
      error e(errc::closed, std::move(why));
      if (meaning_of(e) == meaning::forbidden) e.code = errc::forbidden;
      co_return fail(std::move(e));
    }
    if (answer.events.empty()) continue;
    piece out;
    out.events = std::exchange(unfinished_, {});
    std::move(answer.events.begin(), answer.events.end(), std::back_inserter(out.events));
    auto newest = out.events.back().now.modified;
    for (std::uint64_t last = 0; auto& e : out.events) {
      if (e.now.modified < last || e.now.modified == 0)
        co_return fail(errc::protocol, "etcd's changes come without an order");
      last = e.now.modified;
    }
    out.upto = newest;
    if (answer.part) {
      auto whole =
          std::find_if(out.events.begin(), out.events.end(), [newest](auto& e) { return e.now.modified == newest; });
      std::move(whole, out.events.end(), std::back_inserter(unfinished_));
      out.events.erase(whole, out.events.end());
      out.upto = newest - 1;
      if (out.events.empty()) continue;
    }
    co_return out;
  }
}

// ---- a connection

void connection_state::abandon(error why) {
  if (broken) return;
  broken = std::move(why);
  lost.set();
}

duration connection_state::silent() const {
  if (broken || waiting.empty()) return duration::zero();
  return reactor::loop::current().now() - std::max(heard, waiting.begin()->second);
}

connection::~connection() { state_->abandon({errc::closed, "the connection ends"}); }

duration connection::oldest() const {
  if (state_->waiting.empty()) return duration::zero();
  return reactor::loop::current().now() - state_->waiting.begin()->second;
}

task<result<std::string>> connection::ask_with(std::shared_ptr<state> s, std::string method, std::string message,
                                               bool by_majority) {
  if (s->broken) co_return fail(errc::closed, s->broken->message);
  struct waits {
    state& of;
    std::uint64_t number;
    ~waits() { of.waiting.erase(number); }
  } here{*s, ++s->asked};
  if (by_majority) s->waiting.emplace(here.number, reactor::loop::current().now());
  auto answer =
      co_await reactor::with_stop(s->channel.unary(std::move(method), std::move(message), s->metadata), s->lost);
  if (s->broken && !answer) co_return fail(errc::closed, s->broken->message);
  if (by_majority) s->heard = reactor::loop::current().now();
  // An answer of etcd itself is no sign of a lost connection.
  if (!answer && meaning_of(answer.error()) == meaning::unknown &&
      answer.error().message.find("etcdserver:") == std::string::npos)
    s->abandon({errc::closed, answer.error().message});
  co_return answer;
}

task<result<std::unique_ptr<event_stream>>> connection::events_with(std::shared_ptr<state> s, std::uint64_t first) {
  auto metadata = s->metadata;
  metadata.set("hasleader", "true");  // a member that has lost the others ends the watch
  KEDGE_CO_TRY(auto call, co_await s->channel.converse(method::watch, std::move(metadata)));
  KEDGE_CO_CHECK(co_await call->send(encode_watch_all(first)));
  co_return std::make_unique<event_stream>(std::move(call), std::move(s));
}

task<result<range_answer>> connection::range_with(std::shared_ptr<state> s, range_request r) {
  for (;;) {
    auto answer = co_await ask_with(s, method::range, encode(r), true);
    if (answer) co_return decode_range(*answer);
    if (meaning_of(answer.error()) != meaning::too_large || r.limit <= 1) co_return fail(std::move(answer).error());
    r.limit = std::max<std::uint64_t>(1, r.limit / 8);
  }
}

task<result<std::uint64_t>> connection::compacted_with(std::shared_ptr<state> s) {
  auto first = co_await range_with(s, {.key = any_key, .revision = 1, .count_only = true});
  if (first) co_return std::uint64_t(0);
  if (meaning_of(first.error()) != meaning::compacted) co_return fail(std::move(first).error());
  // A watch that would begin before is told where the history begins.
  KEDGE_CO_TRY(auto stream, co_await events_with(s, 1));
  auto none = co_await stream->next();
  if (!none && stream->compacted()) co_return stream->compacted();
  co_return fail(none ? error(errc::unavailable, "etcd gives a history that it has forgotten")
                      : std::move(none).error());
}

// What the failure of a member's first answers is for who wanted to use it.
error connection::told(error e) const {
  auto means = meaning_of(e);
  if (e.code == errc::unauthenticated && means == meaning::unknown)  // TLS: it isn't trusted now nor in a second
    e.code = errc::forbidden;
  else
    e.code = means == meaning::forbidden ? errc::forbidden : errc::unavailable;
  return std::move(e).with(url_ + ": ");
}

// With the user's token, and its status; nobody knows yet whether it has the majority.
task<result<std::unique_ptr<connection>>> connection::reach(settings s, std::size_t member,
                                                            std::shared_ptr<net::tls_client_context> tls) {
  auto& m = s.members[member];
  net::http::target to;
  to.host = m.host;
  to.at.port = m.port;
  if (reactor::parse_endpoint("[" + m.host + "]:1")) to.at.address = m.host;
  if (m.tls) to.tls = std::move(tls);
  std::unique_ptr<connection> c(new connection(std::make_shared<state>(std::move(to))));
  c->url_ = m.url();
  if (!s.user.empty()) {
    auto token = co_await c->ask(method::authenticate, encode_authenticate(s.user, s.password));
    if (!token) co_return fail(c->told(std::move(token).error()));
    auto read = decode_authenticate(*token);
    if (!read) co_return fail(c->told(std::move(read).error()));
    c->state_->metadata.set("token", *read);
  }
  auto status = co_await c->ask(method::status, {}, false);
  if (!status) co_return fail(c->told(std::move(status).error()));
  auto about = decode_status(*status);
  if (!about) co_return fail(c->told(std::move(about).error()));
  if (!at_least(about->version, 3, 4))
    co_return fail(errc::unsupported, fmt::format("{} is etcd {}; 3.4 or later is needed", c->url_, about->version));
  c->status_ = std::move(*about);
  co_return c;
}

task<result<status_answer>> connection::status_of(settings s, std::size_t member,
                                                  std::shared_ptr<net::tls_client_context> tls) {
  KEDGE_CO_TRY(auto c, co_await reach(std::move(s), member, std::move(tls)));
  co_return std::move(c->status_);
}

task<result<std::unique_ptr<connection>>> connection::open(settings s, std::size_t member,
                                                           std::shared_ptr<net::tls_client_context> tls) {
  KEDGE_CO_TRY(auto c, co_await reach(std::move(s), member, std::move(tls)));
  auto newest = co_await c->range({.key = any_key, .count_only = true});
  if (!newest) co_return fail(c->told(std::move(newest).error()));
  c->at_ = newest->from;
  co_return c;
}

// ---- which member

task<result<std::shared_ptr<net::tls_client_context>>> make_tls(settings s) {
  bool wanted = std::any_of(s.members.begin(), s.members.end(), [](auto& m) { return m.tls; });
  if (!wanted) co_return std::shared_ptr<net::tls_client_context>();
  auto made = co_await reactor::offload([s]() -> result<std::shared_ptr<net::tls_client_context>> {
    net::tls_client_options o;
    o.alpn = {"h2"};
    if (!s.ca_file.empty()) { KEDGE_TRY(o.ca_pem, read_file(s.ca_file)); }
    if (!s.certificate_file.empty()) {
      KEDGE_TRY(o.chain_pem, read_file(s.certificate_file));
      KEDGE_TRY(o.key_pem, read_file(s.key_file.empty() ? s.certificate_file : s.key_file));
    }
    return net::tls_client_context::make(o);
  });
  if (!made) co_return fail(std::move(made).error());
  co_return std::move(*made);
}

task<result<std::unique_ptr<connection>>> any_member(settings s, time_point deadline) {
  KEDGE_CO_TRY(auto tls, co_await make_tls(s));
  std::unique_ptr<connection> first;
  std::optional<error> why;
  reactor::event changed;
  std::size_t open = s.members.size();
  {
    reactor::scope attempts;
    for (std::size_t i = 0; i < s.members.size(); ++i)
      attempts.spawn([](settings to, std::size_t member, std::shared_ptr<net::tls_client_context> by,
                        std::unique_ptr<connection>& got, std::optional<error>& failed, std::size_t& left,
                        reactor::event& end) -> task<void> {
        auto c = co_await connection::open(std::move(to), member, std::move(by));
        --left;
        if (c && !got)
          got = std::move(*c);
        else if (!c && (!failed || failed->code == errc::unavailable))
          failed = std::move(c).error();
        end.pulse();
      }(s, i, tls, first, why, open, changed));
    while (!first && open > 0)
      if (!co_await changed.wait_until(deadline)) break;
  }
  if (first) co_return first;
  if (why) co_return fail(std::move(*why));
  co_return fail(errc::unavailable, s.members.size() == 1
                                        ? fmt::format("{} does not answer in time", s.members.front().url())
                                        : "no member of etcd answers for a majority in time");
}

}  // namespace kedge::datastore::etcd
