// samples.h: a valid object of every kind that is served, for tests that walk over all of them.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "api/registry/registry.h"
#include "base/strings.h"
#include "crypto/pem.h"
#include "crypto/request.h"
#include "json/parse.h"

namespace kedge::api {

// What an object of the kind needs beside its metadata, as YAML; empty: nothing.
inline std::string_view sample_body(std::string_view group, std::string_view resource) {
  struct row {
    std::string_view group, resource, body;
  };
  static constexpr std::string_view pod_template =
      "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}";
  static const std::string workload =
      "spec: {selector: {matchLabels: {a: b}}, template: " + std::string(pod_template) + "}";
  static constexpr std::string_view job_spec =
      "manualSelector: true, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: "
      "{restartPolicy: Never, containers: [{name: c, image: i}]}}";
  static const std::string job = "spec: {" + std::string(job_spec) + "}";
  static const std::string cron_job =
      "spec: {schedule: '* * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: "
      "c, image: i}]}}}}}";
  static const std::string template_only = "template: " + std::string(pod_template);
  static const std::string controller = "spec: {selector: {a: b}, template: " + std::string(pod_template) + "}";
  // A PKCS#10 request of CN=system:node:n1, O=system:nodes, and the certificate of a CA.
  static constexpr std::string_view request =
      "MIHqMIGSAgEAMDAxFTATBgNVBAoMDHN5c3RlbTpub2RlczEXMBUGA1UEAwwOc3lzdGVtOm5vZGU6bjEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC"
      "AATeQM"
      "txZ/URIU4CypdcEVEcP6QH9mfn+l0oJc6IL2umRXQuXpk01DzBOMuSMaMkwVMvRpYwpz/8ANMAj8yfAe6MoAAwCgYIKoZIzj0EAwIDRwAwRAIgZ/"
      "h8K/1x"
      "UlvCAoaV5EHMirM40zYSbOzu7a8SIEDgBroCIA54XD/92I7hRfgbzhC6GH9or4wMIgHNYzeKh7WpC5NY";
  static constexpr std::string_view anchor =
      "MIIBbzCCARWgAwIBAgIUEilTsPOOWV41BRm/"
      "8EYI0AsKVAYwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBYTAgFw0yNjExMzAwMjAwMDRaGA8yMTI2MTEwNj"
      "AyMDAwNFowDDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHIkyRH6+"
      "gxH743an0KyoMxiGPuAzckigv2XMYVA88H7qfz9KC7Ki7eb"
      "OxTbxgmiOZskv9uI9z1OpFFGsw3fXdejUzBRMB0GA1UdDgQWBBSYnkhJs4/Z8EZk/CYToHQLwF6uQDAfBgNVHSMEGDAWgBSYnkhJs4/Z8EZk/"
      "CYToHQLwF"
      "6uQDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCfG+AE6RjhnIMBssFK0N/i7L5t0GkGPZX02sN6/4qPowIgTpuGvXmkXX/"
      "acmucM7t1"
      "KPCutGz03loOZJGFwkkonWA=";
  static const std::string csr = "spec: {signerName: 'example.com/s', usages: [client auth], request: " +
                                 base64(as_bytes(crypto::request_pem(as_bytes(*unbase64(request))))) + "}";
  static const std::string pod_request =
      "spec: {signerName: 'example.com/s', podName: p, podUID: u, serviceAccountName: a, serviceAccountUID: u, "
      "nodeName: n1, nodeUID: u, maxExpirationSeconds: 3600, stubPKCS10Request: " +
      std::string(request) + "}";
  static const std::string bundle =
      "spec: {trustBundle: " + json::write(crypto::write_pem("CERTIFICATE", as_bytes(*unbase64(anchor)))) + "}";
  static const row rows[] = {
      {"", "endpoints", "subsets: []"},
      {"", "events", "involvedObject: {kind: Pod, namespace: NS, name: p}\nreason: r\ntype: Normal"},
      {"", "limitranges", "spec: {limits: [{type: Container, max: {cpu: '1'}}]}"},
      {"", "persistentvolumeclaims", "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"},
      {"", "persistentvolumes", "spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /x}}"},
      {"", "pods", "spec: {containers: [{name: c, image: i}]}"},
      {"", "podtemplates", template_only},
      {"", "replicationcontrollers", controller},
      {"", "resourcequotas", "spec: {hard: {pods: '100'}}"},
      {"", "services", "spec: {ports: [{port: 80}], clusterIP: None, clusterIPs: [None]}"},
      {"", "bindings", "target: {kind: Node, name: n1}"},
      {"apiregistration.k8s.io", "apiservices",
       "spec: {group: NAME.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 10, service: {name: "
       "s, namespace: NS, port: 443}, insecureSkipTLSVerify: true}"},
      {"apps", "controllerrevisions", "revision: 1\ndata: {}"},
      {"apps", "daemonsets", workload},
      {"apps", "deployments", workload},
      {"apps", "replicasets", workload},
      {"apps", "statefulsets", workload},
      {"events.k8s.io", "events",
       "regarding: {kind: Pod, namespace: NS, name: p}\nreason: r\ntype: Normal\naction: a\nreportingController: "
       "example.com/c\nreportingInstance: i\neventTime: '2026-01-01T00:00:00.000000Z'"},
      {"authentication.k8s.io", "tokenreviews", "spec: {token: t}"},
      {"authorization.k8s.io", "localsubjectaccessreviews",
       "spec: {user: u, resourceAttributes: {namespace: NS, verb: get, resource: pods}}"},
      {"authorization.k8s.io", "selfsubjectaccessreviews", "spec: {resourceAttributes: {verb: get, resource: pods}}"},
      {"authorization.k8s.io", "selfsubjectrulesreviews", "spec: {namespace: NS}"},
      {"authorization.k8s.io", "subjectaccessreviews",
       "spec: {user: u, resourceAttributes: {verb: get, resource: pods}}"},
      {"autoscaling", "horizontalpodautoscalers",
       "spec: {scaleTargetRef: {kind: Deployment, apiVersion: apps/v1, name: d}, minReplicas: 1, maxReplicas: 3}"},
      {"batch", "cronjobs", cron_job},
      {"batch", "jobs", job},
      {"certificates.k8s.io", "certificatesigningrequests", csr},
      {"certificates.k8s.io", "clustertrustbundles", bundle},
      {"certificates.k8s.io", "podcertificaterequests", pod_request},
      {"networking.k8s.io", "ingressclasses", "spec: {controller: example.com/c}"},
      {"networking.k8s.io", "ingresses", "spec: {defaultBackend: {service: {name: s, port: {number: 80}}}}"},
      {"networking.k8s.io", "ipaddresses", "spec: {parentRef: {resource: services, namespace: NS, name: s}}"},
      {"networking.k8s.io", "networkpolicies", "spec: {podSelector: {}}"},
      {"networking.k8s.io", "servicecidrs", "spec: {cidrs: [10.99.0.0/24]}"},
      {"policy", "poddisruptionbudgets", "spec: {maxUnavailable: 1, selector: {matchLabels: {never: seen}}}"},
      {"rbac.authorization.k8s.io", "clusterrolebindings",
       "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: a}"},
      {"rbac.authorization.k8s.io", "clusterroles", "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]"},
      {"rbac.authorization.k8s.io", "rolebindings",
       "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}"},
      {"rbac.authorization.k8s.io", "roles", "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]"},
      {"storagemigration.k8s.io", "storageversionmigrations", "spec: {resource: {group: apps, resource: deployments}}"},
      {"storage.k8s.io", "csidrivers", "spec: {attachRequired: false}"},
      {"storage.k8s.io", "csinodes", "spec: {drivers: []}"},
      {"storage.k8s.io", "csistoragecapacities", "storageClassName: s"},
      {"storage.k8s.io", "storageclasses", "provisioner: example.com/p"},
      {"storage.k8s.io", "volumeattachments",
       "spec: {attacher: a.example.com, nodeName: n1, source: {persistentVolumeName: a}}"},
      {"storage.k8s.io", "volumeattributesclasses", "driverName: example.com\nparameters: {a: b}"},
      {"admissionregistration.k8s.io", "mutatingadmissionpolicies",
       "spec: {matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], "
       "resources: [configmaps]}]}, reinvocationPolicy: Never, mutations: [{patchType: ApplyConfiguration, "
       "applyConfiguration: {expression: 'Object{}'}}]}"},
      {"admissionregistration.k8s.io", "mutatingadmissionpolicybindings", "spec: {policyName: a}"},
      {"admissionregistration.k8s.io", "validatingadmissionpolicies",
       "spec: {matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], "
       "resources: [configmaps]}]}, validations: [{expression: 'true'}]}"},
      {"admissionregistration.k8s.io", "validatingadmissionpolicybindings",
       "spec: {policyName: a, validationActions: [Deny]}"},
      {"apiextensions.k8s.io", "customresourcedefinitions",
       "spec: {group: NAME.example.com, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1, "
       "served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}"},
      {"scheduling.k8s.io", "priorityclasses", "value: 10"},
      {"coordination.k8s.io", "leases", "spec: {holderIdentity: h, leaseDurationSeconds: 10}"},
      {"node.k8s.io", "runtimeclasses", "handler: runc"},
      {"discovery.k8s.io", "endpointslices", "addressType: IPv4\nendpoints: [{addresses: [10.1.2.3]}]"},
      {"resource.k8s.io", "deviceclasses", "spec: {}"},
      {"resource.k8s.io", "devicetaintrules", "spec: {taint: {key: a.example.com/k, effect: NoSchedule}}"},
      {"resource.k8s.io", "resourceclaims",
       "spec: {devices: {requests: [{name: r, exactly: {deviceClassName: a.example.com}}]}}"},
      {"resource.k8s.io", "resourceclaimtemplates",
       "spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: a.example.com}}]}}}"},
      {"resource.k8s.io", "resourceslices",
       "spec: {driver: example.com, nodeName: n1, pool: {name: p, generation: 1, resourceSliceCount: 1}}"},
      {"flowcontrol.apiserver.k8s.io", "flowschemas",
       "spec: {priorityLevelConfiguration: {name: exempt}, matchingPrecedence: 100}"},
      {"flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations",
       "spec: {type: Limited, limited: {nominalConcurrencyShares: 1, limitResponse: {type: Reject}}}"},
  };
  for (auto& r : rows)
    if (r.group == group && r.resource == resource) return r.body;
  return {};
}

// The name that an object of this kind may have: some are more than a word.
inline std::string sample_name(const served& s, std::string_view word) {
  if (s.resource == "apiservices") return "v1." + std::string(word) + ".example.com";
  if (s.resource == "customresourcedefinitions") return "things." + std::string(word) + ".example.com";
  if (s.resource == "ipaddresses") return "10.98.0." + std::to_string(1 + (std::hash<std::string_view>{}(word) % 250));
  if (s.resource == "deviceclasses" || s.resource == "csidrivers") return std::string(word) + ".example.com";
  return std::string(word);
}

// A whole object in the version that `s` serves; without a name when `word` is empty.
inline json::value sample(const served& s, std::string_view ns, std::string_view word) {
  auto body = std::string(sample_body(s.group, s.resource));
  auto fill = [&](std::string_view placeholder, std::string_view text) {
    for (auto at = body.find(placeholder); at != std::string::npos; at = body.find(placeholder, at + text.size()))
      body.replace(at, placeholder.size(), text);
  };
  fill("NAME", word);
  fill("NS", s.namespaced() ? ns : "mine");
  json::value out(json::object{{"apiVersion", s.api_version}, {"kind", s.kind}, {"metadata", json::object{}}});
  if (!word.empty()) out.member("metadata").set("name", sample_name(s, word));
  if (s.namespaced() && !ns.empty()) out.member("metadata").set("namespace", ns);
  if (!body.empty()) {
    auto parsed = json::parse_yaml(body);
    REQUIRE_MESSAGE(parsed.has_value(), s.resource << ": " << (parsed ? std::string() : parsed.error().message));
    for (auto& m : *parsed->object()) out.set(m.name, m.value);
  }
  return out;
}

}  // namespace kedge::api
