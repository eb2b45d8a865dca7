// openapi_paths.cc: /openapi/v2 and /openapi/v3, in the forms that clients ask for.
//
// A document is made when it is asked for, by another thread, sent, and dropped: it takes some milliseconds and a
// megabyte, and a client asks once and keeps it by its ETag.
#include <fmt/format.h>

#include <ctime>

#include "api/aggregation/openapi_v3.h"
#include "api/handler.h"
#include "api/publish/custom_openapi.h"
#include "reactor/loop.h"
#include "reactor/offload.h"
#include "schema/openapi.h"
#include "schema/openapi_proto.h"

namespace kedge::api {
namespace {

enum class openapi_form : unsigned char { json, protobuf, none };

// The client's best choice. The server's own spelling of the protobuf type has a dot where clients write an @.
openapi_form form_of(std::string_view accept, bool protobuf_served) {
  auto clauses = parse_accept(accept);
  if (clauses.empty()) return openapi_form::json;
  for (auto& c : clauses) {
    if (c.type == "application/json" || c.type == "application/*" || c.type == "*/*") return openapi_form::json;
    if (protobuf_served && (c.type == "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" ||
                            c.type == schema::openapi_v2_proto_type))
      return openapi_form::protobuf;
  }
  return openapi_form::none;
}

bool names_etag(std::string_view header, std::string_view etag) {
  return !header.empty() && (header == "*" || header.find(etag) != std::string_view::npos);
}

// RFC 9110 §5.6.7
std::string http_date(wall_time when) {
  auto seconds =
      std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::system_clock::duration>(when));
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  auto size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text, size);
}

// With what custom resources and other servers add, which may be megabytes.
std::string document_text(const registry& tables, const aggregation::documents& others, const std::string& name,
                          openapi_form form, std::string_view version) {
  if (form == openapi_form::protobuf)
    return aggregation::with_openapi_v2_protobuf(
        custom::with_openapi_v2_protobuf(tables, schema::openapi_v2_protobuf(version), version), others, version);
  if (name == "v2")
    return aggregation::with_openapi_v2(custom::with_openapi_v2(tables, schema::openapi_v2(version)), others);
  if (auto own = custom::openapi_v3(tables, name, version)) return *std::move(own);
  if (auto made = schema::openapi_v3(name, version)) return *std::move(made);
  auto older = aggregation::swagger_alone(others, name);
  return older ? aggregation::openapi_v3_of(*older) : std::string();
}

task<void> answer_empty(api_request& r, net::http::response head) {
  r.answer.code = head.status;
  (void)co_await r.http.respond(head, std::string_view());
}

}  // namespace

task<void> api_handler::serve_openapi(api_request& r, std::string_view path) {
  const auto& version = parts_.version.git_version;
  const auto& headers = r.http.request().headers;
  const auto others = co_await documents_of_others(r);
  if (path == "/openapi/v3") {
    auto index = aggregation::with_openapi_v3(custom::openapi_v3_index(*r.tables, version), *others);
    co_await send_text(r.http, r.answer, 200, std::move(index), "application/json");
    co_return;
  }
  const bool second = path == "/openapi/v2";
  const auto name = std::string(second                             ? "v2"
                                : path.starts_with("/openapi/v3/") ? path.substr(12)
                                                                   : std::string_view());
  if (auto owner = r.others ? r.others->find_name(aggregation::openapi_v3_owner(*others, name)) : nullptr)
    co_return co_await hand_over(r, std::move(owner));
  bool known = second;
  for (auto& p : schema::openapi_v3_paths()) known = known || p == name;
  known = known || custom::openapi_hash(*r.tables, name, version);
  const auto* older = known ? nullptr : aggregation::swagger_alone(*others, name);
  known = known || older;
  if (!known) {
    co_await send_plain(r, 404, "404 page not found\n");
    co_return;
  }
  const auto form = form_of(headers.get("Accept"), second);
  if (form == openapi_form::none) {
    co_await answer_empty(r, head_of(r.answer, 406, "text/plain"));
    co_return;
  }
  const bool protobuf = form == openapi_form::protobuf;
  // Each form is another representation and has an ETag of its own; v3's is the hash that the index names.
  const auto document = protobuf ? name + ".protobuf" : name;
  auto hash = custom::openapi_hash(*r.tables, document, version).value_or(schema::openapi_hash(document, version));
  if (second) hash += aggregation::openapi_v2_mark(*others);
  if (older) hash = older->v2_digest;
  const auto asked = r.query.get("hash");
  if (!second && !asked.empty() && asked != hash) {
    auto head = head_of(r.answer, 301, "text/plain");
    head.headers.add("Location", fmt::format("{}?hash={}", path, hash));
    co_await answer_empty(r, std::move(head));
    co_return;
  }
  const bool unchanged = names_etag(headers.get("If-None-Match"), hash);
  const auto type = protobuf ? schema::openapi_v2_proto_type : std::string_view("application/json");
  auto head = head_of(r.answer, unchanged ? 304 : 200, type);
  head.headers.add("ETag", "\"" + hash + "\"");
  head.headers.add("Vary", "Accept");
  if (!asked.empty()) {
    head.headers.set("Cache-Control", "public, immutable");
    head.headers.add("Expires", http_date(reactor::loop::current().wall_now() + std::chrono::hours(24 * 365)));
  }
  if (unchanged) {
    co_await answer_empty(r, std::move(head));
    co_return;
  }
  auto make = [tables = r.tables, others, name, form, version] {
    return document_text(*tables, *others, name, form, version);
  };
  auto text = co_await reactor::offload(make);
  co_await send_body(r.http, r.answer, std::move(head), text ? *std::move(text) : make());
}

}  // namespace kedge::api
