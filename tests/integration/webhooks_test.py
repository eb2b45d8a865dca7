"""Admission and conversion by webhook: what a real kube-apiserver asked of webhooks and answered, compared; and with kubectl, by URL and by Service."""

import base64
import contextlib
import difflib
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

from harness import ClusterTest, Lab, Server, eventually, main

ANSWERS = pathlib.Path(__file__).resolve().parents[1] / "answers"
sys.path.insert(0, str(ANSWERS))

from hook_server import HookServer, make_certificates  # noqa: E402
from judge import Answer  # noqa: E402
from webhook_cases import CASES, Stage, add, patching  # noqa: E402

# What is asked or answered otherwise, by where it stands, and why.
DEPARTURES = {
    # A deletion that ends at once is judged once, and marks nothing.
    "a pod deleted": r"/1/(asked/[2-5]/.*|body/metadata/(deletion.*|generation .*))",
    # Nobody owns fields of what isn't stored.
    "a pod's life": r"/3/asked/[01]/review/request/object/metadata/managedFields/.*",
    "a scale": r".*/managedFields/.*",
    "a token": r".*/(managedFields/.*|metadata/(creationTimestamp|name|namespace|uid) .*|metadata \{\}|spec/expirationSeconds .*|status/.*)",
    "reviews are exempt": r"/0/body/(metadata|spec|status).*",
    # Its words for a patch that can't be applied.
    "mutating bad-path": r"/0/body/.*message .*",
    "ignored bad-path": r"/0/body/.*message .*",
}


class WebhookTest(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make_certificates(cls.lab.folder, cls.lab.gateway, "hooks.default.svc")
        cls.hooks = HookServer(cls.lab.folder, cls.lab.gateway)
        cls.addClassCleanup(cls.hooks.close)
        cls.api = cls.server.api()

    @classmethod
    def ask(cls, method, path, body=None, headers=None):
        """As judge.py asks."""
        api = cls.api
        if body is not None and not isinstance(body, str):
            body = json.dumps(body)
        if not api.connection:
            api.connection = http.client.HTTPSConnection(api.address, api.port, context=api.tls, timeout=60)
        api.connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = api.connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    def client(self, path):
        return {"url": f"https://{self.hooks.at}{path}", "caBundle": base64.b64encode(self.hooks.ca).decode()}

    def make_doors(self, client):
        """A custom resource that `client`'s webhook converts between v1 (stored) and v2."""
        def convert(review):
            out = []
            for o in review["request"]["objects"]:
                o = json.loads(json.dumps(o))
                spec = o["spec"]
                if review["request"]["desiredAPIVersion"].endswith("/v2"):
                    spec["host"], spec["port"] = spec.pop("hostPort").split(":")
                else:
                    spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port')}"
                o["apiVersion"] = review["request"]["desiredAPIVersion"]
                out.append(o)
            return {"result": {"status": "Success"}, "convertedObjects": out}
        self.hooks.script["/convert"] = convert

        def version(name, stored, fields):
            properties = {"spec": {"type": "object", "properties": {f: {"type": "string"} for f in fields}}}
            return {"name": name, "served": True, "storage": stored, "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                    "selectableFields": [{"jsonPath": ".spec." + fields[0]}]}
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "doors.ex.io"}, "spec": {
                "group": "ex.io", "scope": "Namespaced", "names": {"plural": "doors", "singular": "door", "kind": "Door"},
                "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client}},
                "versions": [version("v1", True, ["hostPort"]), version("v2", False, ["host", "port"])]}}))
        self.kubectl("wait", "--for=condition=Established", "crd/doors.ex.io")


class RecordedCases(WebhookTest):
    maxDiff = None
    # Nobody writes beside the cases: who is first would have webhooks asked again.
    server_args = ("--disable-agent", "--disable-scheduler", "--disable-controller-manager")

    def test_asked_and_answered_as_the_real_one_does(self):
        recorded = {case["name"]: case["outcomes"] for case in map(json.loads, open(ANSWERS / "webhooks" / "cases.jsonl"))}
        stage = Stage(self.ask, self.hooks)
        self.assertEqual(set(recorded), {case["name"] for case in CASES})
        for case in CASES:
            with self.subTest(case["name"]):
                got, wanted = stage.play(case), recorded[case["name"]]
                different = [line for line in difflib.unified_diff(self.lines(wanted), self.lines(got), "recorded", "answered", lineterm="", n=0)
                             if not line.startswith(("@@", "---", "+++"))]
                known = re.compile("[-+]" + DEPARTURES.get(case["name"], "(?!)"))
                self.assertEqual([], [line for line in different if not known.match(line)])

    @staticmethod
    def lines(outcomes):
        """A line a member, by its whole path: so that a difference says where it is."""
        out = []

        def walk(path, value):
            if isinstance(value, dict) and value:
                for name in sorted(value):
                    walk(f"{path}/{name}", value[name])
            elif isinstance(value, list) and value:
                for i, one in enumerate(value):
                    walk(f"{path}/{i}", one)
            else:
                out.append(f"{path} {json.dumps(value)}")
        walk("", outcomes)
        return out



def configuration(kind, name, client, resources, groups=("",), versions=("v1",), **more):
    return json.dumps({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind + "WebhookConfiguration", "metadata": {"name": name}, "webhooks": [{
            "name": name + ".ex.io", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": client,
            "rules": [{"operations": ["CREATE"], "apiGroups": list(groups), "apiVersions": list(versions), "resources": list(resources)}], **more}]})


class WithKubectl(WebhookTest):
    def service(self, path, name="hooks"):
        return {"service": {"namespace": "default", "name": name, "path": path}, "caBundle": base64.b64encode(self.hooks.ca).decode()}

    def refused(self, *args, **more):
        p = self.kubectl(*args, check=False, **more)
        self.assertNotEqual(0, p.returncode, p.stdout)
        return p.stderr

    def test_by_url(self):
        self.hooks.script["/no"] = lambda r: {"allowed": False, "status": {"message": "no maps here"}, "warnings": ["think twice"]}
        self.kubectl("create", "-f", "-", input=configuration("Validating", "by-url", self.client("/no"), ["configmaps"]))
        try:
            said = eventually("it is asked", lambda: "denied" in (t := self.kubectl("create", "configmap", "x", check=False).stderr) and t or
                              self.kubectl("delete", "configmap", "x", "--ignore-not-found") and None)
            self.assertIn('admission webhook "by-url.ex.io" denied the request: no maps here', said)
            self.assertIn("Warning: think twice", said)
        finally:
            self.kubectl("delete", "validatingwebhookconfiguration", "by-url")
        eventually("it is asked no more", lambda: self.kubectl("create", "configmap", "y", "--dry-run=server", check=False).returncode == 0)

    def test_by_service(self):
        self.hooks.script["/label"] = patching(add("/metadata/labels", {"from": "the-service"}))
        self.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hooks"}, "spec": {"ports": [{"port": 443}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "hooks-1", "labels": {"kubernetes.io/service-name": "hooks"}},
             "addressType": "IPv4", "ports": [{"name": "", "port": self.hooks.port}], "endpoints": [{"addresses": [self.lab.gateway]}]}]}))
        self.kubectl("create", "-f", "-", input=configuration("Mutating", "by-service", self.service("/label"), ["secrets"]))
        self.kubectl("create", "-f", "-", input=configuration("Validating", "nowhere", self.service("/label", "nobody"), ["limitranges"], failurePolicy="Fail"))
        try:
            made = eventually("it is asked", lambda: (o := json.loads(self.kubectl("create", "secret", "generic", "s", "--dry-run=server", "-o", "json")))["metadata"].get("labels") and o)
            self.assertEqual({"from": "the-service"}, made["metadata"]["labels"])
            limits = json.dumps({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [{"type": "Pod"}]}})
            said = eventually("the other is asked", lambda: "nowhere" in (t := self.kubectl("create", "--dry-run=server", "-f", "-", input=limits, check=False).stderr) and t)
            self.assertIn('failed calling webhook "nowhere.ex.io": failed to call webhook: Post "https://nobody.default.svc:443/label?timeout=10s": service "nobody" not found', said)
        finally:
            self.kubectl("delete", "mutatingwebhookconfiguration/by-service", "validatingwebhookconfiguration/nowhere")

    def test_a_server_starts_though_a_webhook_that_wants_everything_is_dead(self):
        everything = json.loads(configuration("Validating", "dead", {"url": f"https://{self.lab.gateway}:1/"}, ["*/*"], ["*"], ["*"], timeoutSeconds=1))
        everything["webhooks"][0]["rules"][0]["operations"] = ["*"]
        self.kubectl("create", "-f", "-", input=json.dumps(everything))
        try:
            eventually("nothing can be written", lambda: "dead.ex.io" in self.kubectl("create", "configmap", "x", check=False).stderr)
            self.api.close()
            self.server.stop()
            self.server.start()
            self.server.wait_ready()
            self.assertIn("connection refused", self.kubectl("create", "configmap", "x", check=False).stderr)
        finally:
            self.kubectl("delete", "validatingwebhookconfiguration", "dead")
        eventually("all goes on", lambda: self.kubectl("create", "configmap", "x", check=False).returncode == 0)

    def test_what_controllers_make_is_asked_about(self):
        self.hooks.script["/pods"] = patching(add("/metadata/annotations", {"seen": "yes"}))
        self.kubectl("create", "-f", "-", input=configuration("Mutating", "pods", self.client("/pods"), ["pods"]))
        try:
            self.kubectl("create", "deployment", "web", "--image=none", "--replicas=1")
            pods = eventually("its pod is there", lambda: self.server.get("pods", "-l", "app=web")["items"])
            self.assertEqual("yes", pods[0]["metadata"]["annotations"]["seen"])
        finally:
            self.kubectl("delete", "mutatingwebhookconfiguration/pods")
            self.kubectl("delete", "deployment", "web")

    def test_versions_by_webhook(self):
        self.make_doors(self.client("/convert"))
        for v, name, spec in (("v1", "a", {"hostPort": "h:1"}), ("v2", "b", {"host": "g", "port": "2"})):
            self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "ex.io/" + v, "kind": "Door", "metadata": {"name": name}, "spec": spec}))
        seen = {o["metadata"]["name"]: o["spec"] for o in self.server.get("doors.v2.ex.io")["items"]}
        self.assertEqual({"a": {"host": "h", "port": "1"}, "b": {"host": "g", "port": "2"}}, seen)
        self.assertEqual("g:2", self.server.get("doors.v1.ex.io", "b")["spec"]["hostPort"])
        self.assertEqual(["door.ex.io/b"], self.kubectl("get", "doors.v2.ex.io", "--field-selector=spec.host=g", "-o", "name").split())
        self.hooks.script["/convert"] = lambda r: {"result": {"status": "Failure", "message": "out of order"}}
        self.kubectl("patch", "doors.v1.ex.io", "a", "--type=merge", "-p", '{"spec":{"hostPort":"h:9"}}')
        self.assertIn("conversion webhook for ex.io/v1, Kind=Door failed: out of order", self.refused("get", "doors.v2.ex.io", "a"))
        self.kubectl("delete", "crd", "doors.ex.io")


class Traces(WebhookTest):
    """Told to a collector made of OpenTelemetry's own protocol (tests/integration/otlp); skipped without go."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.program = cls.build_collector()
        cls.spans, cls.socket = os.path.join(cls.lab.folder, "spans"), os.path.join(cls.lab.folder, "collector")
        config = os.path.join(cls.lab.folder, "tracing.yaml")
        with open(config, "w") as f:
            json.dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "TracingConfiguration", "endpoint": "unix:" + cls.socket}, f)
        cls.host = cls.lab.host()
        cls.server = Server(cls.lab, host=cls.host, args=[
            "--disable-agent", "--disable-scheduler", "--disable-controller-manager", "--kube-apiserver-arg=tracing-config-file=" + config]).wait_ready()
        make_certificates(cls.lab.folder, cls.lab.gateway)
        cls.hooks = HookServer(cls.lab.folder, cls.lab.gateway)
        cls.addClassCleanup(cls.hooks.close)
        cls.api = cls.server.api()

    @classmethod
    def build_collector(cls):
        if not shutil.which("go"):
            raise unittest.SkipTest("no go here")
        source = os.path.join(cls.lab.folder, "otlp")
        shutil.copytree(pathlib.Path(__file__).parent / "otlp", source)
        built = subprocess.run(["go", "build", "-ldflags=-s -w", "-o", "receiver", "."], cwd=source, capture_output=True, text=True, timeout=900)
        if built.returncode != 0 and ("dial tcp" in built.stderr or "lookup" in built.stderr):
            raise unittest.SkipTest("the Go module proxy can't be reached")
        assert built.returncode == 0, built.stderr
        return os.path.join(source, "receiver")

    def traced(self, trace, method, path, body=None):
        return self.ask(method, path, body, {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})

    def count(self, what):
        return int(re.search(rf"^kedge_tracing_spans_{what}_total (\d+)$", self.kubectl("get", "--raw", "/metrics"), re.M)[1])

    def collect(self):
        # The test's before left its own.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        collecting = subprocess.Popen([self.program, "unix:" + self.socket, self.spans])
        self.addCleanup(lambda: collecting.kill() or collecting.wait())
        eventually("the collector listens", lambda: os.path.exists(self.socket))

    def told_of(self, trace, last):
        """The trace's spans by their ids, once the one of this id is told."""
        def told():
            if not os.path.exists(self.spans):
                return None
            spans = {s["span"]: s for s in map(json.loads, open(self.spans)) if s["trace"] == trace}
            return spans if last in spans else None
        return eventually("all is told", told)

    def test_1_a_collector_that_is_away_holds_nobody_up(self):
        self.assertEqual(200, self.traced("a" * 32, "GET", "/api/v1/namespaces").code)
        eventually("what nobody takes is dropped", lambda: self.count("dropped") > 0)
        self.assertEqual(0, self.count("sent"))

    def test_2_a_write_is_told_of_through_its_webhook(self):
        self.collect()
        self.hooks.script["/label"] = patching(add("/metadata/labels", {"traced": "yes"}))
        self.kubectl("create", "-f", "-", input=configuration(
            "Mutating", "traced", self.client("/label"), ["configmaps"]))
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        maps = "/api/v1/namespaces/default/configmaps"

        def made():
            self.hooks.take()
            answer = self.traced(trace, "POST", maps, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "t-"}})
            self.assertEqual(201, answer.code)
            return answer.json["metadata"].get("labels")
        eventually("the webhook is asked", made)
        asked_by = self.hooks.headers["traceparent"].split("-")
        self.assertEqual(["00", trace, "01"], [asked_by[0], asked_by[1], asked_by[3]])

        spans = self.told_of(trace, asked_by[2])

        def below(parent):
            return {s["name"]: s for s in spans.values() if s["parent"] == parent["span"]}
        posting = spans[asked_by[2]]
        self.assertEqual(("HTTP POST", "SPAN_KIND_CLIENT"), (posting["name"], posting["kind"]))
        self.assertEqual(200, posting["attributes"]["http.response.status_code"])
        calling = spans[posting["parent"]]
        self.assertEqual("Call mutating webhook", calling["name"])
        self.assertEqual({"configuration": "traced", "webhook": "traced.ex.io", "resource": "/v1, Resource=configmaps", "subresource": "", "operation": "CREATE"},
                         {k: v for k, v in calling["attributes"].items() if k != "UID"})
        creating = spans[calling["parent"]]
        self.assertEqual("Create", creating["name"])
        self.assertEqual({"api-version": "v1", "namespace": "default", "resource": "configmaps", "scope": "resource", "verb": "POST", "url": maps},
                         {k: creating["attributes"][k] for k in ("api-version", "namespace", "resource", "scope", "verb", "url")})
        storing = below(creating)["Create etcd3"]
        self.assertTrue(storing["attributes"]["key"].startswith("/configmaps/default/t-"), storing)
        self.assertEqual("*core.ConfigMap", storing["attributes"]["type"])
        serving = spans[creating["parent"]]
        self.assertEqual(("POST /api/v1/namespaces/{:namespace}/configmaps", "SPAN_KIND_SERVER", "00f067aa0ba902b7"),
                         (serving["name"], serving["kind"], serving["parent"]))
        self.assertLessEqual({"audit", "impersonation", "authorization", "priorityandfairness", "Create"}, below(serving).keys())
        self.assertEqual(201, serving["attributes"]["http.response.status_code"])
        self.assertEqual(maps, serving["attributes"]["url.path"])
        self.assertEqual(serving["attributes"]["audit-id"], creating["attributes"]["audit-id"])
        self.assertEqual("apiserver", serving["resource"]["service.name"])
        self.assertEqual([], [s for s in spans.values() if s["nanoseconds"] < 0])
        measured = self.kubectl("get", "--raw", "/metrics")
        for name, half in (("NamespaceLifecycle", "admit"), ("MutatingAdmissionWebhook", "admit"), ("ResourceQuota", "validate")):
            self.assertRegex(measured, rf'(?m)^apiserver_admission_controller_admission_duration_seconds_count\{{name="{name}",'
                                       rf'operation="CREATE",rejected="false",type="{half}"\}} [1-9]')
            self.assertRegex(measured, rf'(?m)^apiserver_admission_step_admission_duration_seconds_count\{{operation="CREATE",rejected="false",type="{half}"\}} [1-9]')

    def test_3_a_webhook_that_converts_is_a_part_of_who_reads(self):
        self.collect()
        self.make_doors(self.client("/convert"))
        self.kubectl("create", "-f", "-", input='{"apiVersion":"ex.io/v1","kind":"Door","metadata":{"name":"a"},"spec":{"hostPort":"h:1"}}')
        doors = "/apis/ex.io/v2/namespaces/default/doors"
        # What was read before is remembered: a list and a read of their own.
        for trace, path, parents in (("b" * 32, doors, ["cacher.GetList", "List"]), ("c" * 32, doors + "/a", ["Get"])):
            self.kubectl("label", "doors.v1.ex.io", "a", "trace=" + trace, "--overwrite")
            self.hooks.take()
            answer = self.traced(trace, "GET", path)
            self.assertEqual(200, answer.code)
            asked_by = self.hooks.headers["traceparent"].split("-")
            self.assertEqual(trace, asked_by[1])
            serving = f"GET /apis/ex.io/v2/namespaces/{{:namespace}}/doors{'/{:name}' if path.endswith('/a') else ''}"
            spans = self.told_of(trace, asked_by[2])
            span = spans[asked_by[2]]
            self.assertEqual("Call conversion webhook", span["name"])
            self.assertEqual({"custom-resource-definition": "doors.ex.io", "desired-api-version": "ex.io/v2", "object-count": 1},
                             {k: v for k, v in span["attributes"].items() if k != "UID"})
            for name in parents + [serving]:
                span = eventually(name + " is told", lambda: self.told_of(trace, asked_by[2]).get(span["parent"]))
                self.assertEqual(name, span["name"])


if __name__ == "__main__":
    main()
