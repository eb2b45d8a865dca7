// Who gets a certificate request approved, and what is signed.
#include "crypto/certificate.h"

#include "at_work.h"
#include "base/strings.h"
#include "control/conditions.h"
#include "crypto/request.h"

using namespace kedge;
using namespace kedge::control;
using namespace std::chrono_literals;

namespace {

constexpr auto kubelet_client = "kubernetes.io/kube-apiserver-client-kubelet";
constexpr auto kubelet_serving = "kubernetes.io/kubelet-serving";
constexpr auto api_client = "kubernetes.io/kube-apiserver-client";

struct asked {
  std::string name = "r", signer = kubelet_client, usages = "digital signature, client auth", status = {};
  std::string user = "system:node:a";
  crypto::request_options subject = {
      .common_name = "system:node:a", .organizations = {"system:nodes"}, .dns_names = {}, .addresses = {}};
  std::string more = {};
};

json::value request(const asked& a) {
  static const auto key = crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value();
  auto pem = crypto::request_pem(as_bytes(crypto::make_request(key, a.subject).value()));
  return yaml(fmt::format(
      "{{kind: CertificateSigningRequest, apiVersion: certificates.k8s.io/v1, metadata: {{name: {}}}, spec: "
      "{{signerName: {}, usages: [{}], username: '{}', groups: ['system:authenticated'], request: {}{}}}, "
      "status: {{{}}}}}",
      a.name, a.signer, a.usages, a.user, base64(as_bytes(pem)), a.more, a.status));
}
constexpr auto approved = "conditions: [{type: Approved, status: 'True', reason: x}]";

// Lets a user create certificate requests' subresource.
void allow(at_work& w, std::string_view user, std::string_view what) {
  w.put(
      fmt::format("{{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {{name: {0}}}, rules: "
                  "[{{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests/{0}], verbs: "
                  "[create]}}]}}",
                  what));
  w.put(
      fmt::format("{{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {{name: {0}}}, "
                  "roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}}}, subjects: "
                  "[{{apiGroup: rbac.authorization.k8s.io, kind: User, name: '{1}'}}]}}",
                  what, user));
}

const auto clients = std::make_shared<crypto::authority>(
    crypto::authority::create("clients", *parse_rfc3339("2026-01-01T00:00:00Z")).value());
const auto servers = std::make_shared<crypto::authority>(
    crypto::authority::create("servers", *parse_rfc3339("2026-01-01T00:00:00Z")).value());

}  // namespace

TEST_CASE("certificatesigningrequest-approving-controller: whom RBAC lets have a node's certificate") {
  at_work w("csrapproving");
  auto message = [&](const asked& a) {
    w.put(request(a));
    auto p = w.look("r", at());
    return p.steps.empty() ? std::string() : std::string(condition_of(updated(p), "Approved")["message"].as_string());
  };
  CHECK(message({}) == "");
  CHECK(lines(w.look("r", at())) == text{"again 16m40s"});  // it may be allowed later
  CHECK(lines(w.look("r", at("2026-01-01T00:00:30Z"))) == text{"again 30s"});
  allow(w, "system:node:a", "selfnodeclient");
  CHECK(message({}) == "Auto approving self kubelet client certificate after SubjectAccessReview.");
  CHECK(message({.usages = "client auth, key encipherment, digital signature"}) != "");
  CHECK(message({.user = "system:node:b"}) == "");
  CHECK(message({.status = approved}) == "");
  CHECK(message({.status = "conditions: [{type: Denied, status: 'True'}]"}) == "");
  // What isn't a kubelet's, or another signer's, is nobody's here.
  CHECK(message({.signer = kubelet_serving}) == "");
  CHECK(message({.usages = "client auth"}) == "");
  CHECK(message({.usages = "client auth, digital signature, server auth"}) == "");
  CHECK(message({.subject = {.common_name = "system:node:a"}}) == "");
  CHECK(message({.subject = {.common_name = "system:node:a",
                             .organizations = {"system:nodes"},
                             .dns_names = {"a"},
                             .addresses = {}}}) == "");
  allow(w, "bootstrapper", "nodeclient");
  CHECK(message({.user = "bootstrapper"}) == "Auto approving kubelet client certificate after SubjectAccessReview.");
  CHECK(message({.user = "bootstrapper",
                 .subject = {
                     .common_name = "a", .organizations = {"system:nodes"}, .dns_names = {}, .addresses = {}}}) == "");
}

TEST_CASE("certificatesigningrequest-signing-controller: what is approved is signed, by whom its signer means") {
  at_work w("csrsigning", {.client_authority = clients, .server_authority = servers});
  auto look = [&](const asked& a) {
    w.put(request(a));
    return w.look("r", at());
  };
  auto signed_one = [&](const asked& a) {
    auto next = updated(look(a));
    auto pem = unbase64(next["status"]["certificate"].as_string());
    REQUIRE(pem.has_value());
    auto chain = crypto::parse_bundle(*pem);
    REQUIRE(chain.has_value());
    CHECK(chain->size() == 1);
    return chain->front();
  };
  CHECK(look({}).empty());
  CHECK(look({.status = "conditions: [{type: Approved, status: 'True'}, {type: Failed, status: 'True'}]"}).empty());
  CHECK(look({.status = fmt::format("certificate: eA==, {}", approved)}).empty());
  CHECK(look({.signer = "example.org/own", .status = approved}).empty());
  CHECK(look({.signer = "kubernetes.io/legacy-unknown", .status = approved}).empty());

  auto client = signed_one({.status = approved});
  CHECK(client.issuer_name() == clients->signer().subject().user);
  CHECK(client.subject().user == "system:node:a");
  CHECK(client.subject().groups == std::vector<std::string>{"system:nodes"});
  CHECK(client.for_client());
  CHECK(!client.for_server());
  CHECK(!client.is_authority());
  CHECK(client.not_before() == at().wall - 5min);
  CHECK(client.not_after() == at().wall - 5min + 8760h);
  auto serving = signed_one({.signer = kubelet_serving,
                             .usages = "digital signature, server auth",
                             .status = approved,
                             .subject = {.common_name = "system:node:a",
                                         .organizations = {"system:nodes"},
                                         .dns_names = {"a.example.org"},
                                         .addresses = {"10.0.0.1"}}});
  CHECK(serving.issuer_name() == servers->signer().subject().user);
  CHECK(serving.dns_names() == std::vector<std::string>{"a.example.org"});
  CHECK(serving.addresses() == std::vector<std::string>{"10.0.0.1"});
  CHECK(serving.for_server());

  // Of an hour, all of it from now on; less than ten minutes is ten, more than the longest is that.
  auto end = [&](std::string_view seconds) {
    return signed_one(
               {.signer = api_client, .status = approved, .more = fmt::format(", expirationSeconds: {}", seconds)})
        .not_after();
  };
  CHECK(end("3600") == at().wall + 1h);
  CHECK(end("60") == at().wall + 10min);
  CHECK(end("400000000") == at().wall - 5min + 8760h);
}

TEST_CASE("certificatesigningrequest-signing-controller: what its signer doesn't sign fails, with the reason") {
  at_work w("csrsigning", {.client_authority = clients, .server_authority = servers});
  struct row {
    asked what;
    const char* why;
  };
  for (auto& r :
       {row{{.usages = "client auth"}, "usages did not match [client auth digital signature key encipherment]"},
        row{{.subject = {.common_name = "system:node:a"}}, "subject organization is not system:nodes"},
        row{{.subject = {.common_name = "a", .organizations = {"system:nodes"}}},
            "subject common name does not begin with system:node:"},
        row{{.signer = kubelet_serving, .usages = "digital signature, server auth"},
            "DNS or IP subjectAltName is required"},
        row{{.signer = api_client, .usages = "client auth, server auth"},
            "invalid usage for client certificate: server auth"},
        row{{.signer = api_client, .usages = "digital signature"},
            "missing required usage for client certificate: client auth"}}) {
    CAPTURE(r.why);
    auto a = r.what;
    a.status = approved;
    w.put(request(a));
    auto next = updated(w.look("r", at()));
    CHECK(condition_of(next, "Failed")["reason"].as_string() == "SignerValidationFailure");
    CHECK(condition_of(next, "Failed")["message"].as_string() == r.why);
    CHECK(next["status"]["certificate"].is_null());
    w.put(next);
    CHECK(w.look("r", at()).empty());
  }
}

TEST_CASE("certificatesigningrequest-cleaner-controller: requests that nobody needs any more") {
  at_work w("csrcleaner");
  auto with = [&](std::string_view name, std::string_view status) {
    w.put(
        fmt::format("{{kind: CertificateSigningRequest, apiVersion: certificates.k8s.io/v1, metadata: {{name: {}, "
                    "creationTimestamp: '2026-01-01T00:00:00Z'}}, spec: {{}}, status: {{{}}}}}",
                    name, status));
  };
  with("pending", "");
  with("denied", "conditions: [{type: Denied, status: 'True', lastUpdateTime: '2026-01-01T12:00:00Z'}]");
  with("approved", "conditions: [{type: Approved, status: 'True', lastUpdateTime: '2026-01-01T12:00:00Z'}]");
  with("issued",
       "certificate: bm9uZQ==, conditions: [{type: Approved, status: 'True', lastUpdateTime: '2026-01-01T12:00:00Z'}]");
  auto short_lived = crypto::issue(*clients, clients->key().public_part(),
                                   {.common_name = "x", .client = true, .lifetime = 30min}, at().wall, system_random())
                         .value();
  with("ends",
       fmt::format(
           "certificate: {}, conditions: [{{type: Approved, status: 'True', lastUpdateTime: '2026-01-01T12:00:00Z'}}]",
           base64(as_bytes(short_lived.pem()))));
  CHECK(lines(w.look("pending", at())) == text{"again 12h0m1s"});
  CHECK(lines(w.look("denied", at())) == text{"again 1h0m1s"});
  CHECK(lines(w.look("approved", at())) == text{"again 24h0m1s"});
  CHECK(lines(w.look("issued", at())) == text{"again 1h0m1s"});
  CHECK(lines(w.look("ends", at())) == text{"again 30m1s"});
  CHECK(w.look("issued", at("2026-01-01T13:00:02Z")).steps.size() == 1);
  CHECK(w.look("ends", at("2026-01-01T12:30:02Z")).steps.size() == 1);
  CHECK(w.look("pending", at("2026-01-02T00:00:02Z")).steps.size() == 1);
}

TEST_CASE("podcertificaterequest-cleaner-controller: a pod's request goes soon, whatever became of it") {
  at_work w("podcertificaterequest-cleaner-controller");
  for (auto status :
       {"", "conditions: [{type: Issued, status: 'True'}]", "conditions: [{type: Denied, status: 'True'}]"}) {
    w.put(fmt::format(
        "{{kind: PodCertificateRequest, apiVersion: certificates.k8s.io/v1, metadata: {{name: r, namespace: "
        "default, creationTimestamp: '2026-01-01T11:50:00Z'}}, spec: {{}}, status: {{{}}}}}",
        status));
    CHECK(lines(w.look("default/r", at())) == text{"again 5m1s"});
    CHECK(w.look("default/r", at("2026-01-01T12:05:01Z")).steps.size() == 1);
  }
}
