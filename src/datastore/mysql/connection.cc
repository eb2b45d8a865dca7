#include "datastore/mysql/connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <mysql.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <initializer_list>
#include <utility>

#include "base/assert.h"
#include "base/strings.h"
#include "datastore/limits.h"
#include "datastore/mysql/libmariadb.h"
#include "datastore/mysql/limits.h"
#include "reactor/offload_remote.h"

namespace kedge::datastore::mysql {

// ---- results

statement_result::statement_result(st_mysql_res* r) : result_(r), columns_(mysql_num_fields(r)) {
  while (auto row = mysql_fetch_row(r)) {
    auto* lengths = mysql_fetch_lengths(r);
    for (std::size_t i = 0; i < columns_; ++i)
      cells_.push_back(row[i] ? std::string_view(row[i], lengths[i]) : std::string_view());
  }
}
void statement_result::release::operator()(st_mysql_res* r) const noexcept { mysql_free_result(r); }

std::string_view statement_result::cell(int row, int column) const noexcept {
  auto at = static_cast<std::size_t>(row) * columns_ + static_cast<std::size_t>(column);
  return at < cells_.size() && static_cast<std::size_t>(column) < columns_ ? cells_[at] : std::string_view();
}
std::int64_t statement_result::number(int row, int column) const noexcept {
  return parse_int(bytes(row, column)).value_or(0);
}

errc code_of(unsigned number) {
  struct row {
    errc code;
    std::initializer_list<unsigned> numbers;
  };
  static const row table[] = {
      {errc::timeout, {1205, 1969, 3024, 3572}},  // a lock's wait, a statement's time
      {errc::conflict, {1062, 1213, 3058}},       // a duplicate, a deadlock
      {errc::forbidden, {1044, 1045, 1142, 1143, 1227, 1698}},
      {errc::not_found, {1049}},                                           // no such database
      {errc::exhausted, {167, 1021, 1026, 1037, 1038, 1041, 1114, 1467}},  // ids, disk, memory
      {errc::unavailable, {1040, 1203, 1226, 1290, 1836}},                 // connections; read only
      {errc::invalid, {1264, 1366, 1406}},
      {errc::unsupported, {1054, 1064, 1146, 1176, 1193, 1235, 1305}},
      {errc::corrupt, {1034, 1194, 1195, 1712}},
  };
  for (auto& r : table)
    for (auto known : r.numbers)
      if (known == number) return r.code;
  return number >= 2000 && number < 3000 ? errc::unavailable : errc::internal;
}

namespace {

// The session is over with these, or with what the library itself says.
bool ends_session(unsigned number) {
  if (number == 0 || (number >= 2000 && number < 3000)) return true;
  for (unsigned known : {1053u, 1152u, 1153u, 1158u, 1159u, 1160u, 1161u, 1184u, 1927u, 3169u, 4031u})
    if (number == known) return true;
  return false;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

// ---- connecting

struct connection::connecting {
  std::chrono::steady_clock::time_point deadline;
  std::atomic<bool> given_up = false;
};

namespace {

// Of the attempt that this thread makes. The library has timeouts of its own, in seconds, and not for all that it waits
// for.
thread_local std::move_only_function<bool()> may_wait;

int wait_io(my_socket fd, my_bool reading, int) {
  while (may_wait && may_wait()) {
    pollfd p{fd, static_cast<short>(reading ? POLLIN : POLLOUT), 0};
    int n = ::poll(&p, 1, static_cast<int>(silence_interval.count()));
    if (n > 0 || (n < 0 && errno != EINTR)) return n;
  }
  errno = ETIMEDOUT;
  return 0;
}

}  // namespace

void connection::close_handle::operator()(st_mysql* c) const noexcept { mysql_close(c); }

result<connection::handle> connection::connect(const settings& s, const connecting& bounds) {
  KEDGE_CHECK(load_libmariadb());
  handle h(mysql_init(nullptr));
  kedge_assert(h);
  auto* c = h.get();
  const unsigned none = 0, seconds = 60;  // must not be 0, and is more than wait_io allows
  const my_bool on = 1;
  mysql_options(c, MYSQL_OPT_NONBLOCK, &call_stack_bytes);
  mysql_options(c, MARIADB_OPT_IO_WAIT, reinterpret_cast<const void*>(&wait_io));
  mysql_options(c, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
  mysql_options(c, MYSQL_OPT_LOCAL_INFILE, &none);
  mysql_options(c, MYSQL_SET_CHARSET_NAME, "binary");
  mysql_options4(c, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "kedge");
  // Those that don't hand the password to who asks.
  std::string ways =
      "mysql_native_password caching_sha2_password sha256_password client_ed25519 parsec auth_gssapi_client";
  if (s.cleartext_passwords) ways += " mysql_clear_password dialog";
  mysql_options(c, MARIADB_OPT_RESTRICTED_AUTH, ways.c_str());
  // "localhost" would be a socket.
  const unsigned over = s.socket.empty() ? MYSQL_PROTOCOL_TCP : MYSQL_PROTOCOL_SOCKET;
  mysql_options(c, MYSQL_OPT_PROTOCOL, &over);
  auto file = [](const std::string& path) { return path.empty() ? nullptr : path.c_str(); };
  if (s.tls != settings::tls_use::none) {
    mysql_ssl_set(c, file(s.key_file), file(s.certificate_file), file(s.ca_file), nullptr, nullptr);
    mysql_options(c, MYSQL_OPT_SSL_ENFORCE, &on);
    if (s.tls == settings::tls_use::checked) mysql_options(c, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &on);
  }
  may_wait = [&bounds] { return !bounds.given_up && std::chrono::steady_clock::now() < bounds.deadline; };
  auto* made = mysql_real_connect(c, s.socket.empty() ? s.host.c_str() : nullptr, s.user.c_str(), s.password.c_str(),
                                  file(s.database), s.port, file(s.socket), CLIENT_MULTI_STATEMENTS);
  may_wait = nullptr;
  if (!made) {
    if (std::chrono::steady_clock::now() >= bounds.deadline)
      return fail(errc::unavailable, "the server does not answer in time");
    auto number = mysql_errno(c);
    auto message = one_line(mysql_error(c));
    return fail(code_of(number) == errc::internal ? errc::unavailable : code_of(number), std::move(message));
  }
  // The library goes on without TLS where a server has none.
  if ((s.tls == settings::tls_use::checked || s.tls == settings::tls_use::unchecked) && !mysql_get_ssl_cipher(c))
    return fail(errc::unsupported, "the server has no TLS, which the endpoint asks for");
  return h;
}

task<result<std::unique_ptr<connection>>> connection::open(settings s, time_point deadline) {
  auto bounds = std::make_shared<connecting>();
  bounds->deadline = std::chrono::steady_clock::now() + (deadline - reactor::loop::current().now());
  // Whoever drops this task does not wait for the thread, which ends soon.
  struct give_up_at_end {
    connecting& bounds;
    ~give_up_at_end() { bounds.given_up = true; }
  } at_end{*bounds};
  KEDGE_CO_TRY(auto made, co_await reactor::offload_remote([s = std::move(s), bounds] { return connect(s, *bounds); }));
  KEDGE_CO_TRY(auto h, std::move(made));
  auto fd = mysql_get_socket(h.get());
  int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0 || ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
    co_return fail(os_error(errno, "connecting to MySQL"));
  std::unique_ptr<connection> c(new connection(std::move(h)));
  c->socket_ = reactor::descriptor(copy);
  c->services_.spawn(c->read_loop());
  c->services_.spawn(c->write_loop());
  co_return c;
}

connection::~connection() {
  services_.cancel();
  end({errc::closed, "the connection was closed"});
  if (suspended_ != 0 || phase_ != phase::idle) {
    // The library's call is told that its time is over, so that it gives back what it holds.
    ::shutdown(mysql_get_socket(handle_.get()), SHUT_RDWR);
    for (int tries = 0; suspended_ != 0 && tries < 16; ++tries) suspended_ = call(MYSQL_WAIT_TIMEOUT);
    if (phase_ == phase::store && suspended_ == 0 && stored_) mysql_free_result(stored_);
  }
  socket_.close();
}

unsigned long connection::id() const noexcept { return mysql_thread_id(handle_.get()); }

// ---- requests

connection::request_ref connection::send(std::vector<std::string> packets, std::string after_error) {
  if (broken_) return refused();
  kedge_assert(!packets.empty());
  auto r = std::make_shared<request>();
  r->packets = std::move(packets);
  r->after_error = std::move(after_error);
  add(r);
  if (phase_ == phase::idle) advance(0);
  return r;
}

task<result<statement_result>> connection::run(std::string statements, std::string after_error) {
  std::vector<std::string> packets;
  packets.push_back(std::move(statements));
  auto r = send(std::move(packets), std::move(after_error));
  co_await r->done.wait();
  if (!*r->value) co_return fail(std::move(*r->value).error());
  if ((*r->value)->empty()) co_return statement_result(0, 0);
  co_return std::move((*r->value)->back());
}

// Starts the call of this phase, or lets it go on after `events`; gives what it waits for, 0 when it is over.
int connection::call(int events) {
  auto* c = handle_.get();
  switch (phase_) {
    case phase::query: {
      if (events != 0) return mysql_real_query_cont(&call_failed_, c, events);
      auto& r = *waiting_.front();
      auto& text = cleaning_ ? r.after_error : r.packets[packet_];
      return mysql_real_query_start(&call_failed_, c, text.data(), text.size());
    }
    case phase::store:
      return events != 0 ? mysql_store_result_cont(&stored_, c, events) : mysql_store_result_start(&stored_, c);
    case phase::next:
      return events != 0 ? mysql_next_result_cont(&call_failed_, c, events) : mysql_next_result_start(&call_failed_, c);
    case phase::idle: break;
  }
  return 0;
}

void connection::advance(int events) {
  while (!broken_) {
    if (phase_ == phase::idle && !begin()) return;
    suspended_ = call(std::exchange(events, 0));
    if (suspended_ != 0) {
      if (suspended_ & MYSQL_WAIT_WRITE) must_write_.set();
      return;
    }
    finished();
  }
}

bool connection::begin() {
  if (waiting_.empty()) return false;
  packet_ = 0;
  cleaning_ = false;
  phase_ = phase::query;
  return true;
}

// The call of this phase is over: what comes next.
void connection::finished() {
  switch (phase_) {
    case phase::next:
      if (call_failed_ < 0) return ended_packet();
      [[fallthrough]];
    case phase::query:
      if (call_failed_ != 0) return failed_statement();
      if (mysql_field_count(handle_.get()) != 0) {
        phase_ = phase::store;
        return;
      }
      return take_result();
    case phase::store:
      if (!stored_) return failed_statement();
      return take_result();
    case phase::idle: return;
  }
}

void connection::take_result() {
  auto* c = handle_.get();
  auto& done = waiting_.front()->done_statements;
  if (phase_ == phase::store) {
    statement_result r(std::exchange(stored_, nullptr));
    if (!cleaning_) done.push_back(std::move(r));
  } else if (!cleaning_) {
    done.emplace_back(mysql_affected_rows(c), mysql_insert_id(c));
  }
  phase_ = phase::next;
  if (!mysql_more_results(c)) ended_packet();
}

void connection::ended_packet() {
  auto& r = *waiting_.front();
  if (!cleaning_ && ++packet_ < r.packets.size()) {
    phase_ = phase::query;
    return;
  }
  phase_ = phase::idle;
  auto done = std::move(waiting_.front());
  waiting_.pop_front();
  if (!done->value) done->value.emplace(std::move(done->done_statements));
  done->done.set();
}

void connection::failed_statement() {
  auto number = mysql_errno(handle_.get());
  auto message = fmt::format("{} (error {})", one_line(mysql_error(handle_.get())), number);
  auto& r = *waiting_.front();
  if (cleaning_ || ends_session(number)) return abandon({errc::closed, std::move(message)});
  r.state = std::to_string(number);
  r.value.emplace(fail(code_of(number), std::move(message)));
  packet_ = r.packets.size();
  if (r.after_error.empty()) return ended_packet();
  cleaning_ = true;
  phase_ = phase::query;
}

task<void> connection::write_loop() {
  for (;;) {
    co_await must_write_.wait();
    must_write_.reset();
    if (!co_await socket_.writable()) co_return;  // the reader says what happened
    if (broken_) co_return;
    if (suspended_ & MYSQL_WAIT_WRITE) advance(MYSQL_WAIT_WRITE);
    wrote_.pulse();
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
    heard();
    if (suspended_ & MYSQL_WAIT_READ)
      advance(MYSQL_WAIT_READ);
    else if (suspended_ != 0)
      co_await wrote_.wait();  // it answers before it has everything; the library comes to that after writing
    else if (phase_ == phase::idle)
      look_aside();
  }
}

// Nothing was asked: the server's end, or why it ends the session.
void connection::look_aside() {
  char byte;
  auto n = ::recv(socket_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  abandon({errc::closed, n < 0 ? os_error(errno, "reading").message : "the server has ended the session"});
}

}  // namespace kedge::datastore::mysql
