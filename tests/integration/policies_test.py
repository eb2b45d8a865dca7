"""Rules and policies in CEL with kubectl: a CRD like the Gateway API's refuses bad routes; policies refuse, warn, note and change."""

import json
import os
import shutil
import tempfile

from harness import ClusterTest, Failed, eventually, main

ROUTES = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: routes.gateway.example.com}
spec:
  group: gateway.example.com
  scope: Namespaced
  names: {plural: routes, singular: route, kind: Route}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            properties:
              parentRefs:
                type: array
                maxItems: 32
                items:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string, maxLength: 253}
                    sectionName: {type: string, maxLength: 253}
                x-kubernetes-validations:
                - message: sectionName must be unique when parentRefs includes 2 or more references to the same parent
                  rule: self.all(p1, self.exists_one(p2, p1.name == p2.name && (((!has(p1.sectionName) || p1.sectionName == '') && (!has(p2.sectionName) || p2.sectionName == '')) || (has(p1.sectionName) && has(p2.sectionName) && p1.sectionName == p2.sectionName))))
              host: {type: string, maxLength: 253, x-kubernetes-validations: [{rule: self == oldSelf, message: host is immutable}]}
              rules:
                type: array
                maxItems: 16
                items:
                  type: object
                  properties:
                    path:
                      type: object
                      default: {type: PathPrefix, value: /}
                      properties:
                        type: {type: string, enum: [Exact, PathPrefix, RegularExpression], default: PathPrefix}
                        value: {type: string, maxLength: 1024, default: /}
                      x-kubernetes-validations:
                      - message: value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']
                        rule: "(self.type in ['Exact','PathPrefix']) ? self.value.startsWith('/') : true"
                      - message: must not contain '//' when type one of ['Exact', 'PathPrefix']
                        rule: "(self.type in ['Exact','PathPrefix']) ? !self.value.contains('//') : true"
                    timeouts:
                      type: object
                      properties:
                        request: {type: string, pattern: '^([0-9]{1,5}(h|m|s|ms)){1,4}$'}
                        backend: {type: string, pattern: '^([0-9]{1,5}(h|m|s|ms)){1,4}$'}
                      x-kubernetes-validations:
                      - message: backend timeout cannot be longer than request timeout
                        rule: "!(has(self.request) && has(self.backend) && duration(self.request) != duration('0s') && duration(self.backend) > duration(self.request))"
          status:
            type: object
            properties: {accepted: {type: integer}}
            x-kubernetes-validations: [{rule: self.accepted >= oldSelf.accepted, message: accepted only grows}]
"""

POLICIES = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]}
  variables: [{name: most, expression: int(params.data.replicas)}]
  validations:
  - expression: object.spec.replicas <= variables.most
    messageExpression: "'at most ' + string(variables.most) + ' replicas'"
    reason: Forbidden
  auditAnnotations: [{key: wanted, valueExpression: "object.spec.replicas > 3 ? string(object.spec.replicas) : ''"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few-replicas-here}
spec:
  policyName: few-replicas
  validationActions: [Deny, Audit]
  paramRef: {name: limits, parameterNotFoundAction: Allow}
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: latest}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: ['*'], resources: [deployments]}]}
  matchConditions: [{name: made, expression: request.operation != 'DELETE'}]
  validations: [{expression: "object.spec.template.spec.containers.all(c, !c.image.endsWith(':latest'))", message: the image may be another tomorrow}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: latest-everywhere}
spec: {policyName: latest, validationActions: [Warn]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: owned}
spec:
  reinvocationPolicy: Never
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{metadata: Object.metadata{labels: {'made-by': request.userInfo.username.replace(':', '-')}},
               spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [
                 Object.spec.template.spec.containers{name: 'side', image: 'side:1'}]}}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: owned-everywhere}
spec: {policyName: owned}
"""


def route(name, spec):
    return json.dumps({"apiVersion": "gateway.example.com/v1", "kind": "Route", "metadata": {"name": name}, "spec": spec})


def deployment(name, replicas=1, image="a:1"):
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "a", "image": image}]}}}})


class Policies(ClusterTest):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="kedge-it-policies-")
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.audit, policy = os.path.join(folder, "audit.log"), os.path.join(folder, "policy.yaml")
        with open(policy, "w") as f:
            f.write("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n")
        cls.server_args = ("--disable-agent", f"--kube-apiserver-arg=audit-log-path={cls.audit}", f"--kube-apiserver-arg=audit-policy-file={policy}")
        super().setUpClass()

    def refused(self, body, *args):
        done = self.kubectl(*(args or ("create", "-f", "-")), input=body, check=False)
        if done.returncode == 0:
            raise Failed(f"not refused: {done.stdout}")
        return done.stderr

    def test_rules_of_a_custom_resource(self):
        told = self.kubectl("create", "-f", "-", input=ROUTES, check=False)
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertNotIn("Warning", told.stderr)
        self.kubectl("wait", "--for=condition=Established", "crd/routes.gateway.example.com", "--timeout=30s")
        eventually("routes are served", lambda: "routes" in self.kubectl("api-resources", "--api-group", "gateway.example.com"))
        good = {"host": "a.example.com", "parentRefs": [{"name": "g", "sectionName": "a"}, {"name": "g", "sectionName": "b"}],
                "rules": [{"path": {"value": "/v1"}, "timeouts": {"request": "10s", "backend": "2s"}}]}
        self.kubectl("create", "-f", "-", input=route("good", good))
        for spec, text in [
            ({"rules": [{"path": {"value": "v1"}}]}, "spec.rules[0].path: Invalid value: value must be an absolute path"),
            ({"rules": [{}, {"path": {"value": "/a//b", "type": "Exact"}}]}, "spec.rules[1].path: Invalid value: must not contain '//'"),
            ({"rules": [{"timeouts": {"request": "1s", "backend": "1m"}}]}, "backend timeout cannot be longer than request timeout"),
            ({"parentRefs": [{"name": "g"}, {"name": "g"}]}, "spec.parentRefs: Invalid value: sectionName must be unique"),
        ]:
            self.assertIn(text, self.refused(route("bad", spec)))
        self.assertIn('spec.host: Invalid value: "b": host is immutable',
                      self.refused("", "patch", "route", "good", "--type=merge", "-p", '{"spec":{"host":"b"}}'))
        grows = ("patch", "route", "good", "--subresource=status", "--type=merge", "-p")
        self.kubectl(*grows, '{"status":{"accepted":3}}')
        self.assertIn("status: Invalid value: accepted only grows", self.refused("", *grows, '{"status":{"accepted":2}}'))

    def test_a_rule_that_cannot_be(self):
        bad = ROUTES.replace("rule: self == oldSelf", "rule: self.size() > nothing").replace("routes", "roads").replace("Route", "Road").replace("route", "road")
        self.assertIn("undeclared reference to 'nothing'", self.refused(bad))
        wide = ROUTES.replace("maxItems: 32", "").replace(", maxLength: 253", "").replace("routes", "ways").replace("Route", "Way").replace("route", "way")
        self.assertIn("estimated rule cost exceeds budget by factor of more than 100x", self.refused(wide))

    def test_policies_refuse_warn_note_and_change(self):
        self.kubectl("create", "configmap", "limits", "--from-literal=replicas=3")
        told = self.kubectl("create", "-f", "-", input=POLICIES, check=False)
        self.assertEqual((told.returncode, told.stderr), (0, ""))
        checked = eventually("the policy's types are checked", lambda: self.get_policy("few-replicas")["status"].get("observedGeneration") == 1)
        self.assertTrue(checked)

        text = eventually("the policy acts", lambda: self.refused(deployment("many", 5), "create", "--dry-run=server", "-f", "-"))
        self.assertIn("ValidatingAdmissionPolicy 'few-replicas' with binding 'few-replicas-here' denied request: at most 3 replicas", text)
        self.assertIn("at most 3 replicas", self.refused(deployment("many", 5)))
        made = self.kubectl("create", "-f", "-", input=deployment("few", 2, "a:latest"), check=False)
        self.assertIn("Warning: Validation failed for ValidatingAdmissionPolicy 'latest' with binding 'latest-everywhere': "
                      "the image may be another tomorrow", made.stderr)
        got = self.server.get("deployment", "few")
        self.assertEqual(got["metadata"]["labels"], {"made-by": "system-admin"})
        self.assertEqual([c["name"] for c in got["spec"]["template"]["spec"]["containers"]], ["a", "side"])
        self.assertIn("at most 3 replicas", self.refused("", "patch", "deployment", "few", "-p", '{"spec":{"replicas":4}}'))
        self.kubectl("patch", "configmap", "limits", "-p", '{"data":{"replicas":"9"}}')
        eventually("the new limit counts", lambda: self.kubectl("patch", "deployment", "few", "-p", '{"spec":{"replicas":4}}'))
        noted = eventually("the audit log has what was noted", self.notes)
        self.assertIn("4", noted["few-replicas/wanted"])
        self.assertIn("at most 3 replicas", noted["validation.policy.admission.k8s.io/validation_failure"][0])

        counted = self.kubectl("get", "--raw", "/metrics")
        for line in ('apiserver_validating_admission_policy_check_total{enforcement_action="deny",error_type="no_error",policy="few-replicas",policy_binding="few-replicas-here"} ',
                     'apiserver_validating_admission_policy_check_duration_seconds_count{enforcement_action="warn",error_type="no_error",policy="latest",policy_binding="latest-everywhere"} ',
                     'apiserver_mutating_admission_policy_check_total{error_type="no_error",policy="owned",policy_binding="owned-everywhere"} '):
            self.assertIn(line, counted)

        # A policy that names what isn't there.
        self.kubectl("patch", "validatingadmissionpolicy", "latest", "--type=merge", "-p",
                     '{"spec":{"validations":[{"expression":"object.spec.nothing == 1"}]}}')
        warned = eventually("the mistake is told", lambda: self.get_policy("latest")["status"]["typeChecking"].get("expressionWarnings"))
        self.assertEqual(warned[0]["fieldRef"], "spec.validations[0].expression")
        self.assertIn("apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nothing'", warned[0]["warning"])
        self.kubectl("delete", "validatingadmissionpolicybinding", "few-replicas-here", "latest-everywhere")
        eventually("without bindings nothing is refused", lambda: self.kubectl("create", "-f", "-", input=deployment("many", 50)))

    def get_policy(self, name):
        return self.server.get("validatingadmissionpolicy", name)

    def notes(self):
        out = {}
        for line in open(self.audit):
            for key, text in json.loads(line).get("annotations", {}).items():
                out.setdefault(key, []).append(text)
        return "few-replicas/wanted" in out and "4" in out["few-replicas/wanted"] and out


if __name__ == "__main__":
    main()
