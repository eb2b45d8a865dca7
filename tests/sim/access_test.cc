// Controllers of accounts, tokens, roles, and what protects volumes, as they run.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "base/strings.h"
#include "control_world.h"
#include "crypto/certificate.h"
#include "crypto/jwt.h"
#include "crypto/request.h"

using namespace kedge;
using namespace kedge::sim;
using namespace std::chrono_literals;

namespace {

const api::resource_id pods{"", "v1", "pods"};
const api::resource_id namespaces{"", "v1", "namespaces"};
const api::resource_id accounts{"", "v1", "serviceaccounts"};
const api::resource_id config_maps{"", "v1", "configmaps"};
const api::resource_id secrets{"", "v1", "secrets"};
const api::resource_id claims{"", "v1", "persistentvolumeclaims"};
const api::resource_id volumes{"", "v1", "persistentvolumes"};
const api::resource_id cluster_roles{"rbac.authorization.k8s.io", "v1", "clusterroles"};
const api::resource_id certificate_requests{"certificates.k8s.io", "v1", "certificatesigningrequests"};

const auto authority = std::make_shared<crypto::authority>(
    crypto::authority::create("ca", wall_time(std::chrono::seconds(1'700'000'000))).value());
const control::settings signing{.client_authority = authority, .server_authority = authority};

constexpr std::string_view signers_of_kubelets =
    "{apiGroups: [certificates.k8s.io], resources: [signers], resourceNames: "
    "[kubernetes.io/kube-apiserver-client-kubelet], verbs: [approve, sign]}";

json::value kubelets_request(std::string_view name) {
  auto pem = crypto::request_pem(as_bytes(
      crypto::make_request(
          authority->key(),
          {.common_name = "system:node:a", .organizations = {"system:nodes"}, .dns_names = {}, .addresses = {}})
          .value()));
  return yaml(fmt::format(
      "{{kind: CertificateSigningRequest, apiVersion: certificates.k8s.io/v1, metadata: {{name: {}}}, spec: "
      "{{signerName: kubernetes.io/kube-apiserver-client-kubelet, usages: [client auth, digital signature], request: "
      "{}}}}}",
      name, base64(as_bytes(pem))));
}

}  // namespace

TEST_CASE(
    "serviceaccount-controller, root-ca-certificate-publisher-controller: every namespace has its account and its CA") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2});
    c.crash_between_writes(0.05);
    for (int i = 0; i < 8; ++i)
      c.create(namespaces, yaml(fmt::format("{{kind: Namespace, apiVersion: v1, metadata: {{name: ns{}}}}}", i)));
    CHECK(c.until(
        [&] { return c.count("/registry/serviceaccounts/ns") == 8 && c.count("/registry/configmaps/ns") == 8; }));
    c.remove(accounts, "ns0", "default");
    c.change(config_maps, "ns1", "kube-root-ca.crt", [](json::value& m) { m.set("data", yaml("{ca.crt: forged}")); });
    c.remove(config_maps, "ns2", "kube-root-ca.crt");
    CHECK(c.until([&] {
      return c.exists("/registry/serviceaccounts/ns0/default") &&
             c.exists("/registry/configmaps/ns2/kube-root-ca.crt") &&
             c.get("/registry/configmaps/ns1/kube-root-ca.crt")["data"]["ca.crt"].as_string() == "ca";
    }));
    // One that ends gets nothing back.
    c.remove(namespaces, "", "ns3");
    CHECK(c.until([&] { return !c.exists("/registry/namespaces/ns3"); }));
    c.run_for(1min);
    CHECK(c.count("/registry/serviceaccounts/ns3/") == 0);
  }
}

TEST_CASE("token-cleaner-controller: a bootstrap token goes when its time has passed") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"tokencleaner"}});
    auto token = [&](const std::string& id, duration left) {
      auto end = format_rfc3339(c.server(0).loop().wall_now() + left);
      c.create(secrets,
               yaml(fmt::format("{{kind: Secret, apiVersion: v1, metadata: {{name: bootstrap-token-{}, namespace: "
                                "kube-system}}, type: bootstrap.kubernetes.io/token, data: {{expiration: {}}}}}",
                                id, base64(as_bytes(end)))));
    };
    token("short1", 2min);
    token("long01", 2h);
    c.crash_between_writes(0.05);
    c.run_for(1min);
    CHECK(c.exists("/registry/secrets/kube-system/bootstrap-token-short1"));
    CHECK(c.until([&] { return !c.exists("/registry/secrets/kube-system/bootstrap-token-short1"); }));
    CHECK(c.exists("/registry/secrets/kube-system/bootstrap-token-long01"));
  }
}

TEST_CASE("validatingadmissionpolicy-status-controller: each generation of a policy is checked") {
  const api::resource_id policies{"admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"};
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"validatingadmissionpolicy-status-controller"}});
    c.crash_between_writes(0.05);
    c.create(policies, yaml("{kind: ValidatingAdmissionPolicy, apiVersion: admissionregistration.k8s.io/v1, metadata: "
                            "{name: a}, spec: {matchConstraints: {resourceRules: [{operations: ['*'], apiGroups: [''], "
                            "apiVersions: [v1], resources: [pods]}]}, validations: [{expression: 'true'}]}}"));
    auto observed = [&] {
      return c.get("/registry/validatingadmissionpolicies/a")["status"]["observedGeneration"].as_integer();
    };
    CHECK(c.until([&] { return observed() == 1; }));
    c.change(policies, "", "a", [](json::value& p) {
      p.member("spec").set("validations", yaml("[{expression: object.spec.nothing == 1}]"));
    });
    CHECK(c.until([&] { return observed() == 2; }));
    CHECK(c.get("/registry/validatingadmissionpolicies/a")["status"]["typeChecking"]["expressionWarnings"].size() == 1);
  }
}

TEST_CASE("clusterrole-aggregation-controller: an aggregate has the rules of its parts") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"clusterrole-aggregation"}});
    // The account may give what it hasn't.
    c.grant("clusterrole-aggregation-controller",
            "{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [escalate, get, list, patch, "
            "update, watch]}");
    c.crash_between_writes(0.05);
    auto role = [](const std::string& name, const std::string& label, const std::string& rest) {
      return yaml(
          fmt::format("{{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {{name: {}, labels: "
                      "{{to: {}}}}}, {}}}",
                      name, label, rest));
    };
    c.create(cluster_roles, role("top", "none", "aggregationRule: {clusterRoleSelectors: [{matchLabels: {to: top}}]}"));
    c.create(cluster_roles,
             role("middle", "top", "aggregationRule: {clusterRoleSelectors: [{matchLabels: {to: middle}}]}"));
    c.create(cluster_roles, role("a", "middle", "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]"));
    c.create(cluster_roles, role("b", "top", "rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]"));
    auto rules = [&](const std::string& name) { return c.get("/registry/clusterroles/" + name)["rules"].size(); };
    CHECK(c.until([&] { return rules("middle") == 1 && rules("top") == 2; }));
    bool applied = false;
    auto fields = c.get("/registry/clusterroles/top")["metadata"]["managedFields"];
    for (std::size_t i = 0; i < fields.size(); ++i)
      applied = applied || (fields[i]["manager"].as_string() == "clusterrole-aggregation-controller" &&
                            fields[i]["operation"].as_string() == "Apply");
    CHECK(applied);
    c.remove(cluster_roles, "", "b");
    CHECK(c.until([&] { return rules("top") == 1; }));
  }
}

TEST_CASE("persistentvolumeclaim-protection-controller, persistentvolume-protection-controller: what is used stays") {
  for (auto seed : seeds(6)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"pvc-protection", "pv-protection"}});
    c.create(
        claims,
        yaml("{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {name: data, namespace: default}, "
             "spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Gi}}}}"));
    c.create(volumes, yaml("{kind: PersistentVolume, apiVersion: v1, metadata: {name: v}, spec: {capacity: {storage: "
                           "1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}, storageClassName: ''}}"));
    c.create(pods, yaml("{kind: Pod, apiVersion: v1, metadata: {name: p, namespace: default}, spec: {nodeName: node1, "
                        "containers: [{name: c, image: i}], "
                        "volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]}}"));
    c.crash_between_writes(0.05);
    c.set_status(volumes, "", "v", [](json::value& v) { v.member("status").set("phase", "Bound"); });
    c.remove(claims, "default", "data");
    c.remove(volumes, "", "v");
    c.run_for(2min);
    CHECK(c.exists("/registry/persistentvolumeclaims/default/data"));
    CHECK(c.exists("/registry/persistentvolumes/v"));
    c.remove(pods, "default", "p", {.grace_seconds = 0});
    c.set_status(volumes, "", "v", [](json::value& v) { v.member("status").set("phase", "Released"); });
    CHECK(c.until([&] { return !c.exists("/registry/persistentvolumeclaims/default/data"); }));
    CHECK(c.until([&] { return !c.exists("/registry/persistentvolumes/v"); }));
  }
}

TEST_CASE("volumeattributesclass-protection-controller: a class goes when nothing has it any more") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    const api::resource_id classes{"storage.k8s.io", "v1", "volumeattributesclasses"};
    control_world c(seed,
                    {.servers = 2, .controllers = {"pvc-protection", "volumeattributesclass-protection-controller"}});
    for (std::string name : {"used", "unused"})
      c.create(classes, yaml("{kind: VolumeAttributesClass, apiVersion: storage.k8s.io/v1, metadata: {name: " + name +
                             "}, driverName: d, parameters: {a: b}}"));
    c.create(claims, yaml("{kind: PersistentVolumeClaim, apiVersion: v1, metadata: {name: data, namespace: default}, "
                          "spec: {accessModes: [ReadWriteOnce], storageClassName: '', volumeAttributesClassName: used, "
                          "resources: {requests: {storage: 1Gi}}}}"));
    c.crash_between_writes(0.05);
    c.remove(classes, "", "used");
    c.remove(classes, "", "unused");
    CHECK(c.until([&] { return !c.exists("/registry/volumeattributesclasses/unused"); }));
    CHECK(c.exists("/registry/volumeattributesclasses/used"));
    c.remove(claims, "default", "data");
    CHECK(c.until([&] { return !c.exists("/registry/volumeattributesclasses/used"); }));
  }
}

TEST_CASE("certificatesigningrequest-approving-controller, certificatesigningrequest-signing-controller: signed once") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2, .controllers = {"csrapproving", "csrsigning"}, .settings = signing});
    c.grant("certificate-controller", signers_of_kubelets);
    c.crash_between_writes(0.05);
    c.create(certificate_requests, kubelets_request("a"));
    auto certificate = [&] {
      return std::string(c.get("/registry/certificatesigningrequests/a")["status"]["certificate"].as_string());
    };
    CHECK(c.until([&] { return !certificate().empty(); }));
    auto first = certificate();
    auto leaf = crypto::parse_bundle(*unbase64(first));
    REQUIRE(leaf.has_value());
    CHECK(leaf->front().subject().user == "system:node:a");
    c.run_for(1min);
    CHECK(certificate() == first);
  }
}

TEST_CASE("certificatesigningrequest-cleaner-controller: a request goes when it is decided or forgotten") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed,
                    {.servers = 2, .controllers = {"csrapproving", "csrsigning", "csrcleaner"}, .settings = signing});
    c.grant("certificate-controller", signers_of_kubelets);
    c.create(certificate_requests, kubelets_request("issued"));
    auto forgotten = kubelets_request("forgotten");
    forgotten.member("spec").set("signerName", "example.org/own");
    c.create(certificate_requests, forgotten);
    auto there = [&](std::string_view name) {
      return c.exists(fmt::format("/registry/certificatesigningrequests/{}", name));
    };
    c.run_for(30min);
    CHECK(there("issued"));
    CHECK(c.until([&] { return !there("issued"); }, 1h));
    CHECK(there("forgotten"));
    CHECK(c.until([&] { return !there("forgotten"); }, 26h));
  }
}

TEST_CASE("podcertificaterequest-cleaner-controller: a pod's request goes a quarter of an hour after it was made") {
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    const api::resource_id requests{"certificates.k8s.io", "v1", "podcertificaterequests"};
    control_world c(seed, {.servers = 2, .controllers = {"podcertificaterequest-cleaner-controller"}});
    auto request = crypto::make_request(crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value()).value();
    c.create(requests,
             yaml(fmt::format("{{kind: PodCertificateRequest, apiVersion: certificates.k8s.io/v1, metadata: {{name: r, "
                              "namespace: default}}, spec: {{signerName: example.com/s, podName: p, podUID: u, "
                              "serviceAccountName: a, serviceAccountUID: b, nodeName: n1, nodeUID: m, "
                              "stubPKCS10Request: {}}}}}",
                              base64(as_bytes(request)))));
    auto there = [&] { return c.exists("/registry/podcertificaterequests/default/r"); };
    c.run_for(14min);
    CHECK(there());
    CHECK(c.until([&] { return !there(); }, 10min));
  }
}

TEST_CASE("serviceaccount-token-controller: a Secret gets its account's token, and goes with the account") {
  const auto signer =
      std::make_shared<crypto::private_key>(crypto::private_key::generate(crypto::key_kind::ecdsa_p256).value());
  for (auto seed : seeds(4)) {
    CAPTURE(seed);
    control_world c(seed, {.servers = 2,
                           .controllers = {"serviceaccount-token"},
                           .settings = {.root_ca_pem = "ca", .service_account_key = signer}});
    c.crash_between_writes(0.05);
    c.create(accounts, yaml("{kind: ServiceAccount, apiVersion: v1, metadata: {name: build, namespace: default}}"));
    for (auto name : {"t1", "t2"})
      c.create(secrets, yaml(fmt::format("{{kind: Secret, apiVersion: v1, metadata: {{name: {}, namespace: default, "
                                         "annotations: {{kubernetes.io/service-account.name: build}}}}, type: "
                                         "kubernetes.io/service-account-token}}",
                                         name)));
    auto token = [&](std::string_view name) {
      return std::string(c.get(fmt::format("/registry/secrets/default/{}", name))["data"]["token"].as_string());
    };
    CHECK(c.until([&] { return !token("t1").empty() && !token("t2").empty(); }));
    const std::vector keys{signer->public_part()};
    CHECK(crypto::token_verifier::create(keys)->verify(*unbase64(token("t1"))).has_value());
    c.remove(accounts, "default", "build");
    CHECK(c.until([&] { return c.count("/registry/secrets/default/") == 0; }));
  }
}
