// others.cc: groups that other API servers answer for (aggregation/): their requests, and what they say of themselves.
#include <algorithm>

#include "api/aggregation/limits.h"
#include "api/handler.h"
#include "base/strings.h"
#include "reactor/loop.h"
#include "reactor/sync.h"

namespace kedge::api {

namespace {

// A server that tidies its paths up would answer for another place than was authorized.
bool has_dot_segments(std::string_view path) {
  return std::ranges::any_of(split(path, '/'), [](std::string_view part) { return part == "." || part == ".."; });
}

// Of the request to the other server, which the trace knows.
void tell_answered(api_request& r) {
  if (r.answer.code == 0) return r.work.failed();
  r.work.add({"http.response.status_code", std::int64_t{r.answer.code}});
  if (r.answer.code >= 400) r.work.failed();
}

}  // namespace

aggregation::api_service_ref api_handler::other_server(const api_request& r) const {
  if (!r.others || r.others->empty() || r.info.malformed || has_dot_segments(r.info.path)) return nullptr;
  if (r.info.is_resource) return r.others->find(r.info.api_group, r.info.api_version);
  return r.others->at_path(r.info.path);
}

// Whoever it is for has its own limits: it takes no seat here while it is there.
task<void> api_handler::hand_over(api_request& r, aggregation::api_service_ref to) {
  if (!to->available) co_return co_await send_plain(r, 503, "service unavailable\n");
  r.seat.leave();
  auto ours = head_of(r.answer, 200, {}).headers;
  ours.remove("Content-Type");
  r.work = r.trace.child("HTTP " + r.http.request().method, tracing::span_kind::client);
  net::http::headers trace;
  r.work.tell(trace);
  auto going = parts_.others.ways->forward(
      r.http, to,
      {.as = r.info.user, .audit_id = r.answer.audit_id, .answer = std::move(ours), .trace = std::move(trace)});
  if (r.info.long_running()) {
    r.answer.code = co_await std::move(going);
    tell_answered(r);
    co_return;
  }
  auto within = r.deadline;
  if (!r.info.is_resource) within = std::min(within, r.received + aggregation::forwarded_discovery_time);
  auto done = co_await reactor::with_deadline(
      [](task<int> work) -> task<result<int>> { co_return co_await std::move(work); }(std::move(going)), within);
  if (done) {
    r.answer.code = *done;
    tell_answered(r);
    co_return;
  }
  r.work.failed("context deadline exceeded");
  if (r.http.started()) co_return r.http.abort();
  co_await refuse(r, timeout("request did not complete within the allotted timeout"));
}

task<std::shared_ptr<const aggregation::documents>> api_handler::documents_of_others(const api_request& r) {
  static const auto none = std::make_shared<const aggregation::documents>();
  if (!r.others || r.others->empty() || !parts_.others.documents) co_return none;
  co_return co_await parts_.others.documents();
}

task<std::shared_ptr<const discovery>> api_handler::discover(const api_request& r) {
  const auto tables = r.tables;
  const auto others = r.others;
  const auto documents = co_await documents_of_others(r);
  if (!discovery_ || discovered_tables_ != tables || discovered_others_ != others ||
      discovered_documents_ != documents) {
    discovery_ = std::make_shared<const discovery>(
        tables, others ? aggregation::versions_of(*others, *documents) : std::vector<other_version>());
    discovered_tables_ = tables;
    discovered_others_ = others;
    discovered_documents_ = documents;
  }
  co_return discovery_;
}

}  // namespace kedge::api
