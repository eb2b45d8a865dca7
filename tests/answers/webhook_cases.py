"""Cases of admission and conversion by webhook: what a cluster is asked while webhooks stand, what they are asked and what comes of it.

Played to a real kube-apiserver by record_webhooks.py, which keeps the outcome in webhooks/cases.jsonl, and to Kedge by
tests/integration/webhooks_test.py, which compares. `ask(method, path, body, headers)` gives an Answer (judge.py).
"""

import base64
import json
import re
import time

NS = "hooked"
USER = {"Impersonate-User": "alice", "Impersonate-Group": "system:authenticated", "Impersonate-Uid": "u-1", "Impersonate-Extra-Team": "sea"}
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ACCESS = re.compile(r"(kube-api-access-)[a-z0-9]{5}")
PATCH = "application/merge-patch+json"


def encoded(patch):
    return base64.b64encode(json.dumps(patch).encode()).decode()


def patching(*operations):
    return lambda review: {"allowed": True, "patchType": "JSONPatch", "patch": encoded(list(operations))}


def add(path, value):
    return {"op": "add", "path": path, "value": value}


def admit(review):
    return {"allowed": True}


def slow(review):
    time.sleep(4)
    return {"allowed": True}


def raw(text, code=200, kind="application/json", **headers):
    return lambda review: (code, {"Content-Type": kind, **headers}, text.encode())


def whole(**members):
    """A review of one's own making."""
    return lambda review: {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", **members}


def count_up(review):
    labels = review["request"]["object"]["metadata"].get("labels", {})
    return patching(add("/metadata/labels", {**labels, "count": str(int(labels.get("count", 0)) + 1)}))(review)


SCRIPTS = {
    "/admit": admit,
    "/deny": lambda r: {"allowed": False, "status": {"message": "not on a Monday", "reason": "Forbidden", "code": 403}},
    "/deny-bare": lambda r: {"allowed": False},
    "/deny-reason": lambda r: {"allowed": False, "status": {"reason": "TooSalty"}},
    "/deny-low": lambda r: {"allowed": False, "status": {"message": "low", "code": 200, "status": "Success"}},
    "/deny-details": lambda r: {"allowed": False, "status": {
        "message": "wrong", "reason": "Invalid", "code": 422, "details": {
            "name": "x", "group": "g", "kind": "K", "causes": [{"reason": "FieldValueInvalid", "message": "bad", "field": "spec.x"}]}}},
    "/warn": lambda r: {"allowed": True, "warnings": ["rocks ahead", 'a "quoted" one']},
    "/warn-deny": lambda r: {"allowed": False, "warnings": ["rocks ahead"], "status": {"message": "no"}},
    "/label": patching(add("/metadata/labels", {"added": "yes"})),
    "/data": patching(add("/data/extra", "1")),
    "/count": count_up,
    "/noop": patching(add("/data/k", "v")),
    "/empty-patch": patching(),
    "/bad-path": patching(add("/no/where", 1)),
    "/bad-type": patching(add("/data", "text")),
    "/unknown-field": patching(add("/unheardOf", "x")),
    "/patch-no-type": lambda r: {"allowed": True, "patch": encoded([add("/data/x", "y")])},
    "/type-no-patch": lambda r: {"allowed": True, "patchType": "JSONPatch"},
    "/other-type": lambda r: {"allowed": True, "patchType": "MergePatch", "patch": encoded([add("/data/x", "y")])},
    "/no-patch-text": lambda r: {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(b"{}").decode()},
    "/garbage": raw("garbage"),
    "/list": raw("[]"),
    "/empty": raw(""),
    "/no-response": whole(),
    "/wrong-uid": whole(response={"uid": "other", "allowed": True}),
    "/wrong-kind": lambda r: {"apiVersion": "v1", "kind": "Pod", "response": {"uid": r["request"]["uid"], "allowed": True}},
    "/code-500": raw("broken", 500, "text/plain"),
    "/code-404": raw("nothing here", 404, "text/plain"),
    "/code-403": raw("keep out", 403, "text/plain"),
    "/code-503": raw("later", 503, "text/plain"),
    "/status": raw(json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "own words", "code": 500}), 500),
    "/sidecar": patching(add("/spec/containers/-", {"name": "side", "image": "side:1"})),
    "/replicas": patching(add("/spec/replicas", 5)),
    "/slow": slow,
}


def hook(name, path, kind="validating", rules=None, **more):
    """A configuration of one webhook: `more` are its members."""
    out = {"name": name + ".ex.io", "admissionReviewVersions": ["v1"], "sideEffects": "None", "path": path, "failurePolicy": "Fail", "timeoutSeconds": 5,
           "rules": rules or [rule(["configmaps"])], "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NS}}}
    out.update(more)
    return {"kind": kind, "name": name, "hooks": [out]}


def rule(resources, operations=("*",), groups=("",), versions=("v1",), **more):
    return {"operations": list(operations), "apiGroups": list(groups), "apiVersions": list(versions), "resources": list(resources), **more}


def config_map(name="a", **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **more.pop("metadata", {})}, "data": {"k": "v"}, **more}


def pod(name="p"):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}


def deployment(replicas=0, **more):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}, **more}


DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NS}/deployments"
MAPS = f"/api/v1/namespaces/{NS}/configmaps"
PODS = f"/api/v1/namespaces/{NS}/pods"
ANY = [rule(["*/*"], groups=["*"], versions=["*"])]


def simple(name, path, kind="validating", **more):
    return {"name": name, "hooks": [hook("h", path, kind, **more)], "do": [["POST", MAPS, config_map()]]}


def every(name, requests, **more):
    return {"name": name, "hooks": [hook("v", "/admit", "validating", ANY, **more), hook("m", "/admit", "mutating", ANY, **more)], "do": requests}


CASES = [
    *[simple(path[1:], path) for path in SCRIPTS if path not in (
        "/label", "/data", "/count", "/noop", "/empty-patch", "/bad-path", "/bad-type", "/unknown-field", "/sidecar", "/replicas", "/slow")],
    *[simple("mutating " + path[1:], path, "mutating") for path in SCRIPTS if path not in ("/sidecar", "/replicas", "/slow")],
    *[simple("ignored " + path[1:], path, "mutating", failurePolicy="Ignore") for path in (
        "/garbage", "/code-500", "/no-response", "/wrong-uid", "/deny", "/bad-path", "/no-patch-text", "/patch-no-type")],
    simple("slow", "/slow", timeoutSeconds=1),
    simple("slow ignored", "/slow", timeoutSeconds=1, failurePolicy="Ignore"),
    simple("v1beta1", "/label", "mutating", admissionReviewVersions=["v1beta1", "v1"]),
    simple("v1beta1 patch without type", "/patch-no-type", "mutating", admissionReviewVersions=["v1beta1"]),
    simple("not this operation", "/deny", rules=[rule(["configmaps"], ["UPDATE"])]),
    simple("not this resource", "/deny", rules=[rule(["secrets"])]),
    simple("not this version", "/deny", rules=[rule(["configmaps"], versions=["v2"])]),
    simple("subresources alone", "/deny", rules=[rule(["configmaps/*"])]),
    simple("cluster scope", "/deny", rules=[rule(["configmaps"], scope="Cluster")]),
    simple("namespaced scope", "/deny", rules=[rule(["configmaps"], scope="Namespaced")]),
    simple("another namespace", "/deny", namespaceSelector={"matchLabels": {"no": "such"}}),
    simple("object selector no", "/deny", objectSelector={"matchLabels": {"a": "b"}}),
    {"name": "object selector yes", "hooks": [hook("h", "/deny", objectSelector={"matchLabels": {"a": "b"}})],
     "do": [["POST", MAPS, config_map(metadata={"labels": {"a": "b"}})]]},
    {"name": "object selector of the old one", "hooks": [hook("h", "/deny", rules=[rule(["configmaps"], ["UPDATE"])], objectSelector={"matchLabels": {"a": "b"}})],
     "do": [["POST", MAPS, config_map(metadata={"labels": {"a": "b"}})], ["PATCH", MAPS + "/a", {"metadata": {"labels": {"a": None}}}]]},
    every("a ConfigMap's life", [["POST", MAPS + "?fieldManager=me&fieldValidation=Strict", config_map()], ["PUT", MAPS + "/a?fieldManager=me", config_map(immutable=False)],
                                 ["PATCH", MAPS + "/a", {"data": {"k": "w"}}], ["DELETE", MAPS + "/a", {"propagationPolicy": "Background", "gracePeriodSeconds": 0}]]),
    # What is sent is seen before it is cut to what the request may change, and before its version is looked at.
    every("a status replaced", [["POST", DEPLOYMENTS, deployment()], ["PUT", DEPLOYMENTS + "/d/status", deployment(3, status={"observedGeneration": 7})]]),
    {"name": "a spec changed on the way to the status", "hooks": [hook("h", "/replicas", "mutating", [rule(["deployments/status"], ["UPDATE"], ["apps"])])],
     "do": [["POST", DEPLOYMENTS, deployment()], ["PUT", DEPLOYMENTS + "/d/status", deployment(3, status={"observedGeneration": 7})]]},
    every("a replacement of another version", [["POST", MAPS, config_map()], ["PUT", MAPS + "/a", config_map(metadata={"resourceVersion": "1"})]]),
    every("a replacement of another object", [["POST", MAPS, config_map()], ["PUT", MAPS + "/a", config_map(metadata={"uid": "11111111-2222-3333-4444-555555555555"})]]),
    every("a replacement by a patch's words", [["POST", MAPS, config_map(metadata={"labels": {"a": "b"}})],
                                               ["PUT", MAPS + "/a", config_map(metadata={"generation": 9, "creationTimestamp": "2001-01-01T00:00:00Z"})]]),
    every("dry run", [["POST", MAPS + "?dryRun=All", config_map()]]),
    every("dry run with side effects", [["POST", MAPS + "?dryRun=All", config_map()]], sideEffects="NoneOnDryRun"),
    every("a generated name", [["POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}}]]),
    every("a pod's life", [["POST", PODS, pod()], ["PATCH", PODS + "/p", {"metadata": {"labels": {"x": "y"}}}],
                           ["PATCH", PODS + "/p/status", {"status": {"message": "hm"}}],
                           ["POST", PODS + "/p/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}],
                           ["POST", PODS + "/p/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}]]),
    every("a pod deleted", [["POST", PODS, pod()], ["DELETE", PODS + "/p", None]]),
    every("a collection deleted", [["POST", MAPS, config_map("a")], ["POST", MAPS, config_map("b")],
                                   ["DELETE", MAPS + "?fieldSelector=metadata.name%3Da", None]]),
    every("a scale", [["POST", f"/apis/apps/v1/namespaces/{NS}/deployments", {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}}],
        ["PATCH", f"/apis/apps/v1/namespaces/{NS}/deployments/d/scale", {"spec": {"replicas": 1}}]]),
    every("a token", [["POST", f"/api/v1/namespaces/{NS}/serviceaccounts/default/token", {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["x"]}}]]),
    every("an autoscaler", [["POST", f"/apis/autoscaling/v1/namespaces/{NS}/horizontalpodautoscalers", {
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": {
            "maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}]]),
    {"name": "equivalent", "hooks": [hook("h", "/admit", "mutating", [rule(["horizontalpodautoscalers"], groups=["autoscaling"], versions=["v2"])])],
     "do": [["POST", f"/apis/autoscaling/v1/namespaces/{NS}/horizontalpodautoscalers", {
         "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": {
             "maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}]]},
    {"name": "exact", "hooks": [hook("h", "/deny", "mutating", [rule(["horizontalpodautoscalers"], groups=["autoscaling"], versions=["v2"])], matchPolicy="Exact")],
     "do": [["POST", f"/apis/autoscaling/v1/namespaces/{NS}/horizontalpodautoscalers", {
         "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": {
             "maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}]]},
    {"name": "a sidecar is defaulted", "hooks": [hook("h", "/sidecar", "mutating", [rule(["pods"], ["CREATE"])])], "do": [["POST", PODS, pod()]]},
    {"name": "in order of their names", "hooks": [hook("b", "/data", "mutating"), hook("a", "/label", "mutating"), hook("c", "/admit", "mutating")],
     "do": [["POST", MAPS, config_map()]]},
    {"name": "once more if needed", "hooks": [hook("a", "/count", "mutating", reinvocationPolicy="IfNeeded"), hook("b", "/data", "mutating")],
     "do": [["POST", MAPS, config_map()]]},
    {"name": "never once more", "hooks": [hook("a", "/count", "mutating"), hook("b", "/data", "mutating", reinvocationPolicy="IfNeeded")],
     "do": [["POST", MAPS, config_map()]]},
    {"name": "a patch of what is deleted", "hooks": [hook("h", "/label", "mutating", [rule(["configmaps"], ["DELETE"])])],
     "do": [["POST", MAPS, config_map()], ["DELETE", MAPS + "/a", None]]},
    {"name": "the first refusal", "hooks": [hook("a", "/admit"), hook("b", "/deny"), hook("c", "/warn")], "do": [["POST", MAPS, config_map()]]},
    *[simple("condition " + text, "/deny", matchConditions=[{"name": "c", "expression": text}], failurePolicy=policy) for text, policy in (
        ("object.metadata.name == 'a'", "Fail"), ("object.metadata.name == 'b'", "Fail"), ("request.userInfo.username == 'alice' && oldObject == null", "Fail"),
        ("object.data.none == 'x'", "Fail"), ("object.data.none == 'x' ", "Ignore"), ("authorizer.requestResource.check('create').allowed()", "Fail"),
        ("request.options.fieldManager == 'x'", "Fail"), ("request.namespace == 'hooked' && request.dryRun == false", "Fail"))],
    {"name": "configurations are exempt", "hooks": [hook("h", "/deny", rules=[rule(["*"], groups=["admissionregistration.k8s.io"], versions=["*"])], namespaceSelector={})],
     "do": [["POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations?dryRun=All", {
         "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "other"}}]]},
    {"name": "reviews are exempt", "hooks": [hook("h", "/deny", rules=[rule(["*"], groups=["authorization.k8s.io", "authentication.k8s.io"], versions=["*"])], namespaceSelector={})],
     "do": [["POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
         "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods"}}}]]},
    {"name": "a namespace by its own labels", "hooks": [hook("h", "/deny", rules=[rule(["namespaces"])], namespaceSelector={"matchLabels": {"own": "yes"}})],
     "do": [["POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hooked-2", "labels": {"own": "yes"}}}]]},
]


def plain(value, at):
    """Without what is another each time."""
    if isinstance(value, dict):
        out = {k: "RV" if k == "resourceVersion" else plain(v, at) for k, v in value.items()}
        if isinstance(out.get("managedFields"), list):  # in the order of their times
            out["managedFields"].sort(key=lambda m: (m["manager"], m["operation"], m.get("subresource", "")))
        return out
    if isinstance(value, list):
        return [plain(v, at) for v in value]
    if isinstance(value, str):
        return ACCESS.sub(r"\1GENERATED", TIME.sub("TIME", UID.sub("UID", value))).replace(at, "HOOK")
    return value


def outcome(answer, server, names, at_once):
    """What came of one request: what the hooks were asked, and the answer. `at_once`: they are asked in no order."""
    asked = []
    for path, query, review in server.take():
        if review["request"]["userInfo"]["username"] != USER["Impersonate-User"]:
            continue  # what the cluster itself does of it
        review = plain(review, server.at)
        asked.append({"path": path, "query": query, "review": review})
    if at_once:
        asked.sort(key=lambda a: a["path"])
    body = plain(json.loads(answer.body), server.at) if answer.body else None
    text = json.dumps([asked, body])
    for generated in names(text):
        text = text.replace(generated, "a-GENERATED")
    asked, body = json.loads(text)
    return {"asked": asked, "code": answer.code, "body": body, "warnings": sorted(answer.warnings)}


def generated(text):
    return set(re.findall(r"\ba-[a-z0-9]{5}\b", text))


def configuration(h, server):
    plural = {"validating": "validatingwebhookconfigurations", "mutating": "mutatingwebhookconfigurations"}[h["kind"]]
    hooks = []
    for one in h["hooks"]:
        one = dict(one)
        path = one.pop("path")
        hooks.append({**one, "clientConfig": {"url": f"https://{server.at}{path}", "caBundle": base64.b64encode(server.ca).decode()}})
    kind = {"validating": "ValidatingWebhookConfiguration", "mutating": "MutatingWebhookConfiguration"}[h["kind"]]
    return plural, {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": h["name"]}, "webhooks": hooks}


class Stage:
    """A cluster in which cases are played. `ask` is the administrator's."""

    def __init__(self, ask, server):
        self.ask, self.server = ask, server
        server.script.update(SCRIPTS)
        self.must("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
        self.must("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "alice"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}]})
        self.must("POST", f"/api/v1/namespaces/{NS}/serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, 409)

    def must(self, method, path, body=None, also=None):
        answer = self.ask(method, path, body)
        if answer.code not in (200, 201, also):
            raise AssertionError(f"{method} {path}: {answer.code} {answer.body}")
        return answer

    def play(self, case):
        """The outcomes of a case's requests."""
        placed = [configuration(h, self.server) for h in case["hooks"]]
        root = "/apis/admissionregistration.k8s.io/v1/"
        for plural, c in placed:
            self.must("POST", root + plural, c)
        try:
            self.settle(case)
            out = []
            for method, path, body in case["do"]:
                headers = {**USER, "User-Agent": "cases", "Content-Type": PATCH if method == "PATCH" else "application/json"}
                self.server.take()
                out.append(outcome(self.ask(method, path, body, headers), self.server, generated, all(h["kind"] == "validating" for h in case["hooks"])))
            return out
        finally:
            for plural, c in placed:
                self.must("DELETE", root + plural + "/" + c["metadata"]["name"])
            self.clean(case)

    # Each server learns of configurations in its own time: a marker beside them tells when they are there, and when they are gone.
    def marker(self, kind, name):
        h = hook(name, "/marker-" + name, kind, [rule(["configmaps"], ["CREATE"])], namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "default"}})
        return configuration(h, self.server)

    def seen_marker(self, name):
        self.server.take()
        self.ask("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", config_map("marker"))
        return any(path == "/marker-" + name for path, _, _ in self.server.take())

    def settle(self, case):
        """All that was written to configurations of the case's kinds before is obeyed now."""
        for kind in sorted({h["kind"] for h in case["hooks"]}):
            self.server.script["/marker-" + kind] = admit
            plural, c = self.marker(kind, kind)
            root = "/apis/admissionregistration.k8s.io/v1/" + plural
            self.must("POST", root, c)
            self.until(lambda: self.seen_marker(kind))
            self.must("DELETE", root + "/" + kind)
            self.until(lambda: not self.seen_marker(kind))

    def until(self, condition):
        end = time.monotonic() + 20
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("the webhooks don't come or go")
            time.sleep(0.02)

    def clean(self, case):
        self.settle(case)
        for path in (MAPS, PODS + "?gracePeriodSeconds=0", f"/apis/apps/v1/namespaces/{NS}/deployments", f"/apis/autoscaling/v1/namespaces/{NS}/horizontalpodautoscalers"):
            self.must("DELETE", path)
