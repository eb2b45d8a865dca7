#include "api/authorization/webhook.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/authorization/limits.h"
#include "base/log.h"
#include "json/write.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

json::value texts(const std::vector<std::string>& list) {
  json::array out;
  for (auto& text : list) out.emplace_back(text);
  return out;
}

json::value resource_attributes(const attributes& a) {
  json::value out{json::object{}};
  auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) out.set(name, value);
  };
  add("namespace", a.ns);
  add("verb", a.verb);
  add("group", a.api_group);
  add("version", a.api_version);
  add("resource", a.resource);
  add("subresource", a.subresource);
  add("name", a.name);
  json::array requirements;
  for (auto& r : a.fields.requirements())
    requirements.push_back(json::object{
        {"key", r.field}, {"operator", r.equal ? "In" : "NotIn"}, {"values", texts({std::string(r.value)})}});
  if (!requirements.empty()) out.set("fieldSelector", json::object{{"requirements", std::move(requirements)}});
  return out;
}

}  // namespace

webhook_authorizer::webhook_authorizer(authorization_webhook_settings settings, reactor::network* network)
    : settings_(std::move(settings)), to_(settings_.server, network) {}
webhook_authorizer::~webhook_authorizer() = default;

std::string webhook_authorizer::review_of(const attributes& a) const {
  json::value spec;
  if (a.is_resource)
    spec.set("resourceAttributes", resource_attributes(a));
  else
    spec.set("nonResourceAttributes", json::object{{"path", a.path}, {"verb", a.verb}});
  auto& user = *a.user;
  spec.set("user", user.name);
  // The older version has its groups under another name.
  if (!user.groups.empty()) spec.set(settings_.version == "v1" ? "groups" : "group", texts(user.groups));
  for (auto& [key, values] : user.extra) spec.member("extra").set(key, texts(values));
  if (!user.uid.empty()) spec.set("uid", user.uid);
  return json::write(json::object{{"kind", "SubjectAccessReview"},
                                  {"apiVersion", "authorization.k8s.io/" + settings_.version},
                                  {"metadata", json::object{}},
                                  {"spec", std::move(spec)},
                                  {"status", json::object{{"allowed", false}}}});
}

decision webhook_authorizer::failed(std::string why) const {
  return {settings_.denies_on_error ? decision::kind::deny : decision::kind::no_opinion, {}, std::move(why)};
}

std::optional<decision> webhook_authorizer::unasked(const attributes& a) const {
  auto matches = settings_.asked_if.hold(a);
  if (!matches) return failed(std::move(matches).error());
  if (!*matches) return decision{};
  return std::nullopt;
}

std::optional<decision> webhook_authorizer::known(const std::string& review) {
  auto found = answers_.find(review);
  if (found == answers_.end()) return std::nullopt;
  if (found->second.once) {
    auto says = std::move(found->second.says);
    answers_.erase(found);
    return says;
  }
  if (found->second.until <= reactor::loop::current().now()) {
    answers_.erase(found);
    return std::nullopt;
  }
  return found->second.says;
}

void webhook_authorizer::keep(std::string review, answer a) {
  if (answers_.size() >= webhook_answers_max) {
    const auto now = reactor::loop::current().now();
    std::erase_if(answers_, [&](auto& one) { return one.second.until <= now; });
    if (answers_.size() >= webhook_answers_max) answers_.clear();
  }
  answers_.insert_or_assign(std::move(review), std::move(a));
}

task<void> webhook_authorizer::ask(std::string review) {
  auto said = co_await to_.ask(review, {.attempt_time = settings_.timeout});
  const auto now = reactor::loop::current().now();
  using kind = decision::kind;
  if (!said) {
    log::error("the authorization webhook can't be asked: {}", said.error().message);
    keep(std::move(review), {failed(said.error().message), now, true});
    co_return;
  }
  auto& status = (*said)["status"];
  const bool allowed = status["allowed"].as_bool(), denied = status["denied"].as_bool();
  decision says{denied    ? kind::deny
                : allowed ? kind::allow
                          : kind::no_opinion,
                std::string(status["reason"].as_string().substr(0, webhook_reason_max_bytes)),
                denied && allowed ? "webhook subject access review returned both allow and deny response" : ""};
  const bool kept = review.size() < webhook_question_max_bytes &&
                    (allowed ? settings_.keeps_authorized : settings_.keeps_unauthorized);
  keep(std::move(review),
       {std::move(says), now + (allowed ? settings_.authorized_ttl : settings_.unauthorized_ttl), !kept});
}

}  // namespace kedge::api
