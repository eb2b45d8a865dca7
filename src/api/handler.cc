#include "api/handler.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "api/applying.h"
#include "api/custom/tables.h"
#include "api/limits.h"
#include "base/log.h"
#include "base/strings.h"
#include "reactor/loop.h"

namespace kedge::api {

namespace {

constexpr std::string_view in_flight_name = "apiserver_current_inflight_requests";
constexpr std::string_view in_flight_help = "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.";
// Counts a request as in flight while it lives.
class flight {
 public:
  flight(std::size_t& count, metric_cell& cell) : count_(count), cell_(cell) {
    ++count_;
    cell_.add(1);
  }
  ~flight() {
    --count_;
    cell_.add(-1);
  }
  flight(const flight&) = delete;
  flight& operator=(const flight&) = delete;

 private:
  std::size_t& count_;
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

std::string denied_text(const attributes& a, const decision& d) {
  std::string text;
  if (!a.is_resource) {
    text = fmt::format("User {} cannot {} path {}", quote(a.user->name), a.verb, quote(a.path));
  } else {
    auto resource = a.subresource.empty() ? a.resource : a.resource + "/" + a.subresource;
    text = fmt::format("User {} cannot {} resource {} in API group {}", quote(a.user->name), a.verb, quote(resource), quote(a.api_group));
    text += a.ns.empty() ? " at the cluster scope" : fmt::format(" in the namespace {}", quote(a.ns));
  }
  if (!d.reason.empty()) text += ": " + d.reason;
  return text;
}

status denied(const attributes& a, const decision& d) {
  return forbidden(a.api_group, a.is_resource ? a.resource : "", a.name, denied_text(a, d));
}

void fill_attributes(api_request& r) {
  auto& a = r.who;
  a.verb = r.info.verb;
  a.is_resource = r.info.is_resource;
  a.path = r.info.path;
  if (!a.is_resource) return;
  a.api_group = r.info.api_group;
  a.api_version = r.info.api_version;
  a.resource = r.info.resource;
  a.subresource = r.info.subresource;
  a.ns = r.info.ns;
  a.name = r.info.name;
  a.field_selector = r.query.get("fieldSelector");
  a.label_selector = r.query.get("labelSelector");
}

}  // namespace

api_handler::api_handler(api_parts parts)
    : parts_(std::move(parts)), storage_(parts_.objects, parts_.rules, parts_.ranges),
      reads_running_(parts_.measures.gauge(in_flight_name, in_flight_help, "request_kind=\"readOnly\"")),
      writes_running_(parts_.measures.gauge(in_flight_name, in_flight_help, "request_kind=\"mutating\"")), requests_(parts_.measures) {}

api_handler::~api_handler() = default;

task<void> api_handler::serve(net::http::exchange& e) {
  std::unique_ptr<prepared_watch> watch;
  std::unique_ptr<api_request> watched;
  co_await answer(e, watch, watched);
  if (!watch) co_return;
  co_await run_watch(e, *watch);
  if (watched) audit_now(*watched, false);
}

task<void> api_handler::answer(net::http::exchange& e, std::unique_ptr<prepared_watch>& watch, std::unique_ptr<api_request>& watched) {
  auto request = std::make_unique<api_request>(api_request{.http = e});
  auto& r = *request;
  auto& l = reactor::loop::current();
  r.tables = parts_.custom ? parts_.custom->current() : custom::builtin_tables();
  r.received = l.now();
  r.received_wall = l.wall_now();
  if (!co_await filter(r)) {
    co_await finish(r);
    co_return;
  }
  const bool limited = !r.info.long_running() && !r.who.user->in_group("system:masters");
  const bool reading = r.info.read_only() || !r.info.is_resource;
  auto& count = reading ? reads_ : writes_;
  const auto most = std::max<std::size_t>(1, (reading ? reads_in_flight_max : writes_in_flight_max) / std::max<std::size_t>(1, parts_.cores));
  if (limited && count >= most) {
    auto head = head_of(r.answer, 429, "text/plain; charset=utf-8");
    head.headers.add("Retry-After", "1");
    r.answer.code = 429;
    (void)co_await e.respond(head, std::string_view("Too many requests, please try again later.\n"));
    co_await finish(r);
    co_return;
  }
  std::size_t uncounted = 0;
  metric_cell ignored;
  flight counted(r.info.long_running() ? uncounted : count, r.info.long_running() ? ignored : reading ? reads_running_ : writes_running_);
  if (r.info.is_resource)
    co_await serve_resource(r, watch);
  else
    co_await serve_path(r);
  if (watch) {
    r.answer.code = 200;
    measure(r);
    if (parts_.audit && parts_.audit->enabled()) {
      audit_now(r, true);
      watched = std::move(request);
    }
    co_return;
  }
  co_await finish(r);
}

task<bool> api_handler::filter(api_request& r) {
  auto& q = r.http.request();
  r.answer.audit_id = safe_audit_id(q.headers.get("Audit-ID"));
  if (r.answer.audit_id.empty()) r.answer.audit_id = reactor::loop::current().random().uuid();
  r.query = query_values::parse(q.query);
  r.info = parse_request(q.method, q.path, r.query);
  r.answer.gzip = accepts_gzip(q.headers.get("Accept-Encoding"));
  r.answer.as.as.pretty = wants_pretty(r.query.has("pretty"), r.query.flag("pretty"), q.headers.get("User-Agent"));
  fill_attributes(r);

  auto timeout_ms = parse_timeout_ms(r.query);
  r.deadline = r.received + (timeout_ms ? std::chrono::milliseconds(*timeout_ms) : std::chrono::duration_cast<std::chrono::milliseconds>(request_timeout));
  auto who = co_await parts_.who.authenticate(r.http);
  if (!who) {
    co_await refuse(r, who.error());
    co_return false;
  }
  r.who.user = *std::move(who);
  if (!timeout_ms) {
    co_await refuse(r, timeout_ms.error());
    co_return false;
  }
  if (!co_await impersonate(r)) co_return false;
  decision verdict;
  auto allowed = co_await check_allowed(r.who, verdict);
  r.decision_reason = std::move(verdict.reason);
  r.decision = allowed ? "allow" : "forbid";
  if (!allowed) co_await refuse(r, allowed.error());
  co_return allowed.has_value();
}

task<api_result<void>> api_handler::check_allowed(const attributes& who, decision& verdict) {
  verdict = parts_.may.authorize(who, parts_.objects.current());
  if (verdict.what != decision::kind::allow) {
    // What this core sees may lag behind by a moment: a refusal looks at the newest state.
    auto newest = co_await parts_.objects.latest();
    if (newest) verdict = parts_.may.authorize(who, *newest);
  }
  if (verdict.what != decision::kind::allow) co_return fail(denied(who, verdict));
  co_return api_result<void>();
}

task<bool> api_handler::impersonate(api_request& r) {
  constexpr std::string_view extra_prefix = "impersonate-extra-";
  auto& headers = r.http.request().headers;
  user_info wanted;
  wanted.name = headers.get("Impersonate-User");
  wanted.uid = headers.get("Impersonate-Uid");
  for (auto g : headers.all("Impersonate-Group")) wanted.groups.emplace_back(g);
  for (auto& [name, value] : headers) {
    if (name.size() <= extra_prefix.size() || !iequals(std::string_view(name).substr(0, extra_prefix.size()), extra_prefix)) continue;
    auto key = percent_decode(lower(name.substr(extra_prefix.size())), false);
    if (key) wanted.extra[*key].push_back(value);
  }
  if (wanted.name.empty() && wanted.uid.empty() && wanted.groups.empty() && wanted.extra.empty()) co_return true;
  if (wanted.name.empty()) {
    co_await refuse(r, internal_error("requested " + quote("") + " without impersonating a user"));
    co_return false;
  }
  auto cluster = parts_.objects.current();
  std::optional<status> no;
  auto ask = [&](std::string_view group, std::string_view resource, std::string_view sub, std::string_view ns, std::string_view name) {
    if (no) return;
    attributes a;
    a.user = r.who.user;
    a.verb = "impersonate";
    a.is_resource = true;
    a.api_group = group;
    a.api_version = "v1";
    a.resource = resource;
    a.subresource = sub;
    a.ns = ns;
    a.name = name;
    auto d = parts_.may.authorize(a, cluster);
    if (d.what != decision::kind::allow) no = denied(a, d);
  };
  constexpr std::string_view account = "system:serviceaccount:";
  if (wanted.name.starts_with(account)) {
    auto parts = split(std::string_view(wanted.name).substr(account.size()), ':');
    if (parts.size() == 2) {
      ask("", "serviceaccounts", "", parts[0], parts[1]);
      if (wanted.groups.empty()) wanted.groups = {"system:serviceaccounts", fmt::format("system:serviceaccounts:{}", parts[0])};
    } else {
      ask("", "users", "", "", wanted.name);
    }
  } else {
    ask("", "users", "", "", wanted.name);
  }
  for (auto g : headers.all("Impersonate-Group")) ask("", "groups", "", "", g);
  if (!wanted.uid.empty()) ask("authentication.k8s.io", "uids", "", "", wanted.uid);
  for (auto& [key, values] : wanted.extra)
    for (auto& v : values) ask("authentication.k8s.io", "userextras", key, "", v);
  if (no) {
    co_await refuse(r, *no);
    co_return false;
  }
  if (wanted.name == "system:anonymous") {
    if (!wanted.in_group("system:unauthenticated")) wanted.groups.emplace_back("system:unauthenticated");
  } else if (!wanted.in_group("system:authenticated")) {
    wanted.groups.emplace_back("system:authenticated");
  }
  r.authenticated = std::exchange(r.who.user, user_ref(std::move(wanted)));
  co_return true;
}

task<void> api_handler::refuse(api_request& r, const status& s) {
  // The answer's form is the client's, as far as it can be had.
  auto pretty = r.answer.as.as.pretty;
  if (auto m = negotiate(r.http.request().headers.get("Accept"), {}); m) r.answer.as.as.format = m->format;
  r.answer.as.as.as = shape::whole;
  r.answer.as.as.pretty = pretty;
  return send_status(r.http, r.answer, s);
}

void api_handler::audit_now(api_request& r, bool started) {
  if (!parts_.audit || !parts_.audit->enabled()) return;
  audit_record a;
  auto& q = r.http.request();
  a.audit_id = r.answer.audit_id;
  a.uri = q.target;
  a.method = q.method;
  a.user_agent = q.headers.get("User-Agent");
  a.source_address = r.http.connection().peer.address;
  a.request = r.who;
  a.authenticated = r.authenticated;
  a.code = r.answer.code;
  a.reason = r.answer.reason;
  a.decision = r.decision;
  a.decision_reason = r.decision_reason;
  a.received = r.received_wall;
  a.answered = reactor::loop::current().wall_now();
  parts_.audit->record(a, started);
}

void api_handler::measure(api_request& r) {
  auto& i = r.info;
  const bool admitted = r.decision == "allow" && r.answer.code != 429;
  requests_.observe({.code = r.answer.code,
                     .info = i,
                     .what = i.is_resource && admitted ? r.tables->find(i.api_group, i.api_version, i.resource) : nullptr,
                     .admitted = admitted,
                     .applies = i.verb == "patch" && is_apply_patch(r.http.request().headers.get("Content-Type")),
                     .dry_run = r.query.get("dryRun") == "All"},
                    reactor::loop::current().now() - r.received);
}

task<void> api_handler::finish(api_request& r) {
  measure(r);
  audit_now(r, false);
  co_return;
}

}  // namespace kedge::api
