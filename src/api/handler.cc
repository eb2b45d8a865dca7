#include "api/handler.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "api/audit/limits.h"
#include "api/authorization/impersonation.h"
#include "api/custom/tables.h"
#include "api/fairness/unread.h"
#include "api/read/watch_socket.h"
#include "api/request_trace.h"
#include "api/write/applying.h"
#include "base/log.h"
#include "base/strings.h"
#include "crypto/certificate.h"
#include "reactor/loop.h"

namespace kedge::api {

namespace {

// A certificate that isn't valid now, in words; empty: it is, or there is none.
std::string untimely_certificate(const net::http::connection_info& connection, wall_time now) {
  auto& shown = connection.peer_certificates;
  auto leaf = shown.empty() ? result<crypto::certificate>(fail(errc::not_found, ""))
                            : crypto::certificate::from_der(as_bytes(shown.front()));
  auto invalid = leaf ? crypto::reason_invalid(*leaf, now) : std::nullopt;
  return invalid ? fmt::format("the client certificate of {}: {}", quote(leaf->subject().user), *invalid)
                 : std::string();
}

constexpr std::string_view in_flight_name = "apiserver_current_inflight_requests";
constexpr std::string_view in_flight_help =
    "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.";
metric_cell& attempts(api_parts& parts, std::string_view outcome) {
  return parts.measures.counter("authentication_attempts", "Counter of authenticated attempts.",
                                fmt::format("result=\"{}\"", outcome), parts.core + 1);
}

// Counts a request as in flight while it lives.
class flight {
 public:
  explicit flight(metric_cell& cell) : cell_(cell) { cell_.count(1); }
  ~flight() { cell_.count(-1); }
  flight(const flight&) = delete;
  flight& operator=(const flight&) = delete;

 private:
  metric_cell& cell_;
};

std::string safe_audit_id(std::string_view given) {
  for (unsigned char c : given)
    if (c <= 0x20 || c >= 0x7f) return {};
  return given.size() <= 128 ? std::string(given) : std::string();
}

bool accepts_gzip(std::string_view header) {
  if (header.empty()) return false;
  for (auto part : split(header, ',')) {
    auto coding = trim(part.substr(0, part.find(';')));
    if (iequals(coding, "gzip")) return part.find("q=0,") == std::string_view::npos && !part.ends_with("q=0");
  }
  return false;
}

}  // namespace

api_handler::api_handler(api_parts parts)
    : parts_(std::move(parts)),
      started_(reactor::loop::current().wall_now()),
      authorization_(parts_.may, parts_.objects),
      storage_(parts_.objects, parts_.rules, parts_.ranges, parts_.custom ? parts_.custom->versions() : nullptr),
      reads_running_(
          parts_.measures.gauge(in_flight_name, in_flight_help, "request_kind=\"readOnly\"", parts_.core + 1)),
      writes_running_(
          parts_.measures.gauge(in_flight_name, in_flight_help, "request_kind=\"mutating\"", parts_.core + 1)),
      requests_(parts_.measures, parts_.core + 1),
      known_users_(attempts(parts_, "success")),
      unknown_users_(attempts(parts_, "failure")) {
  storage_.write_anew(parts_.outdated);
}

api_handler::~api_handler() = default;

task<void> api_handler::serve(net::http::exchange& e) {
  std::unique_ptr<prepared_watch> watch;
  std::unique_ptr<api_request> request;
  fairness::watched_exchange out(e);
  co_await answer(out, watch, request);
  if (!watch) co_return;
  fairness::watch_count counted(parts_.gate, request->info);
  auto& standing_there = requests_.standing(labels_for(*request));
  watch->start.state->counts = requests_.watch(labels_for(*request));
  const bool lists = watch->start.end_mark;
  std::unique_ptr<watch_socket> socket;  // null: a plain stream
  std::optional<fairness::watched_exchange> messages;
  if (net::websocket::is_upgrade(e.request())) {
    socket = std::make_unique<watch_socket>(e, watch->start.state->as.as.format);
    request->seat.is_for(messages.emplace(*socket));
  }
  auto& to = messages ? *messages : out;
  const bool going = co_await begin_watch(to, *watch);
  if (lists && going) requests_.listed(labels_for(*request), reactor::loop::current().now() - request->received);
  // That was what its seat is for; a standing watch has none.
  request->seat.leave();
  request->work.end();
  auto trace = std::move(request->trace);  // goes on for as long as the watch does
  if (!request->trail) request.reset();
  if (going) {
    flight standing(standing_there);
    if (socket)
      co_await socket->while_there(follow_watch(to, *watch));
    else
      co_await follow_watch(to, *watch);
  }
  if (request) co_await request->trail->complete(request->answer.code);
}

task<void> api_handler::answer(fairness::watched_exchange& e, std::unique_ptr<prepared_watch>& watch,
                               std::unique_ptr<api_request>& watching) {
  auto request = std::make_unique<api_request>(api_request{.http = e});
  auto& r = *request;
  auto& l = reactor::loop::current();
  r.tables = parts_.custom ? parts_.custom->current() : custom::builtin_tables();
  if (parts_.others.services) r.others = parts_.others.services->current();
  r.received = l.now();
  r.received_wall = l.wall_now();
  auto may = co_await filter(r);
  if (!may) {
    co_await finish(r);
    co_return;
  }
  const bool stays = r.info.long_running();
  const auto elsewhere = other_server(r);
  const bool reading = r.info.read_only() || !r.info.is_resource;
  // Before it takes a place: who sends slowly keeps nobody from being served.
  if (!elsewhere && !stays && r.info.is_resource && !reading) co_await take_body(r);
  if (parts_.gate && (!stays || r.info.verb == "watch")) {
    auto step = r.trace.child("priorityandfairness");
    const auto cost = cost_of(r);
    if (auto s = parts_.gate->try_enter(r.flow, cost, r.info))
      r.seat = *std::move(s);
    else if (!co_await wait_for_seat(r, cost))
      co_return co_await finish(r);
    step.end();
    r.seat.is_for(e);
  }
  // A watch counts from its stream on.
  metric_cell ignored;
  flight counted(!stays                   ? reading ? reads_running_ : writes_running_
                 : r.info.verb == "watch" ? ignored
                                          : requests_.standing(labels_for(r)));
  if (elsewhere)
    co_await hand_over(r, elsewhere);
  else if (r.info.is_resource)
    co_await serve_resource(r, *std::move(may), watch);
  else
    co_await serve_path(r, *may);
  if (watch) {
    r.answer.code = net::websocket::is_upgrade(e.request()) ? 101 : 200;
    measure(r);
    r.trace.add({"http.response.status_code", std::int64_t{r.answer.code}});
    if (r.trail) co_await r.trail->started(r.answer.code);
    watching = std::move(request);
    co_return;
  }
  co_await finish(r);
}

task<std::optional<permission>> api_handler::filter(api_request& r) {
  auto& q = r.http.request();
  r.answer.audit_id = safe_audit_id(q.headers.get("Audit-ID"));
  if (r.answer.audit_id.empty()) r.answer.audit_id = reactor::loop::current().random().uuid();
  r.query = query_values::parse(q.query);
  r.info = parse_request(q.method, q.path, r.query);
  r.answer.gzip = accepts_gzip(q.headers.get("Accept-Encoding"));
  r.answer.as.as.pretty = wants_pretty(r.query.has("pretty"), r.query.flag("pretty"), q.headers.get("User-Agent"));

  auto timeout_ms = parse_timeout_ms(r.query, parts_.request_time);
  r.deadline = r.received + (timeout_ms ? std::chrono::milliseconds(*timeout_ms)
                                        : std::chrono::duration_cast<std::chrono::milliseconds>(parts_.request_time));
  auto who = co_await parts_.who.authenticate(r.http);
  (who ? known_users_ : unknown_users_).count();
  if (!who) {
    co_await refuse_unknown(r, who.error());
    co_return std::nullopt;
  }
  r.info.user = *std::move(who);
  r.trace = begin_trace(parts_.traces, r);
  r.trace.happened("Authenticated");
  auto step = r.trace.child("audit");
  if (!co_await begin_trail(r)) {
    co_await send_plain(r, 500, fmt::format("Internal Server Error: {}: failed to store audit event\n", quote(q.path)));
    co_return std::nullopt;
  }
  if (!timeout_ms) {
    co_await refuse(r, timeout_ms.error());
    co_return std::nullopt;
  }
  step = r.trace.child("impersonation");
  if (auto acts = co_await take_role(r); !acts) {
    co_await refuse(r, acts.error());
    co_return std::nullopt;
  }
  step.end();
  // Whose connection it is, when those become few.
  r.http.connection().owner = std::hash<std::string>{}(r.info.user->name);
  if (parts_.gate) {
    r.flow = parts_.gate->classify(r.info);
    r.answer.flow_schema = &r.flow.schema->uid;
    r.answer.priority_level = &r.flow.level->uid;
  }
  step = r.trace.child("authorization");
  decision verdict;
  auto allowed = co_await authorization_.ask(r.info, verdict);
  if (r.trail) r.trail->decided(verdict);
  r.allowed = allowed.has_value();
  if (allowed) co_return *std::move(allowed);
  co_await refuse(r, allowed.error());
  co_return std::nullopt;
}

task<api_result<void>> api_handler::take_role(api_request& r) {
  auto& headers = r.http.request().headers;
  auto as = impersonate(headers, r.info, parts_.may, parts_.objects.current());
  if (!as && as.error().code == 403) {
    auto newest = co_await parts_.objects.latest();
    if (newest) as = impersonate(headers, r.info, parts_.may, *newest);
    // Each of its questions may be one that a webhook has to answer first.
    for (std::size_t i = 0; newest && parts_.may.has_open_question() && i < impersonation_questions_max; ++i) {
      co_await parts_.may.answer_open_question();
      as = impersonate(headers, r.info, parts_.may, *newest);
    }
  }
  if (!as) co_return fail(std::move(as).error());
  if (*as) {
    r.info.user = user_ref(**std::move(as));
    if (r.trail) r.trail->acts_as(r.info.user);
  }
  co_return api_result<void>();
}

task<void> api_handler::refuse(api_request& r, const status& s) {
  // The answer's form is the client's, as far as it can be had.
  auto pretty = r.answer.as.as.pretty;
  if (auto m = negotiate(r.http.request().headers.get("Accept"), {}); m) r.answer.as.as.format = m->format;
  r.answer.as.as.as = shape::whole;
  r.answer.as.as.pretty = pretty;
  return send_status(r.http, r.answer, s);
}

std::unique_ptr<audit_trail> api_handler::make_trail(const api_request& r) const {
  if (!parts_.audit) return nullptr;
  auto verdict = parts_.audit->evaluate(r.info);
  if (verdict.level == audit_level::none) return nullptr;
  auto& q = r.http.request();
  auto agent = std::string(q.headers.get("User-Agent"));
  if (agent.size() > audit_user_agent_max_bytes) agent.replace(audit_user_agent_max_bytes, agent.npos, "...TRUNCATED");
  return std::make_unique<audit_trail>(
      *parts_.audit,
      audit_event{.verdict = verdict,
                  .audit_id = r.answer.audit_id,
                  .uri = q.target,
                  .user_agent = std::move(agent),
                  .sources = source_addresses(q.headers.get("X-Forwarded-For"), q.headers.get("X-Real-Ip"),
                                              r.http.connection().peer.address),
                  .request = r.info,
                  .received = r.received_wall});
}

task<bool> api_handler::begin_trail(api_request& r) {
  r.trail = make_trail(r);
  if (!r.trail) co_return true;
  r.answer.witness = r.trail.get();
  co_return co_await r.trail->begin();
}

task<void> api_handler::refuse_unknown(api_request& r, const status& s) {
  // kubectl shows it beside "Unauthorized".
  if (auto why = untimely_certificate(r.http.connection(), r.received_wall); !why.empty())
    r.answer.warnings.push_back(std::move(why));
  auto trail = make_trail(r);
  if (trail) r.answer.witness = trail.get();
  co_await refuse(r, s);
  r.answer.witness = nullptr;
  if (!trail) co_return;
  const bool certificate = !r.http.connection().peer_certificates.empty();
  co_await trail->not_authenticated(r.answer.code, authentication_tried(r.http.request(), certificate));
}

request_labels api_handler::labels_for(const api_request& r) const {
  auto& i = r.info;
  return labels_of(
      {.info = i, .what = i.is_resource ? r.tables->find(i.api_group, i.api_version, i.resource) : nullptr});
}

void api_handler::measure(api_request& r) {
  auto& i = r.info;
  const bool admitted = r.allowed && r.answer.code != 429;
  requests_.observe(
      {.code = r.answer.code,
       .info = i,
       .what = i.is_resource && admitted ? r.tables->find(i.api_group, i.api_version, i.resource) : nullptr,
       .admitted = admitted,
       .applies = i.verb == "patch" && is_apply_patch(r.http.request().headers.get("Content-Type")),
       .dry_run = r.query.get("dryRun") == "All",
       .waited_seconds = std::chrono::duration<double>(r.waited).count(),
       .bytes = r.answer.bytes},
      reactor::loop::current().now() - r.received);
}

task<void> api_handler::finish(api_request& r) {
  measure(r);
  end_trace(r);
  if (r.trail) co_await r.trail->complete(r.answer.code);
}

}  // namespace kedge::api
