// approving.cc: kubelets' requests for client certificates are approved when RBAC lets who asks have one
// (certificatesigningrequest-approving-controller): for himself (selfnodeclient), or for any node (nodeclient).
#include <algorithm>

#include "api/authorization/rbac.h"
#include "base/strings.h"
#include "control/certificates/requests.h"
#include "control/controllers.h"

namespace kedge::control {

namespace {

// What isn't allowed today may be tomorrow: asked again, less and less often.
constexpr duration ask_again_least = std::chrono::seconds(1), ask_again_most = std::chrono::seconds(1000);

api::user_info asker(const json::value& spec) {
  api::user_info who{.name = std::string(spec["username"].as_string()), .uid = std::string(spec["uid"].as_string())};
  for (std::size_t i = 0; i < spec["groups"].size(); ++i) who.groups.emplace_back(spec["groups"][i].as_string());
  if (auto* extra = spec["extra"].object())
    for (auto& [key, values] : *extra)
      for (std::size_t i = 0; i < values.size(); ++i) who.extra[key].emplace_back(values[i].as_string());
  return who;
}

class approver final : public controller {
 public:
  std::vector<source> sources() override { return {{certificate_requests, living_key}}; }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    plan p;
    auto request = cluster.get(certificate_requests, key);
    if (!request || now.refused || has_certificate(*request) || has_condition(*request, "Approved") ||
        has_condition(*request, "Denied"))
      return p;
    auto& spec = (*request)["spec"];
    if (spec["signerName"].as_string() != signers::kubelet_client) return p;
    auto asked = request_in(*request);
    if (!asked || !refusal(signers::kubelet_client, *request, *asked).empty()) return p;
    api::attributes may;
    may.user = asker(spec);
    may.verb = "create";
    may.is_resource = true;
    may.api_group = certificate_requests.group;
    may.api_version = "*";
    may.resource = certificate_requests.plural;
    auto allowed = [&](std::string_view what) {
      may.subresource = what;
      return authorizer_->authorize(may, cluster.cluster()).what == api::decision::kind::allow;
    };
    if (asked->subject.user == may.user->name && allowed("selfnodeclient"))
      return approve(p, *request, "Auto approving self kubelet client certificate after SubjectAccessReview.");
    if (allowed("nodeclient"))
      return approve(p, *request, "Auto approving kubelet client certificate after SubjectAccessReview.");
    auto made = parse_rfc3339((*request)["metadata"]["creationTimestamp"].as_string());
    auto age = made ? now.wall - *made : ask_again_most;
    return p.look_after(std::clamp<duration>(age, ask_again_least, ask_again_most));
  }

 private:
  static plan approve(plan& p, const json::value& request, std::string_view message) {
    auto next = request;
    next.member("status")
        .member("conditions")
        .push_back(
            json::object{{"type", "Approved"}, {"status", "True"}, {"reason", "AutoApproved"}, {"message", message}});
    return p.write(update_of(certificate_requests, std::move(next), "approval"));
  }

  std::unique_ptr<api::authorizer> authorizer_ = api::make_authorizer();
};

}  // namespace

std::unique_ptr<controller> make_certificate_approver(const settings&) { return std::make_unique<approver>(); }

}  // namespace kedge::control
