#include "control/addons/definitions.h"

#include <fmt/format.h>

#include "base/assert.h"
#include "json/parse.h"

namespace kedge::control::addons {

namespace {

const api::resource_id crds{"apiextensions.k8s.io", "v1", "customresourcedefinitions"};

// Fields, defaults and columns are those of K3s's own definitions.
constexpr std::string_view addon = R"yaml(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: addons.k3s.cattle.io}
spec:
  group: k3s.cattle.io
  names: {kind: Addon, listKind: AddonList, plural: addons, singular: addon}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Source, type: string, jsonPath: .spec.source}
    - {name: Checksum, type: string, jsonPath: .spec.checksum}
    schema:
      openAPIV3Schema:
        description: A file of manifests that a server applied, and the owner of what it brought.
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            properties:
              source: {type: string, description: Where the file lies.}
              checksum: {type: string, description: "SHA-256 of what was last applied in full, in hexadecimal."}
)yaml";

constexpr std::string_view snapshot_file = R"yaml(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: etcdsnapshotfiles.k3s.cattle.io}
spec:
  group: k3s.cattle.io
  names: {kind: ETCDSnapshotFile, listKind: ETCDSnapshotFileList, plural: etcdsnapshotfiles, singular: etcdsnapshotfile}
  scope: Cluster
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: SnapshotName, type: string, jsonPath: .spec.snapshotName}
    - {name: Node, type: string, jsonPath: .spec.nodeName}
    - {name: Location, type: string, jsonPath: .spec.location}
    - {name: Size, type: string, jsonPath: .status.size}
    - {name: CreationTime, type: string, jsonPath: .status.creationTime}
    schema:
      openAPIV3Schema:
        description: A snapshot of the cluster, in a server's folder or in a bucket.
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            properties:
              snapshotName: {type: string, description: The file's name.}
              nodeName: {type: string, description: The server's node; or s3.}
              location: {type: string, description: "file:// or s3://, and where it lies there."}
              metadata: {type: object, additionalProperties: {type: string}}
              s3:
                type: object
                properties:
                  endpoint: {type: string}
                  endpointCA: {type: string}
                  skipSSLVerify: {type: boolean}
                  bucket: {type: string}
                  bucketLookup: {type: string}
                  region: {type: string}
                  prefix: {type: string}
                  insecure: {type: boolean}
          status:
            type: object
            properties:
              size: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}
              creationTime: {type: string, format: date-time}
              readyToUse: {type: boolean}
              error:
                type: object
                properties:
                  time: {type: string, format: date-time}
                  message: {type: string}
)yaml";

constexpr std::string_view helm_chart = R"yaml(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: helmcharts.helm.cattle.io}
spec:
  group: helm.cattle.io
  names: {kind: HelmChart, listKind: HelmChartList, plural: helmcharts, singular: helmchart, shortNames: [hc]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Repo, type: string, jsonPath: .spec.repo}
    - {name: Chart, type: string, jsonPath: .spec.chart}
    - {name: Version, type: string, jsonPath: .spec.version}
    - {name: TargetNamespace, type: string, jsonPath: .spec.targetNamespace}
    - {name: Bootstrap, type: boolean, jsonPath: .spec.bootstrap}
    - {name: Failed, type: string, jsonPath: ".status.conditions[?(@.type=='Failed')].status"}
    - {name: Job, type: string, priority: 10, jsonPath: .status.jobName}
    schema:
      openAPIV3Schema:
        description: A Helm chart that is kept installed, by a Job that runs Helm.
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            properties:
              authPassCredentials: {type: boolean}
              authSecret: &reference
                type: object
                properties: {name: {type: string, default: ""}}
                x-kubernetes-map-type: atomic
              backOffLimit: {type: integer, format: int32}
              bootstrap: {type: boolean}
              chart: {type: string}
              chartContent: {type: string}
              createNamespace: {type: boolean}
              dockerRegistrySecret: *reference
              driver:
                type: string
                default: secret
                enum: [secret, configmap]
                x-kubernetes-validations:
                - rule: "!oldSelf.hasValue() || self == oldSelf.value()"
                  message: driver is immutable after creation
                  optionalOldSelf: true
              failurePolicy: {type: string, default: reinstall, enum: [abort, reinstall, retry]}
              forceConflicts: {type: boolean}
              helmVersion: {type: string}
              insecureSkipTLSVerify: {type: boolean}
              jobImage: {type: string}
              plainHTTP: {type: boolean}
              podSecurityContext:
                type: object
                properties:
                  appArmorProfile: &profile
                    type: object
                    properties: {localhostProfile: {type: string}, type: {type: string}}
                    required: [type]
                  fsGroup: {type: integer, format: int64}
                  fsGroupChangePolicy: {type: string}
                  runAsGroup: {type: integer, format: int64}
                  runAsNonRoot: {type: boolean}
                  runAsUser: {type: integer, format: int64}
                  seLinuxChangePolicy: {type: string}
                  seLinuxOptions: &selinux
                    type: object
                    properties: {level: {type: string}, role: {type: string}, type: {type: string}, user: {type: string}}
                  seccompProfile: *profile
                  supplementalGroups:
                    type: array
                    items: {type: integer, format: int64}
                    x-kubernetes-list-type: atomic
                  supplementalGroupsPolicy: {type: string}
                  sysctls:
                    type: array
                    items:
                      type: object
                      properties: {name: {type: string}, value: {type: string}}
                      required: [name, value]
                    x-kubernetes-list-type: atomic
                  windowsOptions: &windows
                    type: object
                    properties:
                      gmsaCredentialSpec: {type: string}
                      gmsaCredentialSpecName: {type: string}
                      hostProcess: {type: boolean}
                      runAsUserName: {type: string}
              repo: {type: string}
              repoCA: {type: string}
              repoCAConfigMap: *reference
              securityContext:
                type: object
                properties:
                  allowPrivilegeEscalation: {type: boolean}
                  appArmorProfile: *profile
                  capabilities:
                    type: object
                    properties:
                      add: &words {type: array, items: {type: string}, x-kubernetes-list-type: atomic}
                      drop: *words
                  privileged: {type: boolean}
                  procMount: {type: string}
                  readOnlyRootFilesystem: {type: boolean}
                  runAsGroup: {type: integer, format: int64}
                  runAsNonRoot: {type: boolean}
                  runAsUser: {type: integer, format: int64}
                  seLinuxOptions: *selinux
                  seccompProfile: *profile
                  windowsOptions: *windows
              serverSide: {type: string, enum: ["true", "false", auto]}
              set:
                type: object
                additionalProperties:
                  anyOf: [{type: integer}, {type: string}]
                  x-kubernetes-int-or-string: true
              takeOwnership: {type: boolean}
              targetNamespace: {type: string}
              timeout: {type: string}
              values: {x-kubernetes-preserve-unknown-fields: true}
              valuesContent: {type: string}
              valuesSecrets:
                type: array
                items:
                  type: object
                  properties:
                    ignoreUpdates: {type: boolean}
                    keys: {type: array, items: {type: string}}
                    name: {type: string}
              version: {type: string}
          status:
            type: object
            properties:
              jobName: {type: string}
              conditions:
                type: array
                items:
                  type: object
                  properties:
                    type: {type: string}
                    status: {type: string}
                    reason: {type: string}
                    message: {type: string}
                  required: [status, type]
                x-kubernetes-list-map-keys: [type]
                x-kubernetes-list-type: map
)yaml";

constexpr std::string_view helm_chart_config = R"yaml(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: helmchartconfigs.helm.cattle.io}
spec:
  group: helm.cattle.io
  names:
    kind: HelmChartConfig
    listKind: HelmChartConfigList
    plural: helmchartconfigs
    singular: helmchartconfig
    shortNames: [hcc]
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        description: What is added to the HelmChart of the same name, whoever brought that.
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            properties:
              failurePolicy: {type: string, default: reinstall, enum: [abort, reinstall, retry]}
              forceConflicts: {type: boolean}
              serverSide: {type: string, enum: ["true", "false", auto]}
              values: {x-kubernetes-preserve-unknown-fields: true}
              valuesContent: {type: string}
              valuesSecrets:
                type: array
                items:
                  type: object
                  properties:
                    ignoreUpdates: {type: boolean}
                    keys: {type: array, items: {type: string}}
                    name: {type: string}
)yaml";

json::value read(std::string_view text) {
  auto v = json::parse_yaml(text);
  kedge_assert(v);
  return *std::move(v);
}

// Whether each field that `ours` names is in `theirs`.
bool covers(const json::value& theirs, const json::value& ours) {
  if (auto* fields = ours["properties"].object())
    for (auto& [name, one] : *fields) {
      auto* there = theirs["properties"].find(name);
      if (!there || !covers(*there, one)) return false;
    }
  return ours["items"].is_null() || covers(theirs["items"], ours["items"]);
}

const json::value& schema_of(const json::value& crd) { return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]; }

}  // namespace

std::vector<json::value> definitions(bool helm) {
  std::vector<json::value> out{read(addon), read(snapshot_file)};
  if (helm) {
    out.push_back(read(helm_chart));
    out.push_back(read(helm_chart_config));
  }
  return out;
}

task<result<void>> ensure_definitions(api::objects& client, bool helm) {
  for (auto& crd : definitions(helm)) {
    auto name = std::string(crd["metadata"]["name"].as_string());
    auto made = co_await client.create(crds, {}, crd);
    if (!made && made.error().code == 409)
      made = co_await client.modify(crds, {}, name, [&](json::value& there) {
        if (covers(schema_of(there), schema_of(crd))) return false;
        there.member("spec").set("versions", crd["spec"]["versions"]);
        return true;
      });
    if (!made)
      co_return fail(errc::unavailable, fmt::format("definition {} can't be made: {}", name, made.error().message));
  }
  co_return result<void>();
}

}  // namespace kedge::control::addons
