#include "api/answer/answer.h"

#include <fmt/format.h>

#include <set>

#include "api/answer/gzip.h"
#include "api/answer/limits.h"
#include "api/custom/definition.h"
#include "base/strings.h"
#include "json/parse.h"
#include "reactor/loop.h"
#include "reactor/offload.h"

namespace kedge::api {
namespace {

task<void> send_gzip(net::http::exchange& e, reply& r, net::http::response head, std::string body) {
  head.headers.add("Content-Encoding", "gzip");
  head.headers.add("Vary", "Accept-Encoding");
  if (!co_await e.start(head)) co_return;
  gzip_writer writer;
  std::string out;
  for (std::size_t at = 0; at < body.size(); at += gzip_piece_bytes) {
    auto piece = std::string_view(body).substr(at, gzip_piece_bytes);
    if (!writer.add(piece, at + piece.size() == body.size(), out)) {
      e.abort();
      co_return;
    }
    if (!out.empty() && !co_await e.write(out)) co_return;
    r.bytes += out.size();
    out.clear();
    co_await reactor::yield();
  }
  (void)co_await e.finish();
}

}  // namespace

std::vector<std::string> warning_headers(const std::vector<std::string>& texts) {
  std::vector<std::string> out;
  std::size_t all = 0;
  for (auto& t : texts) all += t.size();
  std::size_t used = 0;
  std::set<std::string_view> told;
  for (auto& t : texts) {
    if (!told.insert(t).second) continue;
    if (out.size() == warnings_max) break;
    auto cut = all > warnings_max_bytes && t.size() > warning_text_max_bytes
                   ? std::string_view(t).substr(0, warning_text_max_bytes)
                   : std::string_view(t);
    std::string quoted;
    for (char c : cut) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
    used += quoted.size();
    if (used > warnings_max_bytes) break;
    out.push_back(fmt::format("299 - \"{}\"", quoted));
  }
  return out;
}

net::http::response head_of(const reply& r, int code, std::string_view content_type) {
  net::http::response head;
  head.status = code;
  auto& h = head.headers;
  h.add("Audit-Id", r.audit_id);
  h.add("Cache-Control", "no-cache, private");
  h.add("Content-Type", std::string(content_type));
  if (r.flow_schema && r.priority_level) {
    h.add("X-Kubernetes-PF-FlowSchema-UID", *r.flow_schema);
    h.add("X-Kubernetes-PF-PriorityLevel-UID", *r.priority_level);
  }
  if (!r.warnings.empty())
    for (auto& w : warning_headers(r.warnings)) h.add("Warning", std::move(w));
  return head;
}

task<void> send_text(net::http::exchange& e, reply& r, int code, std::string body, std::string content_type) {
  return send_body(e, r, head_of(r, code, content_type), std::move(body));
}

task<void> send_body(net::http::exchange& e, reply& r, net::http::response head, std::string body) {
  r.code = head.status;
  if (r.gzip && head.status == 200 && body.size() > gzip_min_bytes) {
    co_await send_gzip(e, r, std::move(head), std::move(body));
    co_return;
  }
  r.bytes = body.size();
  (void)co_await e.respond(head, body);
}

task<void> send_value(net::http::exchange& e, reply& r, int code, const json::value& v) {
  if (r.witness && (r.witness->wants_objects() || v["kind"].as_string() == "Status")) r.witness->answered(v);
  auto text = encode_value(v, r.as.as);
  return send_text(e, r, code, std::move(text), r.as.as.content_type());
}

task<void> send_status(net::http::exchange& e, reply& r, const status& s) {
  if (e.started()) co_return;  // too late to say anything
  auto as = r.as.as;
  as.as = shape::whole;
  as.watch = false;
  r.code = s.code;
  r.reason = s.reason;
  if (r.witness) r.witness->refused(s);
  auto body = encode_value(s.to_json(), as);
  auto head = head_of(r, s.code, as.content_type());
  if (s.retry_after_seconds > 0) head.headers.add("Retry-After", std::to_string(s.retry_after_seconds));
  if (s.code == 403) head.headers.add("X-Content-Type-Options", "nosniff");
  (void)co_await e.respond(head, body);
}

task<void> send_object(net::http::exchange& e, reply& r, const served& s, int code, store::object_ref o) {
  if (r.witness && r.witness->wants_objects())
    co_return co_await send_stored_form(e, r, s, code, json::value(*parsed(o)));
  if (!r.as.as.plain_json() || !is_ready(s, *o)) {
    if (o->bytes().size() > encoded_apart_bytes && r.as.as.as != shape::partial_list) {
      auto now = reactor::loop::current().wall_now();
      auto text = co_await reactor::offload([o, of = custom::lasting(s), as = r.as, now] {
        auto v = json::parse(o->bytes());
        return encode_value(shape_object(*of, v ? *std::move(v) : json::value(json::object{}), as, now), as.as);
      });
      if (text) co_return co_await send_text(e, r, code, *std::move(text), r.as.as.content_type());
      // Too much waits there: then here.
    }
    auto v = json::value(*parsed(o));
    co_await send_stored_form(e, r, s, code, std::move(v));
    co_return;
  }
  if (r.gzip && o->bytes().size() > gzip_min_bytes) {
    co_await send_text(e, r, code, std::string(o->bytes()) + "\n", std::string("application/json"));
    co_return;
  }
  r.code = code;
  r.bytes = o->bytes().size() + 1;
  auto head = head_of(r, code, "application/json");
  const bytes parts[] = {as_bytes(o->bytes()), as_bytes("\n")};
  (void)co_await e.respond(head, parts);
}

task<void> send_stored_form(net::http::exchange& e, reply& r, const served& s, int code, json::value v) {
  if (r.as.as.as == shape::partial_list) {
    co_await send_status(e, r,
                         not_acceptable(fmt::format(
                             "you requested PartialObjectMetadataList, but the requested object is not a list (*{}.{})",
                             s.version, s.kind)));
    co_return;
  }
  auto shaped = shape_object(s, std::move(v), r.as, reactor::loop::current().wall_now());
  co_await send_value(e, r, code, shaped);
}

}  // namespace kedge::api
