// h1_parser.h: HTTP/1.x messages from bytes, without I/O. llhttp in its strict mode does the grammar; this adds the
// limits and what RFC 9112 asks of a recipient to keep two readers of one message from disagreeing (request smuggling).
//
// feed() works in place: a message's body bytes are moved to the front of the buffer that it was given, so the caller
// can hand that same buffer on.
#pragma once

#include <llhttp.h>

#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "net/http/handler.h"

namespace kedge::net::http {

struct h1_head {
  std::string method;  // requests
  std::string target;  // requests
  int status = 0;      // responses
  version http = version::http1_1;
  http::headers headers;
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = false;
};

class h1_parser {
 public:
  enum class side : unsigned char { request, response };
  explicit h1_parser(side s);
  h1_parser(const h1_parser&) = delete;
  h1_parser& operator=(const h1_parser&) = delete;

  // For the next message; what was kept of the last is dropped.
  void reset();
  // The answer to come has no body whatever its head says (to HEAD; 2xx to CONNECT). After reset().
  void expect_no_body(bool to_connect) noexcept;

  struct progress {
    std::size_t consumed = 0;  // bytes used up; less than given only when the message is complete
    std::size_t body = 0;      // body bytes, moved to in's front
  };
  // Errors: errc::protocol, errc::too_large (head), errc::unsupported; status() is what a server should answer.
  result<progress> feed(mutable_bytes in);
  // The connection ended: fine between messages and for a response that lasts until the end.
  result<void> end();

  bool started() const noexcept { return started_; }  // a byte of this message has been seen
  bool head_complete() const noexcept { return head_complete_; }
  bool complete() const noexcept { return complete_; }
  h1_head& head() noexcept { return head_; }
  const http::headers& trailers() const noexcept { return trailers_; }
  int status() const noexcept { return error_status_; }

 private:
  struct callbacks;
  int refuse(int status, errc code, const char* why);
  int head_bytes(std::size_t n);
  int check_request();
  int check_response();

  llhttp_t parser_;
  side side_;
  bool started_ = false, head_complete_ = false, complete_ = false;
  bool no_body_ = false, to_connect_ = false;
  h1_head head_;
  http::headers trailers_;
  std::string name_, value_;
  std::size_t head_bytes_ = 0;
  std::size_t extension_bytes_ = 0;
  std::byte* front_ = nullptr;  // where the body goes while feed() runs
  std::size_t body_ = 0;
  int error_status_ = 400;
  errc error_code_ = errc::protocol;
  const char* error_text_ = nullptr;
};

// "host:port" or "" is what a Host header and an authority may be.
bool valid_authority(std::string_view text) noexcept;
// RFC 9110 §5.6.2.
bool is_token(std::string_view text) noexcept;

}  // namespace kedge::net::http
