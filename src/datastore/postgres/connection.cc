#include "datastore/postgres/connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "datastore/postgres/libpq.h"
#include "datastore/postgres/limits.h"
#include "reactor/offload.h"

namespace kedge::datastore::postgres {

namespace {

constexpr unsigned type_int8 = 20, type_int4 = 23, type_text = 25;

void put_be(std::string& to, std::uint64_t n, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) to.push_back(static_cast<char>(n >> (8 * i)));
}
std::uint64_t get_be(const char* p, int bytes) {
  std::uint64_t n = 0;
  for (int i = 0; i < bytes; ++i) n = n << 8 | static_cast<unsigned char>(p[i]);
  return n;
}

std::int64_t number_of(std::string_view raw) {
  switch (raw.size()) {
    case 1: return raw[0];
    case 2: return static_cast<std::int16_t>(get_be(raw.data(), 2));
    case 4: return static_cast<std::int32_t>(get_be(raw.data(), 4));
    case 8: return static_cast<std::int64_t>(get_be(raw.data(), 8));
    default: return 0;
  }
}

// libpq's messages end in a newline and may have several lines; those that begin with a tab are its guesses at why.
std::string one_line(const char* text) {
  std::string out;
  for (auto line : split(text ? text : "", '\n')) {
    if (line.empty() || line.starts_with('\t') || line == "invalid socket") continue;
    if (!out.empty()) out += "; ";
    out += line;
  }
  return out;
}

}  // namespace

result<settings> parse_url(const std::string& url) {
  KEDGE_CHECK(load_libpq());
  char* message = nullptr;
  auto* options = PQconninfoParse(url.c_str(), &message);
  if (!options) {
    auto e = fail(errc::invalid, one_line(message));
    PQfreemem(message);
    return e;
  }
  settings out;
  for (auto* o = options; o->keyword; ++o) {
    if (o->val) out.emplace_back(o->keyword, o->val);
  }
  PQconninfoFree(options);
  return out;
}

const std::string* find(const settings& s, std::string_view key) {
  for (auto& [k, v] : s) {
    if (k == key) return &v;
  }
  return nullptr;
}

void put(settings& s, std::string_view key, std::string value) {
  for (auto& [k, v] : s) {
    if (k == key) {
      v = std::move(value);
      return;
    }
  }
  s.emplace_back(key, std::move(value));
}

parameter parameter::text(std::string_view s) { return {type_text, std::string(s)}; }
parameter parameter::bigint(std::int64_t n) {
  parameter p{type_int8, {}};
  put_be(p.data, static_cast<std::uint64_t>(n), 8);
  return p;
}
parameter parameter::integer(std::int32_t n) {
  parameter p{type_int4, {}};
  put_be(p.data, static_cast<std::uint32_t>(n), 4);
  return p;
}

array_parameter::array_parameter(of element, std::size_t count, std::size_t bytes_about) : element_(element) {
  data_.reserve(20 + count * 4 + bytes_about);
  put_be(data_, 1, 4);  // dimensions
  put_be(data_, 1, 4);  // may hold NULL
  put_be(data_, static_cast<unsigned>(element), 4);
  put_be(data_, count, 4);
  put_be(data_, 1, 4);  // lower bound
}
void array_parameter::add(std::string_view raw) {
  put_be(data_, raw.size(), 4);
  data_.append(raw);
}
void array_parameter::add_int8(std::int64_t n) {
  put_be(data_, 8, 4);
  put_be(data_, static_cast<std::uint64_t>(n), 8);
}
void array_parameter::add_int4(std::int32_t n) {
  put_be(data_, 4, 4);
  put_be(data_, static_cast<std::uint32_t>(n), 4);
}
void array_parameter::add_null() { put_be(data_, 0xffffffff, 4); }
parameter array_parameter::done() && {
  // The array type's object id for each element type.
  unsigned type = element_ == of::bytea ? 1001 : element_ == of::int8 ? 1016 : element_ == of::int4 ? 1007 : 1009;
  return {type, std::move(data_)};
}

array_reader::array_reader(std::string_view data) {
  constexpr std::size_t head = 20;  // dimensions, flags, element's type, length, lower bound
  if (data.size() < head || get_be(data.data(), 4) != 1) return;
  left_ = get_be(data.data() + 12, 4);
  rest_ = data.substr(head);
}
bool array_reader::next() {
  if (left_ == 0 || rest_.size() < 4) return false;
  --left_;
  auto size = static_cast<std::int32_t>(get_be(rest_.data(), 4));
  rest_.remove_prefix(4);
  element_ = size < 0 ? std::string_view() : rest_.substr(0, static_cast<std::size_t>(size));
  rest_.remove_prefix(element_.size());
  return true;
}
std::int64_t array_reader::number() const noexcept { return number_of(element_); }

rows::~rows() { PQclear(result_); }
int rows::size() const noexcept { return result_ ? PQntuples(result_) : 0; }
bool rows::null(int row, int column) const noexcept { return PQgetisnull(result_, row, column); }
std::string_view rows::bytes(int row, int column) const noexcept {
  return {PQgetvalue(result_, row, column), static_cast<std::size_t>(PQgetlength(result_, row, column))};
}
std::int64_t rows::number(int row, int column) const noexcept { return number_of(bytes(row, column)); }

errc code_of(std::string_view state) {
  auto is_class = [&](std::string_view c) { return state.starts_with(c); };
  if (state == "55P03" || state == "57014") return errc::timeout;
  if (state == "40P01" || state == "40001" || state == "23505") return errc::conflict;
  if (state == "42501" || is_class("28")) return errc::forbidden;
  if (state == "53100" || state == "53200") return errc::exhausted;
  if (state == "25006" || is_class("53") || is_class("57") || is_class("08")) return errc::unavailable;
  if (is_class("42") || is_class("0A")) return errc::unsupported;
  if (is_class("22")) return errc::invalid;
  if (is_class("58")) return errc::io;
  if (is_class("XX")) return errc::corrupt;
  return errc::internal;
}

// ---- connecting

task<result<std::unique_ptr<connection>>> connection::open(settings s, time_point deadline) {
  if (auto* hosts = find(s, "host")) deadline += std::count(hosts->begin(), hosts->end(), ',') * duration(host_timeout);
  auto c = co_await reactor::with_deadline(open_any(std::move(s)), deadline);
  if (!c && c.error().code == errc::timeout) co_return fail(errc::unavailable, "the server does not answer in time");
  co_return c;
}

task<result<std::unique_ptr<connection>>> connection::open_any(settings s) {
  auto* host = find(s, "host");
  if (!host || find(s, "hostaddr")) co_return co_await open_one(std::move(s));
  // libpq would block in DNS: it gets addresses beside the names (which TLS checks and .pgpass need). And it waits for
  // each host as long as its kernel does.
  auto ports_text = find(s, "port") ? *find(s, "port") : std::string(), names = *host;
  auto ports = split(ports_text, ',');
  std::vector<settings> targets;
  std::string refused;
  std::size_t i = 0;
  for (auto name : split(names, ',')) {
    auto port = std::string(ports.size() == 1 ? ports[0] : i < ports.size() ? ports[i] : "");
    ++i;
    std::vector<std::string> found{""};
    if (!name.empty() && !name.starts_with('/') && !name.starts_with('@')) {
      auto r = co_await reactor::resolve(std::string(name));
      if (!r) {
        refused = r.error().message;
        continue;
      }
      found = std::move(*r);
    }
    for (auto& address : found) {
      auto& target = targets.emplace_back(s);
      put(target, "host", std::string(name));
      if (!address.empty()) put(target, "hostaddr", std::move(address));
      put(target, "port", port);
    }
  }
  if (targets.size() == 1) co_return co_await open_one(std::move(targets[0]));
  for (auto& target : targets) {
    auto where = *find(target, "host");
    auto c =
        co_await reactor::with_deadline(open_one(std::move(target)), reactor::loop::current().now() + host_timeout);
    if (c) co_return c;
    refused += fmt::format("{}{}: {}", refused.empty() ? "" : "; ", where,
                           c.error().code == errc::timeout ? "it does not answer in time" : c.error().message);
  }
  co_return fail(errc::unavailable, refused);
}

task<result<std::unique_ptr<connection>>> connection::open_one(settings s) {
  std::vector<const char*> keys, values;
  for (auto& [k, v] : s) {
    keys.push_back(k.c_str());
    values.push_back(v.c_str());
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);
  auto* handle = PQconnectStartParams(keys.data(), values.data(), 0);
  kedge_assert(handle);
  std::unique_ptr<connection> c(new connection(handle));
  auto state = PGRES_POLLING_WRITING;
  for (;;) {
    if (PQstatus(handle) == CONNECTION_BAD || state == PGRES_POLLING_FAILED)
      co_return fail(errc::unavailable, one_line(PQerrorMessage(handle)));
    if (state == PGRES_POLLING_OK) break;
    // libpq may have moved on to another address and socket.
    int copy = ::fcntl(PQsocket(handle), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) co_return fail(os_error(errno, "connecting to PostgreSQL"));
    c->socket_ = reactor::descriptor(copy);
    // Not KEDGE_CO_CHECK: an error of the socket is told better by libpq.
    if (state == PGRES_POLLING_READING)
      (void)co_await c->socket_.readable();
    else
      (void)co_await c->socket_.writable();
    state = PQconnectPoll(handle);
  }
  PQsetnonblocking(handle, 1);
  PQsetNoticeReceiver(handle, &connection::notice, c.get());
  if (!PQenterPipelineMode(handle)) co_return fail(errc::internal, one_line(PQerrorMessage(handle)));
  c->services_.spawn(c->read_loop());
  c->services_.spawn(c->write_loop());
  co_return c;
}

connection::~connection() {
  services_.cancel();
  end({errc::closed, "the connection was closed"});
  socket_.close();
  PQfinish(handle_);
}

int connection::backend_pid() const noexcept { return PQbackendPID(handle_); }
int connection::server_version() const noexcept { return PQserverVersion(handle_); }
std::string connection::parameter_status(const char* name) const {
  auto* v = PQparameterStatus(handle_, name);
  return v ? v : "";
}

// ---- requests

connection::request_ref connection::send(const char* sql, const std::vector<parameter>& p, bool prepared) {
  if (broken_) return refused();
  std::vector<unsigned> types;
  std::vector<const char*> values;
  std::vector<int> lengths, binary;
  for (auto& one : p) {
    types.push_back(one.type);
    values.push_back(one.null ? nullptr : one.data.data());
    lengths.push_back(static_cast<int>(one.data.size()));
    binary.push_back(1);
  }
  auto n = static_cast<int>(p.size());
  int ok = prepared ? PQsendQueryPrepared(handle_, sql, n, values.data(), lengths.data(), binary.data(), 1)
                    : PQsendQueryParams(handle_, sql, n, types.data(), values.data(), lengths.data(), binary.data(), 1);
  if (!ok || !PQpipelineSync(handle_)) {
    abandon({errc::closed, one_line(PQerrorMessage(handle_))});
    return refused();
  }
  auto r = add();
  flush();
  return r;
}

task<result<rows>> connection::run(const char* sql, std::vector<parameter> p, bool prepared) {
  auto r = send(sql, p, prepared);
  co_await r->done.wait();
  co_return std::move(*r->value);
}

task<result<void>> connection::prepare(const char* name, const char* sql) {
  if (broken_) co_return fail(*broken_);
  if (!PQsendPrepare(handle_, name, sql, 0, nullptr) || !PQpipelineSync(handle_)) {
    abandon({errc::closed, one_line(PQerrorMessage(handle_))});
    co_return fail(*broken_);
  }
  auto r = add();
  flush();
  co_await r->done.wait();
  if (!*r->value) co_return fail(std::move(*r->value).error());
  co_return result<void>();
}

void connection::flush() {
  int left = PQflush(handle_);
  if (left > 0) must_write_.set();
  if (left < 0) abandon({errc::closed, one_line(PQerrorMessage(handle_))});
}

task<void> connection::write_loop() {
  for (;;) {
    co_await must_write_.wait();
    must_write_.reset();
    if (!co_await socket_.writable()) co_return;  // the reader says what happened
    if (broken_) co_return;
    flush();
  }
}

task<void> connection::read_loop() {
  while (!broken_) {
    auto ready = co_await socket_.readable();
    if (broken_) co_return;
    if (!ready) {
      abandon(std::move(ready).error());
      co_return;
    }
    int alive = PQconsumeInput(handle_);
    heard();
    take_results();
    if (broken_) co_return;
    if (!alive || PQstatus(handle_) == CONNECTION_BAD) {
      abandon({errc::closed, last_words_.empty() ? one_line(PQerrorMessage(handle_)) : last_words_});
      co_return;
    }
    flush();
  }
}

void connection::take_results() {
  bool ended = false;  // a statement's end was just seen: two in a row mean that there is nothing more
  while (!waiting_.empty() && !PQisBusy(handle_)) {
    auto* r = PQgetResult(handle_);
    if (!r) {
      if (std::exchange(ended, true)) break;
      continue;
    }
    ended = false;
    auto& head = *waiting_.front();
    switch (PQresultStatus(r)) {
      case PGRES_PIPELINE_SYNC: {
        PQclear(r);
        auto done = std::move(waiting_.front());
        waiting_.pop_front();
        if (!done->value) done->value.emplace(rows());
        done->done.set();
        break;
      }
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
        if (!head.value)
          head.value.emplace(rows(r));
        else
          PQclear(r);
        break;
      case PGRES_PIPELINE_ABORTED: PQclear(r); break;
      default: {
        auto* state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
        auto* severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
        auto* text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
        auto* detail = PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL);
        auto* table = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);
        std::string message = one_line(text ? text : PQresultErrorMessage(r));
        if (detail) message += fmt::format(" ({})", one_line(detail));
        if (table) message += fmt::format(" [constraint {}]", table);
        bool fatal =
            !state || !severity || std::string_view(severity) == "FATAL" || std::string_view(severity) == "PANIC";
        std::string code = state ? state : "";
        PQclear(r);
        if (fatal) {
          // The session is over; whether this request was committed before that is not known.
          abandon({errc::closed, std::move(message)});
          return;
        }
        if (!head.value || *head.value) {
          head.state = code;
          head.value.emplace(fail(code_of(code), fmt::format("{} (SQLSTATE {})", message, code)));
        }
      }
    }
  }
  while (auto* n = PQnotifies(handle_)) {
    if (on_notification) on_notification(n->be_pid, n->extra ? n->extra : "");
    PQfreemem(n);
  }
}

void connection::notice(void* self, const pg_result* r) {
  auto& c = *static_cast<connection*>(self);
  auto field = [&](int which) {
    auto* text = PQresultErrorField(r, which);
    return std::string_view(text ? text : "");
  };
  // The place in the server's source is the same in every language of its messages.
  if (field(PG_DIAG_SOURCE_FUNCTION) == "SyncRepWaitForLSN" && !c.waiting_.empty())
    c.waiting_.front()->not_replicated = true;
  auto severity = field(PG_DIAG_SEVERITY_NONLOCALIZED);
  auto text = one_line(PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY));
  if (severity == "FATAL" || severity == "PANIC")
    c.last_words_ = std::move(text);  // said to an idle connection, which ends with it
  else if (severity == "WARNING")
    log::warning("PostgreSQL warns: {}", text);
}

}  // namespace kedge::datastore::postgres
