#include "api/audit/event.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/audit/limits.h"
#include "api/authorization/review.h"
#include "base/ip.h"
#include "base/strings.h"
#include "json/write.h"

namespace kedge::api {
namespace {

json::value object_reference(const audit_event& e) {
  auto& a = e.request;
  json::value out{json::object{}};
  auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) out.set(name, value);
  };
  add("resource", a.resource);
  add("namespace", a.ns);
  add("name", a.name);
  add("uid", e.uid);
  add("apiGroup", a.api_group);
  add("apiVersion", a.api_version);
  add("resourceVersion", e.resource_version);
  add("subresource", a.subresource);
  return out;
}

void add_member(std::string& out, std::string_view name, std::string_view text) {
  if (text.empty()) return;
  out += ',';
  json::write_string(name, out);
  out += ':';
  out += text;
}

std::string quoted_list(const std::vector<std::string>& list) {
  std::vector<std::string> out;
  for (auto& text : list) out.push_back(quote(text));
  return join(out, ",");
}

}  // namespace

std::string audit_json(const audit_event& e, audit_stage stage, wall_time at) {
  json::value out;
  out.set("kind", "Event");
  out.set("apiVersion", "audit.k8s.io/v1");
  out.set("level", name_of(e.verdict.level));
  out.set("auditID", e.audit_id);
  out.set("stage", name_of(stage));
  out.set("requestURI", e.uri);
  out.set("verb", e.request.verb);
  out.set("user", user_to_json(e.request.user));
  if (e.acting_as) out.set("impersonatedUser", user_to_json(*e.acting_as));
  json::array sources;
  for (auto& address : e.sources) sources.emplace_back(address);
  if (!sources.empty()) out.set("sourceIPs", std::move(sources));
  if (!e.user_agent.empty()) out.set("userAgent", e.user_agent);
  if (e.request.is_resource) out.set("objectRef", object_reference(e));
  if (!e.status.is_null()) out.set("responseStatus", e.status);
  auto text = json::write(out);
  text.pop_back();  // the brace: what follows is text already
  add_member(text, "requestObject", e.request_object);
  add_member(text, "responseObject", e.response_object);
  json::value last;
  last.set("requestReceivedTimestamp", format_rfc3339_micro(e.received));
  last.set("stageTimestamp", format_rfc3339_micro(at));
  if (!e.annotations.empty()) {
    json::object notes;
    for (auto& [key, value] : e.annotations) notes.append(key, value);
    last.set("annotations", std::move(notes));
  }
  text += ',';
  text += std::string_view(json::write(last)).substr(1);
  return text;
}

std::string audit_text(const audit_event& e, audit_stage stage) {
  auto& user = *e.request.user;
  const bool named = !user.name.empty();
  return fmt::format(
      "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} "
      "response=\"{}\"",
      format_rfc3339_nano(e.received), quote(e.audit_id), quote(name_of(stage)),
      quote(e.sources.empty() ? "<unknown>" : e.sources.front()), quote(e.request.verb),
      quote(named ? user.name : "<none>"), quote(named && !user.groups.empty() ? quoted_list(user.groups) : "<none>"),
      quote(e.acting_as ? e.acting_as->name : "<self>"),
      quote(e.acting_as ? quoted_list(e.acting_as->groups) : "<lookup>"), quote(e.user_agent),
      quote(e.request.is_resource && !e.request.ns.empty() ? e.request.ns : "<none>"), quote(e.uri),
      e.status.is_null() ? "<deferred>" : std::to_string(e.status["code"].as_integer()));
}

std::vector<std::string> source_addresses(std::string_view forwarded_for, std::string_view real_ip,
                                          const std::string& peer) {
  std::vector<std::string> out;
  auto add = [&](std::string_view text) {
    auto address = ip_address::parse_sloppy(trim(text));
    if (address && out.size() < audit_sources_max) out.push_back(address->text());
  };
  for (auto part : split(forwarded_for, ',')) add(part);
  if (auto real = ip_address::parse_sloppy(real_ip); real && std::ranges::find(out, real->text()) == out.end())
    add(real_ip);
  auto own = ip_address::parse_sloppy(peer);
  if (own && (out.empty() || out.back() != own->text())) add(peer);
  return out;
}

}  // namespace kedge::api
