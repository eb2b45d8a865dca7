#include "api/admission/image_policy.h"

#include "api/admission/limits.h"
#include "api/admission/plugin.h"
#include "base/log.h"
#include "json/write.h"
#include "reactor/loop.h"

namespace kedge::api {
namespace {

constexpr std::string_view audit_prefix = "imagepolicywebhook.image-policy.k8s.io/",
                           asks_by_annotation = ".image-policy.k8s.io/", failed_open = "failed-open",
                           failed_open_annotation = "alpha.image-policy.k8s.io/failed-open";

json::value spec_of(const admission_request& r) {
  auto& pod = *r.object;
  json::array containers;
  auto add = [&](std::string_view list) {
    auto& all = pod["spec"][list];
    for (std::size_t i = 0; i < all.size(); ++i)
      containers.push_back(json::object{{"image", all[i]["image"].as_string()}});
  };
  if (r.who.subresource.empty()) {
    add("containers");
    add("initContainers");
  } else {
    add("ephemeralContainers");
  }
  json::value annotations;
  if (auto all = pod["metadata"]["annotations"].object())
    for (auto& one : *all)
      if (one.name.find(asks_by_annotation) != one.name.npos) annotations.set(one.name, one.value);
  json::value spec;
  if (!containers.empty()) spec.set("containers", std::move(containers));
  if (!annotations.is_null()) spec.set("annotations", std::move(annotations));
  spec.set("namespace", r.who.ns);
  return spec;
}

}  // namespace

image_policy::image_policy(image_policy_settings settings, reactor::network* network)
    : settings_(std::move(settings)), to_(settings_.server, network) {}
image_policy::~image_policy() = default;

bool image_policy::concerns(const admission_request& r) {
  return (r.what == operation::create || r.what == operation::update) && r.object && r.who.api_group.empty() &&
         r.who.resource == "pods" && (r.who.subresource.empty() || r.who.subresource == "ephemeralcontainers");
}

task<result<json::value>> image_policy::status_of(std::string spec) {
  const auto now = reactor::loop::current().now();
  if (auto known = answers_.find(spec); known != answers_.end()) {
    if (known->second.until > now) co_return known->second.status;
    answers_.erase(known);
  }
  const auto body = R"({"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","metadata":{},"spec":)" + spec +
                    R"(,"status":{"allowed":false}})";
  KEDGE_CO_TRY(auto said, co_await to_.ask(body, {.first_pause = settings_.retry_pause}));
  auto status = said["status"];
  if (answers_.size() >= image_answers_max) {
    std::erase_if(answers_, [&](auto& one) { return one.second.until <= now; });
    if (answers_.size() >= image_answers_max) answers_.clear();
  }
  const auto lasts = status["allowed"].as_bool() ? settings_.allow_ttl : settings_.deny_ttl;
  if (lasts > duration::zero())
    answers_.insert_or_assign(std::move(spec), answer{status, reactor::loop::current().now() + lasts});
  co_return status;
}

task<api_result<void>> image_policy::judge(admission_request& r) {
  auto spec = json::write(spec_of(r));
  if (r.let_go) r.let_go();
  auto said = co_await status_of(std::move(spec));
  if (!said) {
    log::warning("the image policy webhook can't be asked: {}", said.error().message);
    if (!settings_.allows_on_failure) co_return fail(refused(r, said.error().message));
    r.annotations.emplace_back(std::string(audit_prefix) + std::string(failed_open), "true");
    r.object->member("metadata").member("annotations").set(failed_open_annotation, "true");
    co_return api_result<void>();
  }
  if (auto told = (*said)["auditAnnotations"].object())
    for (auto& one : *told)
      r.annotations.emplace_back(std::string(audit_prefix) + one.name, std::string(one.value.as_string()));
  if ((*said)["allowed"].as_bool()) co_return api_result<void>();
  const auto reason = (*said)["reason"].as_string();
  co_return fail(refused(r, reason.empty()
                                ? "one or more images rejected by webhook backend"
                                : "image policy webhook backend denied one or more images: " + std::string(reason)));
}

}  // namespace kedge::api
