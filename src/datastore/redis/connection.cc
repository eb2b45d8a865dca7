#include "datastore/redis/connection.h"

#include <fmt/format.h>
#include <hiredis/hiredis.h>

#include <cstdio>

#include "base/assert.h"
#include "base/strings.h"
#include "net/tls.h"
#include "reactor/offload.h"

namespace kedge::datastore::redis {

// ---- commands and replies

command& command::add(std::string_view argument) {
  ++count_;
  fmt::format_to(std::back_inserter(body_), "${}\r\n", argument.size());
  body_.append(argument).append("\r\n");
  return *this;
}
command& command::add(std::uint64_t n) {
  char digits[24];
  auto end = fmt::format_to(digits, "{}", n);
  return add(std::string_view(digits, static_cast<std::size_t>(end - digits)));
}
void command::append_to(std::string& out) const {
  fmt::format_to(std::back_inserter(out), "*{}\r\n", count_);
  out += body_;
}

bool value::is_nil() const noexcept { return !r_ || r_->type == REDIS_REPLY_NIL; }
std::string_view value::text() const noexcept {
  if (!r_ || (r_->type != REDIS_REPLY_STRING && r_->type != REDIS_REPLY_STATUS)) return {};
  return {r_->str, r_->len};
}
std::string_view value::error_text() const noexcept {
  if (!r_ || r_->type != REDIS_REPLY_ERROR) return {};
  return {r_->str, r_->len};
}
std::int64_t value::number() const noexcept {
  if (r_ && r_->type == REDIS_REPLY_INTEGER) return r_->integer;
  auto n = parse_int(text());
  return n ? *n : 0;
}
std::size_t value::size() const noexcept { return r_ && r_->type == REDIS_REPLY_ARRAY ? r_->elements : 0; }
value value::operator[](std::size_t i) const noexcept { return value(i < size() ? r_->element[i] : nullptr); }

reply::~reply() {
  if (r_) freeReplyObject(r_);
}

errc code_of(std::string_view state) {
  if (state == "NOAUTH" || state == "WRONGPASS" || state == "NOPERM") return errc::forbidden;
  if (state == "OOM") return errc::exhausted;
  if (state == "LOADING" || state == "READONLY" || state == "MASTERDOWN" || state == "BUSY" || state == "MISCONF" ||
      state == "NOREPLICAS" || state == "NOSCRIPT" || state == "TRYAGAIN")
    return errc::unavailable;
  if (state == "MOVED" || state == "ASK" || state == "CROSSSLOT" || state == "CLUSTERDOWN") return errc::unsupported;
  return errc::internal;
}

// ---- connecting

namespace {

result<std::string> read_file(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> f(std::fopen(path.c_str(), "re"), &std::fclose);
  if (!f) return fail(os_error(errno, "opening " + path));
  std::string out;
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, f.get())) > 0;) out.append(buffer, n);
  return out;
}

result<std::shared_ptr<net::tls_client_context>> make_tls(const settings& s) {
  net::tls_client_options o;
  o.insecure = s.skip_verify;
  if (!s.ca_file.empty()) { KEDGE_TRY(o.ca_pem, read_file(s.ca_file)); }
  if (!s.certificate_file.empty()) {
    KEDGE_TRY(o.chain_pem, read_file(s.certificate_file));
    KEDGE_TRY(o.key_pem, read_file(s.key_file.empty() ? s.certificate_file : s.key_file));
  }
  return net::tls_client_context::make(o);
}

}  // namespace

connection::connection(std::unique_ptr<reactor::stream> s) : stream_(std::move(s)), reader_(redisReaderCreate()) {
  kedge_assert(reader_);
}

task<result<std::unique_ptr<connection>>> connection::open(settings s, time_point deadline) {
  auto c = co_await reactor::with_deadline(open_now(std::move(s)), deadline);
  if (!c && c.error().code == errc::timeout) co_return fail(errc::unavailable, "the server does not answer in time");
  co_return c;
}

task<result<std::unique_ptr<connection>>> connection::open_now(settings s) {
  std::shared_ptr<net::tls_client_context> tls;
  if (s.tls) {
    auto made = co_await reactor::offload([s] { return make_tls(s); });
    if (!made) co_return fail(std::move(made).error());
    KEDGE_CO_TRY(tls, std::move(*made));
  }
  auto found = co_await reactor::resolve(s.host);
  if (!found) co_return fail(errc::unavailable, found.error().message);
  std::unique_ptr<reactor::stream> wire;
  std::string refused;
  for (auto& address : *found) {
    auto made = co_await reactor::os_network().connect({address, s.port});
    if (made) {
      wire = std::move(*made);
      break;
    }
    refused = made.error().message;
  }
  if (!wire) co_return fail(errc::unavailable, refused);
  if (tls) {
    auto secured = co_await net::tls_connect(std::move(wire), tls, s.host);
    if (!secured) {
      // A certificate that isn't trusted now won't be in a second; the rest may be a server that is just ending.
      auto code = secured.error().code == errc::unauthenticated ? errc::forbidden : errc::unavailable;
      co_return fail(code, secured.error().message);
    }
    wire = std::move(*secured);
  }
  std::unique_ptr<connection> c(new connection(std::move(wire)));
  c->services_.spawn(c->read_loop());
  c->services_.spawn(c->write_loop());
  if (!s.password.empty() || !s.user.empty()) {
    auto in = s.user.empty() ? co_await c->run(command::of("AUTH", s.password))
                             : co_await c->run(command::of("AUTH", s.user, s.password));
    if (!in) {
      // Servers before 6 answer a plain ERR.
      auto code = in.error().code == errc::internal ? errc::forbidden : in.error().code;
      co_return fail(code, "the server refuses user or password: " + in.error().message);
    }
  }
  // The first that a server without the right password refuses.
  auto known = co_await c->run(command::of("PING"));
  if (!known && known.error().message.starts_with("NOAUTH"))
    co_return fail(errc::forbidden, "the server wants a password: redis://:password@host");
  if (s.database != 0) {
    auto chosen = co_await c->run(command::of("SELECT", std::uint64_t(s.database)));
    if (!chosen) co_return fail(std::move(chosen).error().with(fmt::format("database {}: ", s.database)));
  }
  (void)co_await c->run(
      command::of("CLIENT", "SETNAME", "kedge"));  // for whoever looks at CLIENT LIST; may be forbidden
  if (!c->usable()) co_return fail(errc::unavailable, c->why().message);
  co_return c;
}

connection::~connection() {
  services_.cancel();
  end({errc::closed, "the connection was closed"});
  redisReaderFree(reader_);
}

// ---- requests

request_ref connection::send(const command& c) {
  if (broken_) return refused();
  auto r = add();
  c.append_to(out_);
  must_write_.set();
  return r;
}

task<result<reply>> connection::run(command c) {
  auto r = send(c);
  co_await r->done.wait();
  co_return std::move(*r->value);
}

task<void> connection::write_loop() {
  while (!broken_) {
    co_await must_write_.wait();
    must_write_.reset();
    if (broken_) co_return;
    auto now = std::exchange(out_, {});
    auto sent = co_await stream_->send(bytes(reinterpret_cast<const std::byte*>(now.data()), now.size()));
    if (!sent) {
      abandon(error(errc::closed, sent.error().message));
      co_return;
    }
  }
}

task<void> connection::read_loop() {
  while (!broken_) {
    auto got = co_await stream_->receive();
    if (broken_) co_return;
    heard();
    if (!got || got->empty()) {
      abandon(error(errc::closed, got ? "the server closed the connection" : got.error().message));
      co_return;
    }
    redisReaderFeed(reader_, reinterpret_cast<const char*>(got->view().data()), got->size());
    got->release();
    while (!broken_) {
      void* one = nullptr;
      if (redisReaderGetReply(reader_, &one) != REDIS_OK) {
        abandon(error(errc::closed, fmt::format("not a Redis server's answer: {}", reader_->errstr)));
        co_return;
      }
      if (!one) break;
      take(reply(static_cast<redisReply*>(one)));
    }
  }
}

void connection::take(reply r) {
  auto raw = *r;
  if (on_message && raw.size() == 3 && raw[0].text() == "message") {
    on_message(raw[2].text());
    return;
  }
  if (waiting_.empty()) {
    abandon(error(errc::closed, "the server answers what was not asked"));
    return;
  }
  auto head = std::move(waiting_.front());
  waiting_.pop_front();
  if (auto e = raw.error_text(); !e.empty()) {
    head->state = e.substr(0, e.find(' '));
    head->value.emplace(fail(code_of(head->state), std::string(e)));
  } else {
    head->value.emplace(std::move(r));
  }
  head->done.set();
}

}  // namespace kedge::datastore::redis
