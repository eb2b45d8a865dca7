// certificates.cc: who may approve and sign certificate requests, and what may never be asked for.
#include <fmt/format.h>

#include <algorithm>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "base/strings.h"
#include "crypto/request.h"

namespace kedge::api {
namespace {

constexpr std::string_view group = "certificates.k8s.io";
constexpr std::string_view resource = "certificatesigningrequests";

bool allowed(const admission_request& r, plugin_context& c, std::string_view verb, std::string_view name) {
  attributes a;
  a.user = r.who.user;
  a.verb = verb;
  a.is_resource = true;
  a.api_group = group;
  a.api_version = "*";
  a.resource = "signers";
  a.name = name;
  return c.authz.authorize(a, c.cluster).what == decision::kind::allow;
}

// The verb on the signer by its name, or on all of its domain: "kubernetes.io/*".
bool allowed_for_signer(const admission_request& r, plugin_context& c, std::string_view verb, std::string_view signer) {
  if (allowed(r, c, verb, signer)) return true;
  return allowed(r, c, verb, std::string(signer.substr(0, signer.find('/'))) + "/*");
}

std::string_view signer_of(const admission_request& r) {
  return (r.old ? *r.old : *r.object)["spec"]["signerName"].as_string();
}

api_result<void> approval(admission_request& r, plugin_context& c) {
  if (!concerns(r, group, resource, "approval") || r.what != operation::update || !r.object) return {};
  auto signer = signer_of(r);
  if (allowed_for_signer(r, c, "approve", signer)) return {};
  return fail(refused(r, "user not permitted to approve requests with signerName " + quote(signer)));
}

bool has_failed(const json::value& object) {
  auto conditions = object["status"]["conditions"].array();
  return conditions && std::any_of(conditions->begin(), conditions->end(),
                                   [](const json::value& c) { return c["type"].as_string() == "Failed"; });
}

api_result<void> signing(admission_request& r, plugin_context& c) {
  if (!concerns(r, group, resource, "status") || r.what != operation::update || !r.object || !r.old) return {};
  // Only the signer's own part of the status is guarded: the certificate, and the word that there will be none.
  if ((*r.object)["status"]["certificate"] == (*r.old)["status"]["certificate"] &&
      has_failed(*r.object) == has_failed(*r.old))
    return {};
  auto signer = signer_of(r);
  if (allowed_for_signer(r, c, "sign", signer)) return {};
  return fail(refused(r, "user not permitted to sign requests with signerName " + quote(signer)));
}

// Of what a pod's certificate request has got, all is the signer's.
api_result<void> pod_signing(admission_request& r, plugin_context& c) {
  if (!concerns(r, group, "podcertificaterequests", "status") || !r.object || !r.old) return {};
  if ((*r.object)["status"] == (*r.old)["status"]) return {};
  auto signer = signer_of(r);
  if (allowed_for_signer(r, c, "sign", signer)) return {};
  return fail(
      invalid(group, r.kind, object_name(r),
              {forbidden_value("spec.signerName", fmt::format("User {} is not permitted to \"sign\" for signer {}",
                                                              quote(r.who.user->name), quote(signer)))}));
}

api_result<void> subject(admission_request& r, plugin_context&) {
  if (!concerns(r, group, resource) || r.what != operation::create || !r.object) return {};
  auto signer = (*r.object)["spec"]["signerName"].as_string();
  if (signer != "kubernetes.io/kube-apiserver-client") return {};
  auto pem = unbase64((*r.object)["spec"]["request"].as_string());
  if (!pem) return {};  // validation refuses it with its own words
  auto request = crypto::parse_request(*pem);
  if (!request) return {};
  auto& groups = request->subject.groups;
  if (std::find(groups.begin(), groups.end(), "system:masters") == groups.end()) return {};
  return fail(refused(r, "use of " + std::string(signer) + " signer with system:masters group is not allowed"));
}

}  // namespace

const plugin plugins::certificate_approval{
    .name = "CertificateApproval", .operations = on_update, .validate = approval};
const plugin plugins::certificate_signing{.name = "CertificateSigning", .operations = on_update, .validate = signing};
const plugin plugins::pod_certificate_signing{
    .name = "PodCertificateSigning", .operations = on_update, .validate = pod_signing};
const plugin plugins::certificate_subject_restriction{
    .name = "CertificateSubjectRestriction", .operations = on_create, .validate = subject};

}  // namespace kedge::api
