#include "net/http/h1_parser.h"

#include <array>
#include <cstring>

#include "base/strings.h"
#include "net/limits.h"

namespace kedge::net::http {

namespace {
// Chunk extensions mean nothing to anybody and are dropped; a peer that sends many only wants to keep us busy.
constexpr std::size_t chunk_extension_max_bytes = 4096;
}  // namespace

namespace {

// Which bytes may stand there: all that is printable and not in `refused`.
constexpr std::array<bool, 256> printable_but(std::string_view refused) {
  std::array<bool, 256> out{};
  for (std::size_t c = 0x21; c < 0x7f; ++c) out[c] = refused.find(static_cast<char>(c)) == std::string_view::npos;
  return out;
}
bool all_of(const std::array<bool, 256>& allowed, std::string_view text) noexcept {
  for (unsigned char c : text)
    if (!allowed[c]) return false;
  return true;
}
constexpr auto in_token = printable_but("\"(),/:;<=>?@[\\]{}");
constexpr auto in_authority = printable_but("\"#,/<>?@\\^`{|}");

}  // namespace

bool is_token(std::string_view text) noexcept { return !text.empty() && all_of(in_token, text); }
bool valid_authority(std::string_view text) noexcept { return all_of(in_authority, text); }

struct h1_parser::callbacks {
  static h1_parser& self(llhttp_t* p) { return *static_cast<h1_parser*>(p->data); }

  static int url(llhttp_t* p, const char* at, std::size_t n) {
    auto& s = self(p);
    s.head_.target.append(at, n);
    if (s.head_.target.size() > header_max_bytes)
      return s.refuse(414, errc::too_large, "the request target is too long");
    return s.head_bytes(n);
  }
  static int reason(llhttp_t* p, const char*, std::size_t n) { return self(p).head_bytes(n); }
  static int name(llhttp_t* p, const char* at, std::size_t n) {
    auto& s = self(p);
    s.name_.append(at, n);
    return s.head_bytes(n);
  }
  static int value(llhttp_t* p, const char* at, std::size_t n) {
    auto& s = self(p);
    s.value_.append(at, n);
    return s.head_bytes(n);
  }
  static int field_complete(llhttp_t* p) {
    auto& s = self(p);
    auto& fields = s.head_complete_ ? s.trailers_ : s.head_.headers;
    if (fields.size() >= header_fields_max) return s.refuse(431, errc::too_large, "too many header fields");
    while (!s.value_.empty() && (s.value_.back() == ' ' || s.value_.back() == '\t')) s.value_.pop_back();
    // An obsolete line folding that llhttp would join, or a bare NUL: never sent by anything that means well.
    for (char c : {'\r', '\n', '\0'})
      if (s.value_.find(c) != std::string::npos)
        return s.refuse(400, errc::protocol, "a header value has a line break");
    if (s.side_ == side::request && !is_token(s.name_))
      return s.refuse(400, errc::protocol, "a header name is not a token");
    fields.add(std::move(s.name_), std::move(s.value_));
    s.name_.clear();
    s.value_.clear();
    return s.head_bytes(4);  // ": " and the line's end
  }
  static int extension(llhttp_t* p, const char*, std::size_t n) {
    auto& s = self(p);
    s.extension_bytes_ += n + 1;
    if (s.extension_bytes_ > chunk_extension_max_bytes)
      return s.refuse(400, errc::protocol, "too many chunk extensions");
    return 0;
  }
  static int head_complete(llhttp_t* p) {
    auto& s = self(p);
    auto& h = s.head_;
    h.http = p->http_minor == 0 ? version::http1_0 : version::http1_1;
    if (p->flags & F_CONTENT_LENGTH) h.content_length = p->content_length;
    h.chunked = p->flags & F_CHUNKED;
    h.keep_alive = llhttp_should_keep_alive(p);
    s.head_complete_ = true;
    if (int e = s.side_ == side::request ? s.check_request() : s.check_response()) return e;
    if (s.side_ == side::request) {
      h.method = llhttp_method_name(static_cast<llhttp_method_t>(p->method));
      return 0;
    }
    h.status = p->status_code;
    bool none = s.no_body_ || h.status / 100 == 1 || h.status == 204 || h.status == 304 ||
                (s.to_connect_ && h.status / 100 == 2);
    return none ? 1 : 0;
  }
  static int body(llhttp_t* p, const char* at, std::size_t n) {
    auto& s = self(p);
    std::memmove(s.front_ + s.body_, at, n);
    s.body_ += n;
    return 0;
  }
  static int message_complete(llhttp_t* p) {
    self(p).complete_ = true;
    return HPE_PAUSED;
  }

  static const llhttp_settings_t& settings() {
    static const llhttp_settings_t all = [] {
      llhttp_settings_t s;
      llhttp_settings_init(&s);
      s.on_url = url;
      s.on_status = reason;
      s.on_header_field = name;
      s.on_header_value = value;
      s.on_header_value_complete = field_complete;
      s.on_chunk_extension_name = extension;
      s.on_chunk_extension_value = extension;
      s.on_headers_complete = head_complete;
      s.on_body = body;
      s.on_message_complete = message_complete;
      return s;
    }();
    return all;
  }
};

h1_parser::h1_parser(side s) : side_(s) { reset(); }

void h1_parser::reset() {
  llhttp_init(&parser_, side_ == side::request ? HTTP_REQUEST : HTTP_RESPONSE, &callbacks::settings());
  parser_.data = this;
  started_ = head_complete_ = complete_ = no_body_ = to_connect_ = false;
  head_ = {};
  trailers_ = {};
  name_.clear();
  value_.clear();
  head_bytes_ = extension_bytes_ = 0;
  error_text_ = nullptr;
}

void h1_parser::expect_no_body(bool to_connect) noexcept {
  no_body_ = !to_connect;
  to_connect_ = to_connect;
}

int h1_parser::refuse(int status, errc code, const char* why) {
  error_status_ = status;
  error_code_ = code;
  error_text_ = why;
  return HPE_USER;
}

int h1_parser::head_bytes(std::size_t n) {
  head_bytes_ += n;
  return head_bytes_ > header_max_bytes ? refuse(431, errc::too_large, "the header is too large") : 0;
}

// RFC 9112 §3.2, §6.1, §6.3, as far as llhttp leaves it to us.
int h1_parser::check_request() {
  if (parser_.http_major != 1 || parser_.http_minor > 1) return refuse(505, errc::unsupported, "not HTTP/1.0 or 1.1");
  std::size_t hosts = 0;
  std::string_view host;
  for (auto& [n, v] : head_.headers) {
    if (n.size() == 4 && iequals(n, "host")) {
      ++hosts;
      host = v;
    } else if (n.size() == 17 && iequals(n, "transfer-encoding")) {
      if (head_.http == version::http1_0) return refuse(400, errc::protocol, "Transfer-Encoding in HTTP/1.0");
      if (!iequals(v, "chunked")) return refuse(501, errc::unsupported, "a Transfer-Encoding other than chunked");
    }
  }
  if (hosts > 1 || (hosts == 0 && head_.http == version::http1_1))
    return refuse(400, errc::protocol, "there must be one Host header");
  if (!valid_authority(host)) return refuse(400, errc::protocol, "the Host header is malformed");
  auto transfer_encodings = head_.headers.all("transfer-encoding").size();
  if (transfer_encodings > 1 || (transfer_encodings == 1 && !head_.chunked))
    return refuse(400, errc::protocol, "Transfer-Encoding must be chunked, once");
  if (head_.chunked && head_.content_length)
    return refuse(400, errc::protocol, "both Transfer-Encoding and Content-Length");
  for (unsigned char c : head_.target)
    if (c <= 0x20 || c >= 0x7f || c == '#') return refuse(400, errc::protocol, "the request target is malformed");
  return 0;
}

int h1_parser::check_response() {
  if (parser_.http_major != 1 || parser_.http_minor > 1) return refuse(505, errc::unsupported, "not HTTP/1.0 or 1.1");
  return 0;
}

result<h1_parser::progress> h1_parser::feed(mutable_bytes in) {
  if (complete_ || in.empty()) return progress{};
  started_ = true;
  front_ = in.data();
  body_ = 0;
  auto* data = reinterpret_cast<const char*>(in.data());
  auto e = llhttp_execute(&parser_, data, in.size());
  if (e == HPE_OK) return progress{in.size(), body_};
  if (complete_ && (e == HPE_PAUSED || e == HPE_PAUSED_UPGRADE))
    return progress{static_cast<std::size_t>(llhttp_get_error_pos(&parser_) - data), body_};
  if (error_text_) return fail(error_code_, error_text_);
  switch (e) {
    case HPE_INVALID_METHOD: error_status_ = 501; break;
    case HPE_INVALID_VERSION: error_status_ = 505; break;
    default: error_status_ = 400; break;
  }
  auto* reason = llhttp_get_error_reason(&parser_);
  return fail(errc::protocol,
              std::string("malformed HTTP/1 message: ") + (reason && *reason ? reason : llhttp_errno_name(e)));
}

result<void> h1_parser::end() {
  if (!started_ || complete_) return {};
  auto e = llhttp_finish(&parser_);
  if (complete_) return {};
  if (e != HPE_OK || !head_complete_) return fail(errc::closed, "the connection ended in the middle of a message");
  return fail(errc::closed, "the connection ended in the middle of a body");
}

}  // namespace kedge::net::http
