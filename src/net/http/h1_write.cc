#include "net/http/h1_write.h"

#include <charconv>
#include <cstring>

#include "base/strings.h"
#include "net/http/h1_parser.h"
#include "reactor/loop.h"

namespace kedge::net::http {

namespace {

void append_number(std::string& out, std::uint64_t n, int base = 10) {
  char text[20];
  auto end = std::to_chars(text, text + sizeof text, n, base).ptr;
  out.append(text, end);
}

bool is_break(char c) { return (c == '\r') | (c == '\n') | (c == '\0'); }

void append_field(std::string& out, std::string_view name, std::string_view value) {
  if (!is_token(name)) return;
  out += name;
  out += ": ";
  auto start = out.size();
  out += value;
  bool broken = false;  // looked for without a branch a byte: nearly none is
  for (char c : value) broken |= is_break(c);
  if (broken)
    for (auto i = start; i < out.size(); ++i)
      if (is_break(out[i])) out[i] = ' ';
  out += "\r\n";
}

// Fields that describe this connection or this framing, which only the connection knows.
bool is_framing(std::string_view name) {
  switch (name.size()) {
    case 4: return iequals(name, "date");
    case 10: return iequals(name, "connection") || iequals(name, "keep-alive");
    case 14: return iequals(name, "content-length");
    case 17: return iequals(name, "transfer-encoding");
    default: return false;
  }
}

void append_framing(std::string& out, const h1_framing& f) {
  if (f.body == h1_framing::body::length) {
    out += "Content-Length: ";
    append_number(out, f.length);
    out += "\r\n";
  } else if (f.body == h1_framing::body::chunked) {
    out += "Transfer-Encoding: chunked\r\n";
  }
  if (f.close)
    out += "Connection: close\r\n";
  else if (f.keep_alive_1_0)
    out += "Connection: keep-alive\r\n";
}

void append_status_line(std::string& out, int status) {
  if (status == 200) {
    out += "HTTP/1.1 200 OK\r\n";
    return;
  }
  out += "HTTP/1.1 ";
  append_number(out, static_cast<std::uint64_t>(status));
  out += ' ';
  out += reason_phrase(status);
  out += "\r\n";
}

}  // namespace

std::string_view http_date() {
  thread_local std::int64_t rendered = -1;
  thread_local char text[30];
  auto now = std::chrono::floor<std::chrono::seconds>(reactor::loop::current().wall_now());
  auto seconds = now.time_since_epoch().count();
  if (seconds != rendered) {
    rendered = seconds;
    static constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                             "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    auto day = std::chrono::floor<std::chrono::days>(now);
    std::chrono::year_month_day date(day);
    auto of_day = static_cast<int>((now - day).count());
    auto two = [](char* at, int n) {
      at[0] = static_cast<char>('0' + n / 10);
      at[1] = static_cast<char>('0' + n % 10);
    };
    std::memcpy(text, "Thu, 01 Jan 1970 00:00:00 GMT", 30);
    std::memcpy(text, days[std::chrono::weekday(day).c_encoding()], 3);
    two(text + 5, static_cast<int>(static_cast<unsigned>(date.day())));
    std::memcpy(text + 8, months[static_cast<unsigned>(date.month()) - 1], 3);
    two(text + 12, static_cast<int>(date.year()) / 100);
    two(text + 14, static_cast<int>(date.year()) % 100);
    two(text + 17, of_day / 3600);
    two(text + 20, of_day / 60 % 60);
    two(text + 23, of_day % 60);
  }
  return {text, 29};
}

void append_fields(std::string& out, const headers& fields) {
  for (auto& [name, value] : fields) append_field(out, name, value);
}

void append_response_head(std::string& out, const response& head, const h1_framing& framing) {
  append_status_line(out, head.status);
  for (auto& [name, value] : head.headers)
    if (!is_framing(name)) append_field(out, name, value);
  out += "Date: ";
  out += http_date();
  out += "\r\n";
  append_framing(out, framing);
  out += "\r\n";
}

void append_upgrade_head(std::string& out, const response& head) {
  append_status_line(out, head.status);
  append_fields(out, head.headers);
  out += "\r\n";
}

void append_request_head(std::string& out, std::string_view method, std::string_view target, std::string_view host,
                         const headers& fields, const h1_framing& framing) {
  out += method;
  out += ' ';
  out += target;
  out += " HTTP/1.1\r\n";
  append_field(out, "Host", host);
  for (auto& [name, value] : fields) {
    if (iequals(name, "host") || iequals(name, "content-length") || iequals(name, "transfer-encoding")) continue;
    append_field(out, name, value);
  }
  append_framing(out, framing);
  out += "\r\n";
}

void append_chunk_head(std::string& out, std::size_t size) {
  append_number(out, size, 16);
  out += "\r\n";
}

}  // namespace kedge::net::http
