#include <algorithm>

#include "base/strings.h"
#include "net/http/handler.h"
#include "net/limits.h"

namespace kedge::net::http {

void headers::set(std::string_view name, std::string value) {
  for (auto i = fields_.begin(); i != fields_.end(); ++i) {
    if (!iequals(i->first, name)) continue;
    i->second = std::move(value);
    fields_.erase(std::remove_if(i + 1, fields_.end(), [&](auto& f) { return iequals(f.first, name); }), fields_.end());
    return;
  }
  fields_.emplace_back(std::string(name), std::move(value));
}

void headers::remove(std::string_view name) {
  std::erase_if(fields_, [&](auto& f) { return iequals(f.first, name); });
}

std::string_view headers::get(std::string_view name) const noexcept {
  for (auto& f : fields_)
    if (iequals(f.first, name)) return f.second;
  return {};
}

bool headers::has(std::string_view name) const noexcept {
  for (auto& f : fields_)
    if (iequals(f.first, name)) return true;
  return false;
}

std::vector<std::string_view> headers::all(std::string_view name) const {
  std::vector<std::string_view> out;
  for (auto& f : fields_)
    if (iequals(f.first, name)) out.push_back(f.second);
  return out;
}

bool headers::has_token(std::string_view name, std::string_view token) const noexcept {
  for (auto& f : fields_) {
    if (!iequals(f.first, name)) continue;
    std::string_view rest = f.second;
    for (;;) {
      auto comma = rest.find(',');
      if (iequals(trim(rest.substr(0, comma)), token)) return true;
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return false;
}

task<result<std::string>> exchange::read_all() {
  std::string all;
  if (auto size = request().content_length) all.reserve(std::min<std::uint64_t>(*size, request_body_max_bytes));
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await read());
    if (piece.empty()) co_return std::move(all);
    all += as_text(piece.view());
  }
}

task<result<void>> exchange::respond(const http::response& head, std::string_view body) {
  auto part = as_bytes(body);
  co_return co_await respond(head, std::span<const bytes>(&part, 1));
}
task<result<void>> exchange::write(std::string_view text) {
  auto part = as_bytes(text);
  co_return co_await write(std::span<const bytes>(&part, 1));
}
task<result<void>> exchange::finish() {
  http::headers none;
  co_return co_await finish(none);
}

std::string_view reason_phrase(int status) noexcept {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Request Entity Too Large";
    case 414: return "Request URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Requested Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Entity";
    case 423: return "Locked";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return {};
  }
}

}  // namespace kedge::net::http
