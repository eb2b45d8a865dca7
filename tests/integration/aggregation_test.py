"""Another API server behind this one: a small one in this process, over TLS, reached by hand-made Service and EndpointSlice."""

import base64
import contextlib
import http.client
import http.server
import json
import os
import socket
import ssl
import threading
import unittest

from harness import BINARY, Api, Lab, Server, eventually, main, run

GROUP = "wardle.example.com"
ROOT = f"/apis/{GROUP}/v1"
THING = {"apiVersion": f"{GROUP}/v1", "kind": "Thing", "metadata": {"name": "one", "namespace": "default"}}
RESOURCES = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1", "resources": [
    {"name": "things", "singularName": "thing", "namespaced": True, "kind": "Thing", "verbs": ["get", "list", "watch", "create", "delete"]}]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.server.connections.append(self.connection)

    def send(self, code, body, kind="application/json", more=()):
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(code)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(text))), *more):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        text = b""
        while size := int(self.rfile.readline(), 16):
            text += self.rfile.read(size)
            self.rfile.readline()
        while (line := self.rfile.readline().decode().strip()):  # trailers, which may say who asks just as well
            self.headers.add_header(*line.split(": ", 1))
        return text.decode()

    def handle_any(self):
        path = self.path.split("?")[0]
        body = self.body()
        said = {"method": self.command, "path": self.path, "headers": self.headers.items(),
                "certificate": dict(pair[0] for pair in self.connection.getpeercert()["subject"]),
                "serial": self.connection.getpeercert()["serialNumber"]}
        self.server.requests.append(said)
        if self.headers.get("Upgrade"):
            return self.echo()
        if path == ROOT:
            return self.send(200, RESOURCES)
        if path in self.server.measured:
            return self.send(self.server.measured[path].get("code", 200), self.server.measured[path])
        if path == f"{ROOT}/moved":
            return self.send(302, "", more=[("Location", "https://elsewhere.example/")])
        if self.command == "POST":
            return self.send(201, {**json.loads(body), "received": said["headers"]})
        if path.endswith("/things") and "watch=" in self.path:
            return self.watch()
        if path.endswith("/things"):
            return self.send(200, {"kind": "ThingList", "apiVersion": f"{GROUP}/v1", "metadata": {"resourceVersion": "1"},
                                   "items": [THING] if "/default/" in path else []})
        if path.endswith("/things/one"):
            return self.send(200, THING)
        self.send(404, "404 page not found\n", "text/plain")

    do_GET = do_POST = do_DELETE = handle_any

    def watch(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        number = 0
        while self.server.events.acquire(timeout=30):
            number += 1
            text = (json.dumps({"type": "ADDED", "object": {**THING, "metadata": {"name": f"e{number}"}}}) + "\n").encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))

    def echo(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        self.close_connection = True
        while piece := self.connection.recv(1000):
            self.connection.sendall(piece.upper())


class Quiet(http.server.ThreadingHTTPServer):
    """Says nothing of clients that hang up, or don't believe it."""
    allow_reuse_address = daemon_threads = True

    def handle_error(self, request, client_address):
        pass


class Wardle:
    """The other API server, for whom only the front proxy's word counts."""

    def __init__(self, lab, trust, name="api.wardle.svc"):
        at = lambda f: os.path.join(lab.folder, f)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        if not os.path.exists(at("ca.crt")):
            run("openssl", "req", "-x509", *key, "-keyout", at("ca.key"), "-out", at("ca.crt"), "-subj", "/CN=wardle-ca", "-days", "2")
            run("openssl", "req", *key, "-keyout", at("tls.key"), "-out", at("tls.csr"), "-subj", "/CN=" + name)
            with open(at("names"), "w") as f:
                f.write("subjectAltName=DNS:" + name)
            run("openssl", "x509", "-req", "-in", at("tls.csr"), "-CA", at("ca.crt"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "2",
                "-extfile", at("names"), "-out", at("tls.crt"))
        self.ca = base64.b64encode(open(at("ca.crt"), "rb").read()).decode()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(at("tls.crt"), at("tls.key"))
        tls.load_verify_locations(cadata=trust)
        tls.verify_mode = ssl.CERT_REQUIRED
        self.tls, self.address = tls, lab.gateway
        self.port = 0
        self.start()

    def start(self):
        self.stopped = False
        self.server = Quiet((self.address, self.port), Handler)
        self.port = self.server.server_address[1]
        self.server.requests, self.server.events, self.server.connections = [], threading.Semaphore(0), []
        self.server.measured = {}  # by path; a Status with its code
        self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Nobody listens any more, and watches end in the middle, as when a process is killed."""
        self.stopped = True
        self.server.shutdown()
        self.server.socket.close()
        for connection in self.server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def requests(self):
        return self.server.requests


class Aggregation(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.host = cls.lab.host()
        cls.server = Server(cls.lab, host=cls.host, args=("--disable-agent", "--kube-controller-manager-arg=horizontal-pod-autoscaler-sync-period=1s")).wait_ready()
        trust = cls.server.get("configmap", "-n", "kube-system", "extension-apiserver-authentication")["data"]
        assert trust["requestheader-allowed-names"] == '["system:auth-proxy"]'
        cls.wardle = Wardle(cls.lab, trust["requestheader-client-ca-file"])
        cls.addClassCleanup(lambda: cls.wardle.stop())
        for o in ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "wardle"}},
                  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": "wardle"}, "spec": {"ports": [{"port": 443}]}},
                  {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                   "metadata": {"name": "api-1", "namespace": "wardle", "labels": {"kubernetes.io/service-name": "api"}},
                   "ports": [{"name": "", "port": cls.wardle.port}], "endpoints": [{"addresses": [cls.lab.gateway]}]}):
            cls.server.kubectl("create", "-f", "-", input=json.dumps(o))
        cls.register()
        eventually("it is discovered", lambda: "Thing" in cls.server.kubectl("api-resources", "--api-group=" + GROUP))

    @classmethod
    def register(cls, group=GROUP, version="v1", **spec):
        spec = spec or {"caBundle": cls.wardle.ca}
        cls.server.kubectl("apply", "-f", "-", input=json.dumps({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"{version}.{group}"},
            "spec": {"group": group, "version": version, "service": {"name": "api", "namespace": "wardle"}, "groupPriorityMinimum": 1000,
                     "versionPriority": 15, **spec}}))
        cls.until("Passed", f"{version}.{group}")

    @classmethod
    def condition(cls, name=f"v1.{GROUP}"):
        return cls.server.get("apiservice", name)["status"]["conditions"][0]

    @classmethod
    def until(cls, reason, name=f"v1.{GROUP}"):
        return eventually(f"{name} {reason}", lambda: (c := cls.condition(name))["reason"] == reason and c, timeout=45)

    def kubectl(self, *args, **kw):
        return self.server.kubectl(*args, **kw)

    def test_kubectl_finds_and_reads_it(self):
        self.assertRegex(self.kubectl("get", "apiservices", f"v1.{GROUP}", "--no-headers"), r"wardle/api +True ")
        self.assertIn("thing.wardle.example.com/one", self.kubectl("get", "things", "-o", "name"))
        self.assertEqual(self.server.get("thing", "one"), THING)

    def test_it_is_shown_a_renewed_certificate(self):
        def serial():
            self.kubectl("get", "things")
            return self.wardle.requests[-1]["serial"]
        before = serial()
        run(BINARY, "certificate", "rotate", "--data-dir", self.server.data)
        eventually("the front proxy's certificate is another", lambda: serial() != before)

    def test_it_is_told_who_asks_and_by_nobody_else(self):
        api = Api(self.server)
        self.addCleanup(api.close)
        del self.wardle.requests[:]
        status, made = api.request("POST", f"{ROOT}/namespaces/default/things?dryRun=All", THING, {
            "X-Remote-User": "root", "X-Remote-Group": "system:masters", "X-Remote-Extra-Mine": "x", "X-Remote-Uid": "0",
            "Impersonate-User": "system:serviceaccount:kube-system:anna", "Impersonate-Group": "system:masters",
            "Impersonate-Extra-a%2fb": "c", "Audit-ID": "7e57"})
        self.assertEqual(status, 201, made)
        said = self.wardle.requests[-1]
        self.assertEqual(said["certificate"], {"commonName": "system:auth-proxy"})
        headers = [(n.lower(), v) for n, v in said["headers"]]
        of = lambda name: [v for n, v in headers if n == name]
        self.assertEqual(of("x-remote-user"), ["system:serviceaccount:kube-system:anna"])
        self.assertEqual(of("x-remote-group"), ["system:masters", "system:authenticated"])
        self.assertEqual(of("x-remote-extra-a%2fb"), ["c"])
        self.assertEqual(of("x-remote-extra-mine") + of("x-remote-uid") + of("authorization"), [])
        self.assertFalse([n for n, _ in headers if n.startswith("impersonate")])
        self.assertEqual(of("audit-id"), ["7e57"])
        self.assertEqual(of("x-forwarded-uri") + of("x-forwarded-proto"), [f"{ROOT}/namespaces/default/things", "https"])
        self.assertEqual(of("host"), [f"{self.lab.gateway}:{self.wardle.port}"])
        self.assertEqual(said["path"], f"{ROOT}/namespaces/default/things?dryRun=All")

    def test_whoever_may_not_is_refused_before(self):
        del self.wardle.requests[:]
        refused = self.kubectl("--as=bob", "get", "things", check=False)
        self.assertIn('User "bob" cannot list resource "things" in API group "wardle.example.com"', refused.stderr)
        self.assertNotIn("bob", json.dumps(self.wardle.requests))

    def test_answers_are_this_servers_too(self):
        c = http.client.HTTPSConnection(self.host.address, self.server.port, context=Api.context(self.server), timeout=10)
        self.addCleanup(c.close)
        c.request("GET", f"{ROOT}/namespaces/default/things/one", headers={"Audit-ID": "7e58"})
        answer = c.getresponse()
        self.assertEqual((answer.status, json.loads(answer.read())), (200, THING))
        self.assertEqual((answer.getheader("Audit-Id"), answer.getheader("Cache-Control")), ("7e58", "no-cache, private"))
        self.assertTrue(answer.getheader("X-Kubernetes-PF-FlowSchema-UID"))

    def test_redirects_are_refused(self):
        api = Api(self.server)
        self.addCleanup(api.close)
        self.assertEqual(api.request("GET", f"{ROOT}/moved"), (502, "the backend attempted to redirect this request, which is not permitted"))

    def test_upgrades_pass(self):
        with socket.create_connection((self.host.address, self.server.port), timeout=10) as plain, \
                Api.context(self.server).wrap_socket(plain, server_hostname="kubernetes") as s:
            s.sendall(f"GET {ROOT}/namespaces/default/things/one/talk HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += s.recv(1000)
            self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
            s.sendall(b"hello")
            self.assertEqual(s.recv(1000), b"HELLO")

    def raw(self, head):
        """What is answered to these lines, up to the end of the connection or of a second without anything."""
        with socket.create_connection((self.host.address, self.server.port), timeout=1) as plain, \
                Api.context(self.server).wrap_socket(plain, server_hostname="kubernetes") as s:
            s.sendall("".join(line + "\r\n" for line in (*head, "")).encode())
            answer = b""
            with contextlib.suppress(TimeoutError):
                while piece := s.recv(10_000):
                    answer += piece
            return answer

    def test_nobody_speaks_http_in_this_server_s_name(self):
        """Over what an upgrade leaves anybody could say who asks: the connection proves that it is the front proxy's."""
        for upgrade in ("h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2, HTTP/1.1"):
            del self.wardle.requests[:]
            answer = self.raw([f"GET {ROOT}/namespaces/default/things/one HTTP/1.1", "Host: x", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}",
                               "HTTP2-Settings: AAMAAABkAAQAAP__"])
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), (upgrade, answer))
            for r in self.wardle.requests:
                self.assertFalse({"upgrade", "http2-settings"} & {n.lower() for n, _ in r["headers"]}, upgrade)

    def test_no_spelling_of_a_request_smuggles_another(self):
        """Ways to say who asks, or a second request, that one of two readers may see and the other not."""
        head = [f"POST {ROOT}/namespaces/default/things HTTP/1.1", "Host: x", "Content-Type: application/json"]
        body = json.dumps(THING)
        chunked = f"{len(body):x}\r\n{body}\r\n0\r\n"
        second = f"GET {ROOT}/namespaces/default/things/one HTTP/1.1\r\nHost: x\r\nX-Remote-User: root\r\n"
        for more in (
                ["X_Remote_User: root", "x_remote_group: system:masters", "X-Remote_Extra-a: b", f"Content-Length: {len(body)}", "", body],
                ["Connection: X-Remote-User, X-Remote-Group, X-Forwarded-For", f"Content-Length: {len(body)}", "", body],
                [" X-Remote-User: root", f"Content-Length: {len(body)}", "", body],
                ["X-Remote-User : root", f"Content-Length: {len(body)}", "", body],
                ["A: b\rX-Remote-User: root", f"Content-Length: {len(body)}", "", body],
                ["A: b\nX-Remote-User: root", f"Content-Length: {len(body)}", "", body],
                ["Transfer-Encoding: chunked", "Content-Length: 4", "", chunked + second],
                ["Transfer-Encoding: chunked, identity", "", chunked],
                ["Transfer-Encoding : chunked", f"Content-Length: {len(body)}", "", body],
                [f"Content-Length: {len(body)}", "Content-Length: 0", "", body],
                [f"Content-Length: +{len(body)}", "", body],
                ["Transfer-Encoding: chunked", "Trailer: X-Remote-User", "", chunked.rstrip("\r\n") + "\r\nX-Remote-User: root\r\n"]):
            with self.subTest(more[:3]):
                del self.wardle.requests[:]
                answer = self.raw([*head, *more])
                self.assertTrue(answer.startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 400 ")), answer)
                own = [r for r in self.wardle.requests if r["method"] == "POST" or "/things/one" in r["path"]]
                self.assertEqual(len(own), 1 if answer.startswith(b"HTTP/1.1 201 ") else 0, answer)
                for r in own:
                    told = [v for n, v in r["headers"] if n.lower().replace("_", "-").startswith("x-remote-user")]
                    self.assertEqual(told, ["system:admin"], r["headers"])
                    self.assertEqual([v for n, v in r["headers"] if n.lower().replace("_", "-").startswith("x-remote-extra") and v == "b"], [])

    def test_a_path_that_leads_elsewhere_leads_nowhere(self):
        for path in (f"{ROOT}/namespaces/mine/../default/things", f"{ROOT}/namespaces/mine/%2e%2e/default/things",
                     f"{ROOT}/namespaces/mine/things/..%2f..%2fdefault%2fthings", f"{ROOT}/namespaces/mine/things/one/a/../../..",
                     f"{ROOT}/../../../api/v1/secrets"):
            del self.wardle.requests[:]
            self.assertTrue(self.raw([f"GET {path} HTTP/1.1", "Host: x"]).startswith(b"HTTP/1.1 404 "), path)
            self.assertFalse([r for r in self.wardle.requests if ".." in r["path"] or "%2e" in r["path"]], path)

    def test_a_watch_streams_and_ends_with_its_server(self):
        c = http.client.HTTPSConnection(self.host.address, self.server.port, context=Api.context(self.server), timeout=10)
        self.addCleanup(c.close)
        c.request("GET", f"{ROOT}/things?watch=true")
        answer = c.getresponse()
        for number in (1, 2):
            self.wardle.server.events.release()
            self.assertEqual(json.loads(answer.readline())["object"]["metadata"]["name"], f"e{number}")
        self.wardle.stop()
        self.addCleanup(lambda: self.wardle.stopped and self.wardle.start())
        with self.assertRaises(http.client.IncompleteRead):
            answer.read()
        refused = self.kubectl("get", "things", check=False)
        self.assertIn("the server is currently unable to handle the request", refused.stderr)
        # Whatever makes it look: here the slice.
        self.kubectl("annotate", "endpointslice", "-n", "wardle", "api-1", "look=again")
        told = self.until("FailedDiscoveryCheck")
        url = f"https://{self.lab.gateway}:{self.wardle.port}{ROOT}"
        self.assertEqual(told["message"], f"failing or missing response from {url}: Get \"{url}\": dial tcp "
                                          f"{self.lab.gateway}:{self.wardle.port}: connect: connection refused")
        api = Api(self.server)
        self.addCleanup(api.close)
        self.assertEqual(api.request("GET", f"{ROOT}/things"), (503, "service unavailable\n"))
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

        def stale():
            groups = api.request("GET", "/apis", headers={"Accept": aggregated})[1]
            groups = groups if isinstance(groups, dict) else json.loads(groups)
            return [v["freshness"] for g in groups["items"] if g["metadata"]["name"] == GROUP for v in g["versions"]] == ["Stale"]
        eventually("its discovery is stale", stale)
        # What it may have in a namespace isn't known: the namespace waits for it.
        self.kubectl("create", "namespace", "leaving")
        self.kubectl("delete", "namespace", "leaving", "--wait=false")

        def waits():
            for c in self.server.get("namespace", "leaving")["status"]["conditions"]:
                if c["type"] == "NamespaceDeletionDiscoveryFailure" and c["status"] == "True":
                    return c["message"]
        gv = f"{GROUP}/v1"
        self.assertEqual(eventually("the namespace waits", waits), "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of "
                                                                    f"server APIs: {gv}: stale GroupVersion discovery: {gv}")
        self.wardle.start()
        self.until("Passed")
        eventually("the namespace is gone", lambda: "NotFound" in self.kubectl("get", "namespace", "leaving", check=False).stderr)
        self.assertIn("one", self.kubectl("get", "things"))

    def test_only_whom_the_bundle_names_is_believed(self):
        name = "v2.wardle.example.com"
        self.addCleanup(self.kubectl, "delete", "apiservice", name)
        strange = base64.b64encode(open(os.path.join(self.server.data, "server/tls/server-ca.crt"), "rb").read()).decode()
        self.kubectl("apply", "-f", "-", input=json.dumps({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name},
            "spec": {"group": GROUP, "version": "v2", "service": {"name": "api", "namespace": "wardle"}, "groupPriorityMinimum": 1000,
                     "versionPriority": 15, "caBundle": strange}}))
        self.assertIn("x509: certificate signed by unknown authority", self.until("FailedDiscoveryCheck", name)["message"])
        self.kubectl("patch", "apiservice", name, "--type=merge", "-p", '{"spec":{"caBundle":null,"insecureSkipTLSVerify":true}}')
        eventually("it is answered", lambda: "bad status" in self.condition(name)["message"])

    def test_metrics_are_anothers_while_it_is_registered(self):
        name = "v1beta1.metrics.k8s.io"
        eventually("built in", lambda: self.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1"))
        self.kubectl("apply", "-f", "-", input=json.dumps({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name},
            "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "service": {"name": "api", "namespace": "wardle"},
                     "insecureSkipTLSVerify": True, "groupPriorityMinimum": 100, "versionPriority": 100}}))
        # The small server has none of it, and says so.
        eventually("it was asked", lambda: "bad status" in self.condition(name)["message"])
        self.assertIn("unable to handle the request", self.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes", check=False).stderr)
        self.kubectl("delete", "apiservice", name)
        eventually("they are built in again", lambda: json.loads(self.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"))["kind"] == "NodeMetricsList")
        self.assertEqual(eventually("registered as before", lambda: self.condition(name))["reason"], "Local")

    def test_an_autoscaler_goes_by_what_it_measures(self):
        group, version = "external.metrics.k8s.io", "v1beta1"
        root = f"/apis/{group}/{version}"
        value = {"metricName": "waiting", "metricLabels": {"queue": "q"}, "timestamp": "2026-01-01T00:00:00Z", "value": "45"}
        self.wardle.server.measured |= {
            root: {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}", "resources": []},
            f"{root}/namespaces/default/waiting": {"kind": "ExternalMetricValueList", "apiVersion": f"{group}/{version}", "metadata": {}, "items": [value]}}
        self.register(group, version)
        self.kubectl("create", "deployment", "crowd", "--image=i")
        self.kubectl("create", "-f", "-", input=json.dumps({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "crowd"},
            "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "crowd"}, "metrics": [
                {"type": "External", "external": {"metric": {"name": "waiting", "selector": {"matchLabels": {"queue": "q"}}}, "target": {"type": "AverageValue", "averageValue": "10"}}}]}}))
        eventually("it is as large as what waits", lambda: self.server.get("deployment", "crowd")["spec"]["replicas"] == 5)
        self.assertIn(f"{root}/namespaces/default/waiting?labelSelector=queue%3Dq", [r["path"] for r in self.wardle.requests])
        self.assertIn("9/10 (avg)", eventually("kubectl shows it", lambda: (t := self.kubectl("get", "hpa", "crowd")) and "9/10" in t and t))
        owners = json.loads(self.kubectl("get", "deployment", "crowd", "-o", "json", "--show-managed-fields"))["metadata"]["managedFields"]
        self.assertIn("scale", [o.get("subresource") for o in owners])
        self.kubectl("delete", "apiservice", f"{version}.{group}")
        eventually("it says what is missing", lambda: "FailedGetExternalMetric" in self.kubectl("describe", "hpa", "crowd"))
        self.assertEqual(self.server.get("deployment", "crowd")["spec"]["replicas"], 5)
        self.kubectl("delete", "hpa,deployment", "crowd")

    def test_what_it_owns_goes_with_it_when_it_says_so(self):
        def at(name):
            return f"{ROOT}/namespaces/default/things/{name}"

        def status(code, reason, **details):
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "details": details, "code": code}

        def owned(name):
            self.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": name, "ownerReferences": [{"apiVersion": f"{GROUP}/v1", "kind": "Thing", "name": name, "uid": f"uid-{name}"}]}}))

        def there():
            names = self.kubectl("get", "configmaps", "-o", "name").split()
            return [name for name in ("lives", "gone", "unsaid", "lost", "away") if f"configmap/{name}" in names]

        self.wardle.server.measured |= {at("lives"): {**THING, "metadata": {"name": "lives", "namespace": "default", "uid": "uid-lives"}},
                                        at("gone"): status(404, "NotFound", name="gone"), at("away"): status(503, "ServiceUnavailable")}
        # Who doesn't know the path names nothing.
        self.wardle.server.measured[at("lost")] = status(404, "NotFound")
        for name in ("lives", "unsaid", "lost", "away", "gone"):
            owned(name)
        eventually("it was asked for each", lambda: {at(n) for n in ("lives", "gone", "unsaid", "lost", "away")} <= {r["path"] for r in self.wardle.requests})
        eventually("what it denies is gone", lambda: there() == ["lives", "unsaid", "lost", "away"])
        self.wardle.server.measured[at("lives")] = status(404, "NotFound", name="lives")
        eventually("its dependent follows", lambda: there() == ["unsaid", "lost", "away"])
        self.kubectl("delete", "configmap", "unsaid", "lost", "away")

    def test_what_it_has_goes_with_its_owners(self):
        things = f"{ROOT}/namespaces/default/things"
        self.kubectl("create", "configmap", "owner")
        uid = self.server.get("configmap", "owner")["metadata"]["uid"]

        def owned(name, uid):
            return {"apiVersion": f"{GROUP}/v1", "kind": "Thing", "metadata": {
                "name": name, "namespace": "default", "uid": "uid-" + name, "resourceVersion": "3",
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]}}
        kept, lost = owned("kept", uid), owned("lost", "another")
        measured = self.wardle.server.measured
        measured |= {f"{ROOT}/things": {"kind": "ThingList", "apiVersion": f"{GROUP}/v1", "metadata": {}, "items": [kept, lost]},
                     f"{things}/kept": kept, f"{things}/lost": lost}
        try:
            def deleted():
                return sorted(r["path"].rsplit("/", 1)[1] for r in self.wardle.requests if r["method"] == "DELETE" and r["path"].startswith(things))
            eventually("what has no owner is deleted", lambda: "lost" in deleted())
            self.assertNotIn("kept", deleted())
            self.kubectl("delete", "configmap", "owner")
            eventually("and the other when its own went", lambda: "kept" in deleted())
        finally:
            for path in (f"{ROOT}/things", f"{things}/kept", f"{things}/lost"):
                measured.pop(path)

    def test_who_is_trusted_is_kept_true(self):
        at = ("configmap", "-n", "kube-system", "extension-apiserver-authentication")
        before = self.server.get(*at)["data"]
        self.kubectl("patch", *at, "--type=merge", "-p", json.dumps({"data": {"client-ca-file": "", "requestheader-allowed-names": None}}))
        eventually("it is as before", lambda: self.server.get(*at)["data"] == before)
        self.kubectl("delete", *at)
        eventually("it is made again", lambda: self.server.get(*at)["data"] == before)
        may = self.kubectl("auth", "can-i", "get", "configmap/extension-apiserver-authentication", "-n", "kube-system", "--as=bob", check=False).stdout
        self.assertEqual(may.strip(), "no")
        self.kubectl("create", "rolebinding", "-n", "kube-system", "reads-trust", "--role=extension-apiserver-authentication-reader", "--user=bob")
        eventually("his role", lambda: self.kubectl("auth", "can-i", "get", "configmap/extension-apiserver-authentication", "-n", "kube-system",
                                                    "--as=bob", check=False).stdout.strip() == "yes")


if __name__ == "__main__":
    main()
