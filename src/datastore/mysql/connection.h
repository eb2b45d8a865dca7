// connection.h: one connection to MySQL or MariaDB on the calling core's loop: libmariadb's calls that return instead
// of waiting.
//
//   send() ─▶ queue ─▶ query ─▶ results, one after another ─▶ request::done      one request at a time: the protocol
//   has
//                        ▲ readable, writable                                     no more
//
// A request is statements in one packet or in several. The server runs them one after another and stops at the first
// error, then `after_error` is run before anything else.
//
// Only connecting is done by a thread: the library looks names up and shakes hands for TLS waiting.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "datastore/link.h"
#include "datastore/mysql/settings.h"
#include "reactor/descriptor.h"

struct st_mysql;
struct st_mysql_res;

namespace kedge::datastore::mysql {

// What one statement gave: rows, or what it changed.
class statement_result {
 public:
  statement_result(std::uint64_t affected, std::uint64_t insert_id) : affected_(affected), insert_id_(insert_id) {}
  explicit statement_result(st_mysql_res* r);

  int size() const noexcept { return columns_ == 0 ? 0 : static_cast<int>(cells_.size() / columns_); }
  bool null(int row, int column) const noexcept { return cell(row, column).data() == nullptr; }
  // NULL, and what isn't there, reads as empty and 0.
  std::string_view bytes(int row, int column) const noexcept { return cell(row, column); }
  std::int64_t number(int row, int column) const noexcept;
  std::uint64_t affected() const noexcept { return affected_; }
  std::uint64_t insert_id() const noexcept { return insert_id_; }

 private:
  std::string_view cell(int row, int column) const noexcept;

  struct release {
    void operator()(st_mysql_res* r) const noexcept;
  };
  std::unique_ptr<st_mysql_res, release> result_;
  std::size_t columns_ = 0;
  std::vector<std::string_view> cells_;
  std::uint64_t affected_ = 0, insert_id_ = 0;
};

struct request : link_request<std::vector<statement_result>> {
  std::vector<std::string> packets;
  std::string after_error;
  std::vector<statement_result> done_statements;  // before an error: those that went well
};

class connection final : public link<request> {
 public:
  using answer = std::vector<statement_result>;

  // errc::not_found: the server has no such database.
  static task<result<std::unique_ptr<connection>>> open(settings s, time_point deadline);
  ~connection();  // closes it; what is on its way fails with errc::closed

  // Each packet is one or more statements with semicolons between.
  request_ref send(std::vector<std::string> packets, std::string after_error = {});
  // The result of the last statement.
  task<result<statement_result>> run(std::string statements, std::string after_error = {});

  unsigned long id() const noexcept;  // the session's, with the server

  // A name that the session holds as a lock at the server, if it was asked to: while that is so, it lives.
  std::string mark;
  std::size_t packet_bytes_max = 0;  // what the server takes

 private:
  struct close_handle {
    void operator()(st_mysql* c) const noexcept;
  };
  using handle = std::unique_ptr<st_mysql, close_handle>;
  struct connecting;
  enum class phase : unsigned char { idle, query, store, next };

  explicit connection(handle h) : handle_(std::move(h)) {}
  static result<handle> connect(const settings& s, const connecting& bounds);
  task<void> read_loop();
  task<void> write_loop();
  void advance(int events);
  int call(int events);
  bool begin();
  void finished();
  void take_result();
  void failed_statement();
  void ended_packet();
  void look_aside();

  handle handle_;
  reactor::descriptor socket_;  // a duplicate: the library closes its own
  phase phase_ = phase::idle;
  int suspended_ = 0;  // what the call that is under way waits for
  int call_failed_ = 0;
  st_mysql_res* stored_ = nullptr;
  std::size_t packet_ = 0;  // of the first request, which one is under way
  bool cleaning_ = false;   // its after_error is
  reactor::event must_write_, wrote_;
  reactor::scope services_;  // last: ends first
};

// What the server's error means.
errc code_of(unsigned number);

}  // namespace kedge::datastore::mysql
