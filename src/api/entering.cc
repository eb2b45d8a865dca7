// entering.cc: how a request comes in: first its body, then a seat of its priority level (fairness/).
#include <fmt/format.h>

#include <algorithm>

#include "api/fairness/limits.h"
#include "api/handler.h"
#include "api/limits.h"

namespace kedge::api {
namespace {

status body_too_large() { return too_large(fmt::format("Request entity too large: limit is {}", body_max_bytes)); }

status too_many() { return too_many_requests("Too many requests, please try again later.", 1); }

// Whether the answer is made of stored bytes as they are.
bool takes_ready_bytes(const api_request& r) {
  auto accept = r.http.request().headers.get("Accept");
  for (auto other : {"as=", "protobuf", "yaml"})
    if (accept.find(other) != std::string_view::npos) return false;
  return r.query.get("fieldSelector").empty();
}

}  // namespace

// The whole of it, within the request's time and this user's share of memory.
task<void> api_handler::take_body(api_request& r) {
  auto& e = r.http;
  auto length = e.request().content_length;
  if (length && *length == 0) co_return;
  if (length && *length > body_max_bytes) {
    r.body = fail(body_too_large());
    co_return;
  }
  const auto bytes = length ? static_cast<std::size_t>(*length) : body_max_bytes;
  if (parts_.bodies && bytes > fairness::body_uncounted_bytes) {
    auto room = parts_.bodies->try_take(r.info.user->name, bytes);
    if (!room) room = co_await parts_.bodies->take(r.info.user->name, bytes, r.deadline);
    if (!room) {
      r.body = fail(too_many());
      co_return;
    }
    r.room = *std::move(room);
  }
  e.limit_body(body_max_bytes);
  e.body_deadline(r.deadline);
  auto text = co_await e.read_all();
  if (text)
    r.body = *std::move(text);
  else if (text.error().code == errc::too_large)
    r.body = fail(body_too_large());
  else
    r.body = fail(from_error(text.error()));
}

// In seats: what lists go through, and what a write's watchers make of it.
fairness::work api_handler::cost_of(const api_request& r) const {
  auto& i = r.info;
  if (!i.is_resource || !i.subresource.empty()) return {};
  const bool starts =
      i.verb == "watch" && (r.query.flag("sendInitialEvents") || r.query.get("resourceVersion").empty() ||
                            r.query.get("resourceVersion") == "0");
  if (i.verb == "list" || i.verb == "deletecollection" || starts) {
    if (!i.name.empty()) return {};
    auto s = r.tables->find(i.api_group, i.api_version, i.resource);
    if (!s) return {};
    auto objects = parts_.objects.current().count(s->prefix(i.ns));
    if (auto limit = parse_uint(r.query.get("limit"));
        limit && *limit > 0 && r.query.get("labelSelector").empty() && r.query.get("fieldSelector").empty())
      objects = std::min<std::size_t>(objects, *limit);
    const auto to_a_seat = takes_ready_bytes(r) ? fairness::ready_objects_per_seat : fairness::other_objects_per_seat;
    return {.seats = std::clamp(
                static_cast<unsigned>(std::min<std::size_t>(objects / to_a_seat + 1, fairness::request_seats_max)), 1u,
                r.flow.seats_max)};
  }
  if (i.read_only() || parts_.gate->watches() < fairness::watchers_per_seat / parts_.cores) return {};
  // The other cores have about as many.
  const auto watchers = parts_.gate->watches(i) * parts_.cores;
  if (watchers < fairness::watchers_per_seat) return {};
  const auto wanted = static_cast<unsigned>(std::min<std::size_t>(watchers / fairness::watchers_per_seat, 1'000'000));
  const auto given = std::min(wanted, r.flow.seats_max);
  return {.seats = 1, .final_seats = given, .after = duration(fairness::watch_time) * wanted / given};
}

task<bool> api_handler::wait_for_seat(api_request& r, fairness::work cost) {
  const auto now = reactor::loop::current().now();
  const auto patience = std::min<duration>((r.deadline - now) / fairness::wait_part, fairness::wait_max);
  auto s = co_await parts_.gate->enter(r.flow, cost, r.info, now + patience);
  r.waited = reactor::loop::current().now() - now;
  if (s) {
    r.seat = *std::move(s);
    co_return true;
  }
  auto head = head_of(r.answer, 429, "text/plain; charset=utf-8");
  head.headers.add("Retry-After", std::to_string(s.error().retry_after));
  head.headers.add("X-Content-Type-Options", "nosniff");
  r.answer.code = 429;
  (void)co_await r.http.respond(head, std::string_view("Too many requests, please try again later.\n"));
  co_return false;
}

task<void> api_handler::serve_fairness(api_request& r, std::string_view what) {
  if (!parts_.flows) co_return co_await send_plain(r, 404, "404 page not found\n");
  if (what == "dump_priority_levels") co_return co_await send_plain(r, 200, co_await parts_.flows->dump_levels());
  if (what == "dump_queues") co_return co_await send_plain(r, 200, co_await parts_.flows->dump_queues());
  if (what == "dump_requests")
    co_return co_await send_plain(r, 200,
                                  co_await parts_.flows->dump_requests(!r.query.get("includeRequestDetails").empty()));
  co_await send_plain(r, 404, "404 page not found\n");
}

}  // namespace kedge::api
