// connection.h: one connection to PostgreSQL, asynchronous on the calling core's loop: libpq in pipeline mode.
//
//   send() ─▶ Bind · Execute · Sync ─▶ socket        any number of requests on their way, answered in order
//   request::done ◀─ ReadyForQuery ◀─ socket         so an answer also means that it was committed
//
// Every request is a transaction of its own unless it says BEGIN.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "datastore/link.h"
#include "reactor/descriptor.h"

struct pg_conn;
struct pg_result;

namespace kedge::datastore::postgres {

// Keyword and value, as libpq takes them.
using settings = std::vector<std::pair<std::string, std::string>>;

// libpq's reading of a connection URL; errc::invalid with libpq's words.
result<settings> parse_url(const std::string& url);
const std::string* find(const settings& s, std::string_view key);
void put(settings& s, std::string_view key, std::string value);

// A parameter in PostgreSQL's binary form.
struct parameter {
  unsigned type = 0;  // its object id
  std::string data;
  bool null = false;

  static parameter text(std::string_view s);
  static parameter bigint(std::int64_t n);
  static parameter integer(std::int32_t n);
};

// Builds a one-dimensional array element by element.
class array_parameter {
 public:
  enum class of : unsigned { bytea = 17, int8 = 20, int4 = 23, text = 25 };
  array_parameter(of element, std::size_t count, std::size_t bytes_about);
  void add(std::string_view raw);
  void add_int8(std::int64_t n);
  void add_int4(std::int32_t n);
  void add_null();
  parameter done() &&;

 private:
  of element_;
  std::string data_;
};

// Reads a one-dimensional array in binary form, element by element; what isn't one has none. A view into the rows.
class array_reader {
 public:
  explicit array_reader(std::string_view data);
  bool next();
  std::string_view bytes() const noexcept { return element_; }  // NULL reads as empty
  std::int64_t number() const noexcept;

 private:
  std::string_view rest_, element_;
  std::uint64_t left_ = 0;
};

// The rows of one statement, binary.
class rows {
 public:
  rows() = default;
  explicit rows(pg_result* r) : result_(r) {}
  rows(rows&& o) noexcept : result_(std::exchange(o.result_, nullptr)) {}
  rows& operator=(rows&& o) noexcept {
    std::swap(result_, o.result_);
    return *this;
  }
  ~rows();
  int size() const noexcept;
  bool null(int row, int column) const noexcept;
  // NULL reads as empty, 0 and false.
  std::string_view bytes(int row, int column) const noexcept;
  std::int64_t number(int row, int column) const noexcept;  // int2, int4, int8, boolean

 private:
  pg_result* result_ = nullptr;
};

struct request : link_request<rows> {
  bool not_replicated = false;  // committed here, but the wait for the standbys was cancelled
};

class connection final : public link<request> {
 public:
  using answer = rows;

  // Several hosts are tried one after the other, and each after the first adds its time to the deadline.
  static task<result<std::unique_ptr<connection>>> open(settings s, time_point deadline);
  ~connection();  // closes it; what is on its way fails with errc::closed

  // `sql` is one statement; or, with `prepared`, the name of one.
  request_ref send(const char* sql, const std::vector<parameter>& p = {}, bool prepared = false);
  task<result<rows>> run(const char* sql, std::vector<parameter> p = {}, bool prepared = false);
  task<result<void>> prepare(const char* name, const char* sql);

  int backend_pid() const noexcept;
  int server_version() const noexcept;
  std::string parameter_status(const char* name) const;

  // When the session began, by the server's clock: with its pid that names it for ever.
  std::string started;

  // Called for each notification with the sender's backend and its text.
  std::move_only_function<void(int pid, std::string_view payload)> on_notification;

 private:
  explicit connection(pg_conn* c) : handle_(c) {}
  static task<result<std::unique_ptr<connection>>> open_any(settings s);
  static task<result<std::unique_ptr<connection>>> open_one(settings s);
  task<void> read_loop();
  task<void> write_loop();
  void take_results();
  void flush();
  static void notice(void* self, const pg_result* r);

  pg_conn* handle_;
  reactor::descriptor socket_;  // a duplicate: libpq closes its own
  std::string last_words_;
  reactor::event must_write_;
  reactor::scope services_;  // last: ends first
};

// What an error of the server means for who asked (facts 3.1, errors by SQLSTATE).
errc code_of(std::string_view sqlstate);

}  // namespace kedge::datastore::postgres
