#include "api/request_trace.h"

#include <algorithm>

#include "api/audit/event.h"
#include "api/audit/limits.h"
#include "api/write/applying.h"
#include "base/strings.h"

namespace kedge::api {
namespace {

// Whoever may do anything, or watches over the server, may say which of his requests are told of.
bool is_trusted(const user_info& who) {
  return std::ranges::any_of(who.groups, [](auto& g) { return g == "system:masters" || g == "system:monitoring"; });
}

std::string name_of(const api_request& r) {
  auto& i = r.info;
  auto& method = r.http.request().method;
  if (!i.is_resource) return method;
  std::string out = method + (i.api_group.empty() ? " /api" : " /apis/" + i.api_group) + "/" + i.api_version;
  if (!i.ns.empty()) out += "/namespaces/{:namespace}";
  out += "/" + i.resource;
  if (!i.name.empty()) out += "/{:name}";
  if (!i.subresource.empty()) out += "/" + i.subresource;
  return out;
}

std::string_view version_of(net::http::version v) {
  return v == net::http::version::http2 ? "2.0" : v == net::http::version::http1_1 ? "1.1" : "1.0";
}

std::string protocol_of(const api_request& r) { return "HTTP/" + std::string(version_of(r.http.request().http)); }

std::string client_of(const api_request& r) {
  auto& q = r.http.request();
  auto all =
      source_addresses(q.headers.get("X-Forwarded-For"), q.headers.get("X-Real-Ip"), r.http.connection().peer.address);
  return all.empty() ? "unknown" : all.front();
}

std::string agent_of(const api_request& r) {
  auto agent = std::string(r.http.request().headers.get("User-Agent"));
  if (agent.empty()) return "unknown";
  if (agent.size() > audit_user_agent_max_bytes) agent.replace(audit_user_agent_max_bytes, agent.npos, "...TRUNCATED");
  return agent;
}

// OpenTelemetry's names of what HTTP says.
tracing::attributes of_http(const api_request& r) {
  auto& q = r.http.request();
  auto& peer = r.http.connection().peer;
  const std::string_view authority = q.authority;
  const auto colon = authority.ends_with(']') ? authority.npos : authority.rfind(':');
  const auto forwarded = q.headers.get("X-Forwarded-For");
  tracing::attributes out{{"server.address", authority.substr(0, colon)},
                          {"http.request.method", q.method},
                          {"url.scheme", r.http.connection().tls ? "https" : "http"}};
  if (auto port = colon == authority.npos ? std::nullopt : parse_uint(authority.substr(colon + 1));
      port && *port != 443)
    out.emplace_back("server.port", static_cast<std::int64_t>(*port));
  out.emplace_back("network.peer.address", peer.address);
  out.emplace_back("network.peer.port", std::int64_t{peer.port});
  if (auto agent = q.headers.get("User-Agent"); !agent.empty()) out.emplace_back("user_agent.original", agent);
  out.emplace_back("client.address",
                   forwarded.empty() ? std::string_view(peer.address) : trim(forwarded.substr(0, forwarded.find(','))));
  out.emplace_back("url.path", q.path);
  out.emplace_back("network.protocol.version", version_of(q.http));
  out.emplace_back("http.target", q.target);
  out.emplace_back("audit-id", r.answer.audit_id);
  return out;
}

}  // namespace

tracing::live_span begin_trace(tracing::collector* to, const api_request& r) {
  auto& headers = r.http.request().headers;
  if (!to) return tracing::passed_on(headers);
  auto out = to->begin(
      {.name = {}, .named = tracing::named_by(headers), .trusted = is_trusted(*r.info.user), .at = r.received_wall});
  if (!out.told()) return out;
  out.name(name_of(r));
  out.add_all(of_http(r));
  return out;
}

void end_trace(api_request& r) {
  if (r.trace.told()) {
    if (r.answer.code > 0) r.trace.add({"http.response.status_code", std::int64_t{r.answer.code}});
    if (r.answer.code >= 500) r.trace.failed();
  }
  r.work.end();
  r.trace.end();
}

tracing::live_span begin_work(const api_request& r, std::string_view name) {
  auto out = r.trace.child(name);
  if (!out.told()) return out;
  auto& i = r.info;
  auto& q = r.http.request();
  const auto labels = labels_of({.info = i,
                                 .what = r.tables->find(i.api_group, i.api_version, i.resource),
                                 .applies = i.verb == "patch" && is_apply_patch(q.headers.get("Content-Type"))});
  out.add_all({{"accept", q.headers.get("Accept")},
               {"audit-id", r.answer.audit_id},
               {"client", client_of(r)},
               {"api-group", i.api_group},
               {"api-version", i.api_version},
               {"name", i.name},
               {"subresource", i.subresource},
               {"namespace", i.ns},
               {"protocol", protocol_of(r)},
               {"resource", i.resource},
               {"scope", labels.scope},
               {"url", q.path},
               {"user-agent", agent_of(r)},
               {"verb", labels.verb}});
  return out;
}

tracing::live_span begin_reading(const api_request& r, const served& s, std::string_view name) {
  auto out = r.work.child(name);
  if (out.told())
    out.add_all({{"audit-id", r.answer.audit_id}, {"type", s.group.empty() ? s.resource : s.resource + "." + s.group}});
  return out;
}

tracing::live_span begin_answer(const api_request& r) {
  auto out = r.work.child("SerializeObject");
  if (!out.told()) return out;
  auto& q = r.http.request();
  out.add_all({{"audit-id", r.answer.audit_id},
               {"method", q.method},
               {"url", q.path},
               {"protocol", protocol_of(r)},
               {"mediaType", r.answer.as.as.content_type()}});
  return out;
}

}  // namespace kedge::api
