// h1_write.h: heads of HTTP/1.1 messages as text, appended to a string.
#pragma once

#include <string>

#include "net/http/handler.h"

namespace kedge::net::http {

struct h1_framing {
  enum class body : unsigned char { none, length, chunked, until_close } body = body::none;
  std::uint64_t length = 0;
  bool close = false;           // Connection: close
  bool keep_alive_1_0 = false;  // HTTP/1.0 clients must be told
};

// "HTTP/1.1 200 OK" with the Date, framing and connection fields; those of the same names in `head` are left out. Line
// breaks in a value become spaces: a handler that echoes input can't split the answer.
void append_response_head(std::string& out, const response& head, const h1_framing& framing);
// 101 and 200 to CONNECT: the head's fields as they are.
void append_upgrade_head(std::string& out, const response& head);
void append_request_head(std::string& out, std::string_view method, std::string_view target, std::string_view host,
                         const headers& fields, const h1_framing& framing);
void append_fields(std::string& out, const headers& fields);  // trailers
// "1f40\r\n"
void append_chunk_head(std::string& out, std::size_t size);
// IMF-fixdate of the loop's wall clock, rendered once a second.
std::string_view http_date();

}  // namespace kedge::net::http
