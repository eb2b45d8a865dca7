"""Attacks on a running server, over TLS with real certificates and tokens: by a namespace's administrator, by a node, by a pod's token, by the
holder of a bootstrap token, and by nobody at all. What was tried stands in docs/security.md; each test here is a kind of attack.
"""

import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import struct
import threading
import time

from harness import Api, ClusterTest, Failed, eventually, main, run

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MERGE = {"Content-Type": "application/merge-patch+json"}
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def pod(name, **spec):
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


class Attacker:
    """Who asks: by a certificate, by a token, or without either."""

    def __init__(self, server, certificate=None, token=None, basic=None):
        self.server, self.token, self.basic, self.timeout = server, token, basic, 60
        self.tls = Api.context(server, identity=False)
        if certificate:
            self.tls.load_cert_chain(*certificate)
        self.connection = None

    def connected(self):
        return http.client.HTTPSConnection(self.server.address, self.server.port, context=self.tls, timeout=self.timeout)

    def headers(self):
        if self.token:
            return {"Authorization": "Bearer " + self.token}
        return {"Authorization": "Basic " + base64.b64encode(self.basic.encode()).decode()} if self.basic else {}

    def ask(self, method, path, body=None, headers=()):
        """The status and the answer, decoded when it is JSON."""
        if not self.connection:
            self.connection = self.connected()
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        try:
            self.connection.request(method, path, body=body, headers={"Content-Type": "application/json", **self.headers(), **dict(headers)})
            answer = self.connection.getresponse()
            text = answer.read()
        except BaseException:
            self.close()
            raise
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        return answer.status, json.loads(text) if is_json and text else text.decode(errors="replace")

    def code(self, *args, **kw):
        return self.ask(*args, **kw)[0]

    def socket(self):
        raw = socket.create_connection((self.server.address, self.server.port), timeout=self.timeout)
        return self.tls.wrap_socket(raw)

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class AttackTest(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = Attacker(cls.server)
        cls.admin.tls = Api.context(cls.server)
        cls.create("/api/v1/namespaces", {"metadata": {"name": "mine"}})
        cls.create("/api/v1/namespaces", {"metadata": {"name": "victim"}})
        cls.create("/api/v1/namespaces/victim/secrets", {"metadata": {"name": "gold"}, "stringData": {"k": "precious"}})
        for name in ("n1", "n2"):
            cls.create("/api/v1/nodes", {"metadata": {"name": name}})
        eventually("accounts are there", lambda: cls.admin.code("GET", "/api/v1/namespaces/mine/serviceaccounts/default") == 200)
        eventually("accounts are there", lambda: cls.admin.code("GET", "/api/v1/namespaces/victim/serviceaccounts/default") == 200)
        cls.create(f"{RBAC}/namespaces/mine/rolebindings", {"metadata": {"name": "alice"}, "subjects": [{"kind": "User", "name": "alice"}],
                                                            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}})
        cls.alice = cls.by_certificate("alice")
        cls.n1 = cls.by_certificate("system:node:n1", "system:nodes")
        cls.stranger = Attacker(cls.server)

    @classmethod
    def create(cls, path, body):
        code, answer = cls.admin.ask("POST", path, body)
        if code not in (200, 201):
            raise Failed(f"{path}: {code} {answer}")
        return answer

    @classmethod
    def by_certificate(cls, name, organization=None):
        """Signed by the server's own CA for clients."""
        own = os.path.join(cls.lab.folder, name.replace(":", "_"))
        ca = os.path.join(cls.server.data, "server/tls/client-ca")
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", own + ".key", "-out", own + ".csr",
            "-subj", (f"/O={organization}" if organization else "") + f"/CN={name}")
        run("openssl", "x509", "-req", "-in", own + ".csr", "-CA", ca + ".crt", "-CAkey", ca + ".key", "-CAcreateserial", "-days", "2", "-out", own + ".crt")
        return Attacker(cls.server, certificate=(own + ".crt", own + ".key"))

    def refused(self, who, method, path, body=None, headers=(), codes=(403,)):
        code, answer = who.ask(method, path, body, headers)
        self.assertIn(code, codes, f"{method} {path} {body}: {answer}")
        return answer

    def memory(self):
        """Of the server, resident, in MiB."""
        pid = self.server.process.pid
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) / 1024

    @contextlib.contextmanager
    def others_wait_at_most(self, seconds):
        """While the attack goes on, each core answers somebody else's requests (16 connections: some on each) in time."""
        slowest, ends = [0.0], threading.Event()

        def probe():
            own = Attacker(self.server)
            own.tls = Api.context(self.server)
            while not ends.is_set():
                began = time.monotonic()
                code = own.code("GET", "/api/v1/namespaces/default")
                slowest[0] = max(slowest[0], time.monotonic() - began)
                if code != 200:
                    slowest[0] = 1e9
                ends.wait(0.02)
            own.close()

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            probes = [pool.submit(probe) for _ in range(4)]
            try:
                yield
            finally:
                ends.set()
            for p in probes:
                p.result()
        self.assertLess(slowest[0], seconds)

class NamespaceAdministrator(AttackTest):
    """Has the ClusterRole admin in the namespace `mine`, and nothing anywhere else."""

    def test_nothing_leads_out_of_the_namespace(self):
        for method, path, body, headers in (
                ("GET", "/api/v1/namespaces/victim/secrets/gold", None, {}),
                ("GET", "/api/v1/secrets", None, {}),
                ("GET", "/api/v1/watch/secrets", None, {}),
                ("GET", "/api/v1/namespaces/mine%2F..%2Fvictim/secrets/gold", None, {}),
                ("GET", "/api/v1/namespaces/mine/../victim/secrets/gold", None, {}),
                ("GET", "/api/v1/namespaces/mine/secrets/..%2F..%2Fvictim%2Fsecrets%2Fgold", None, {}),
                ("GET", "/api/v1/namespaces/mine/secrets/%2e%2e/%2e%2e/victim/secrets/gold", None, {}),
                ("GET", "/api/v1/namespaces/victim/secrets?fieldSelector=metadata.namespace=mine", None, {}),
                ("GET", "/api/v1/namespaces//secrets", None, {}),
                ("POST", "/api/v1/namespaces/mine/secrets", {"metadata": {"name": "x", "namespace": "victim"}}, {}),
                ("POST", "/api/v1/secrets", {"metadata": {"name": "x", "namespace": "mine"}}, {}),
                ("PUT", "/api/v1/namespaces/mine", {"metadata": {"name": "mine", "labels": {"a": "b"}}}, {}),
                ("PATCH", "/api/v1/namespaces/mine", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}, MERGE),
                ("PATCH", "/api/v1/namespaces/mine/status", {"status": {"phase": "Terminating"}}, MERGE),
                ("PUT", "/api/v1/namespaces/mine/finalize", {"metadata": {"name": "mine"}, "spec": {"finalizers": []}}, {}),
                ("DELETE", "/api/v1/namespaces/mine", None, {}),
                ("DELETE", "/api/v1/namespaces/victim/secrets?fieldSelector=metadata.name=gold", None, {}),
                ("PATCH", "/api/v1/namespaces/mine/resourcequotas/q", {"metadata": {"labels": {"a": "b"}}}, MERGE),
                ("POST", "/api/v1/namespaces/mine/resourcequotas", {"metadata": {"name": "q"}}, {}),
                ("POST", "/api/v1/namespaces/mine/limitranges", {"metadata": {"name": "l"}}, {}),
                ("POST", "/apis/policy/v1/namespaces/victim/poddisruptionbudgets", {"metadata": {"name": "b"}, "spec": {}}, {}),
                ("GET", "/metrics", None, {}), ("GET", "/debug/pprof/heap", None, {}), ("GET", "/logs/", None, {}),
                ("GET", "/livez/etcd", None, {}), ("GET", "/api/v1/nodes", None, {}), ("GET", "/api/v1/nodes/n1/proxy/metrics", None, {}),
                ("POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token", {"spec": {}}, {}),
                ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"user": "x"}}, {}),
                ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}, {}),
                ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", {"metadata": {"name": "c"}}, {}),
                ("GET", "/v1-k3s/config", None, {}), ("GET", "/v1-k3s/client-kubelet.crt", None, {"K3s-Node-Name": "n1", "K3s-Node-Password": "x"}),
                ("GET", "/v1-k3s/encrypt/status", None, {}), ("PUT", "/v1-k3s/token", {"newToken": "mine"}, {}), ("GET", "/v1-k3s/connect", None, {})):
            with self.subTest(method=method, path=path):
                code, answer = self.alice.ask(method, path, body, headers)
                self.assertIn(code, (400, 401, 403, 404, 405), answer)
                self.assertNotIn(base64.b64encode(b"precious").decode(), str(answer))
        self.assertEqual(self.admin.code("GET", "/api/v1/namespaces/victim/secrets/gold"), 200)

    def test_a_body_that_says_two_things_counts_once(self):
        secrets = "/api/v1/namespaces/mine/secrets"
        for body, headers in (
                ('{"metadata":{"name":"d1","namespace":"mine"},"metadata":{"name":"d1","namespace":"victim"}}', {}),
                ('{"metadata":{"name":"d1","namespace":"mine","namespace":"victim"}}', {}),
                ('{"kind":"Secret","kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"d1"}}', {}),
                ('{"kind":"Secret","apiVersion":"v1","metadata":{"name":"d1"}}{"metadata":{"namespace":"victim"}}', {}),
                ("kind: Secret\napiVersion: v1\nmetadata: {name: d1}\n---\nkind: Secret\napiVersion: v1\nmetadata: {name: d1, namespace: victim}\n",
                 {"Content-Type": "application/yaml"}),
                ("metadata: &m {name: d1, namespace: victim}\n<<: *m\n", {"Content-Type": "application/yaml"}),
                ('\ufeff{"metadata":{"name":"d1","namespace":"victim"}}'.encode(), {}),
                ('{"metadata":{"name":"d1","namespace":"victim"}}'.encode("utf-16"), {})):
            with self.subTest(body=body):
                code, answer = self.alice.ask("POST", secrets, body, headers)
                self.assertIn(code, (201, 400, 415, 422), answer)
                self.assertEqual(self.admin.code("GET", "/api/v1/namespaces/victim/secrets/d1"), 404)
                if code == 201:
                    self.assertEqual(answer["metadata"]["namespace"], "mine")
                    self.assertEqual(self.alice.code("DELETE", f"{secrets}/d1"), 200)

    def test_roles_give_only_what_their_writer_has(self):
        roles, bindings = f"{RBAC}/namespaces/mine/roles", f"{RBAC}/namespaces/mine/rolebindings"
        subject = [{"kind": "User", "name": "alice"}]
        ref = {"apiGroup": "rbac.authorization.k8s.io"}
        more = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
        for rule in (more, {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}, {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]},
                     {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]},
                     {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["cluster-admin"]},
                     {"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["patch"]}, {"apiGroups": [""], "resources": ["*/status"], "verbs": ["patch"]}):
            role = {"metadata": {"name": "r"}, "rules": [rule]}
            with self.subTest(rule=rule):
                self.refused(self.alice, "POST", roles, role)
                self.refused(self.alice, "POST", roles + "?dryRun=All", role)
                self.refused(self.alice, "PATCH", f"{roles}/r?fieldManager=m&force=true", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", **role}, APPLY)
                self.assertIn(self.alice.code("PUT", f"{roles}/r", role), (403, 404))
        for kind, name in (("ClusterRole", "cluster-admin"), ("ClusterRole", "system:node"), ("ClusterRole", "system:aggregate-to-admin-none"), ("Role", "none")):
            self.refused(self.alice, "POST", bindings, {"metadata": {"name": "b"}, "subjects": subject, "roleRef": {**ref, "kind": kind, "name": name}}, codes=(403, 404))
        # A role of one's own that grows once it is bound.
        self.assertEqual(self.alice.code("POST", roles, {"metadata": {"name": "small"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}), 201)
        self.assertEqual(self.alice.code("POST", bindings, {"metadata": {"name": "small"}, "subjects": subject, "roleRef": {**ref, "kind": "Role", "name": "small"}}), 201)
        for patch, headers in (({"rules": [more]}, MERGE), ({"rules": [more]}, STRATEGIC), ([{"op": "add", "path": "/rules/-", "value": more}], {"Content-Type": "application/json-patch+json"}),
                               ([{"op": "replace", "path": "/rules/0/verbs/0", "value": "*"}, {"op": "replace", "path": "/rules/0/resources/0", "value": "*"},
                                 {"op": "replace", "path": "/rules/0/apiGroups/0", "value": "*"}], {"Content-Type": "application/json-patch+json"})):
            self.refused(self.alice, "PATCH", f"{roles}/small", patch, headers)
        for change in ({"roleRef": {**ref, "kind": "ClusterRole", "name": "cluster-admin"}},):
            self.refused(self.alice, "PATCH", f"{bindings}/small", change, MERGE, codes=(403, 422))
        self.refused(self.alice, "GET", "/api/v1/namespaces/victim/secrets/gold")

    def test_accounts_that_it_impersonates_have_no_more(self):
        for who in ({"Impersonate-User": "system:serviceaccount:mine:default"},):
            self.refused(self.alice, "GET", "/api/v1/namespaces/victim/secrets/gold", headers=who)
        for who in ({"Impersonate-User": "system:serviceaccount:kube-system:default"}, {"Impersonate-User": "system:serviceaccount:mine:default", "Impersonate-Group": "system:masters"},
                    {"Impersonate-User": "system:serviceaccount:mine:default", "Impersonate-Extra-scopes": "x"}, {"Impersonate-Group": "system:masters"},
                    {"Impersonate-User": "system:serviceaccount:mine:default", "Impersonate-Uid": "1"}, {"Impersonate-User": "system:node:n1"},
                    {"impersonate-user": "bob", "X-Remote-User": "bob"}, {"Impersonate-User": "system:serviceaccount:mine:default:x"}):
            with self.subTest(who=who):
                self.refused(self.alice, "GET", "/api/v1/namespaces/mine/pods", headers=who, codes=(400, 403))
        # Nobody becomes somebody by the front proxy's headers.
        code, me = self.alice.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"})
        self.assertEqual((code, me["status"]["userInfo"]["username"]), (201, "alice"))

    def test_pods_keep_to_the_namespace_s_level_on_every_way(self):
        self.create("/api/v1/namespaces", {"metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
        self.create(f"{RBAC}/namespaces/strict/rolebindings", {"metadata": {"name": "alice"}, "subjects": [{"kind": "User", "name": "alice"}],
                                                               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}})
        eventually("accounts are there", lambda: self.admin.code("GET", "/api/v1/namespaces/strict/serviceaccounts/default") == 200)
        pods = "/api/v1/namespaces/strict/pods"
        privileged = {"securityContext": {"privileged": True}}
        for spec in ({"hostNetwork": True}, {"hostPID": True}, {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
                     {"containers": [{"name": "c", "image": "i", **privileged}]}, {"initContainers": [{"name": "j", "image": "i", **privileged}]},
                     {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "hostPort": 1}]}]},
                     {"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced ", "value": "1"}]}},
                     {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
                     {"securityContext": {"windowsOptions": {"hostProcess": True}}}, {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
                     {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, {"containers": [{"name": "c", "image": "i", "securityContext": {"procMount": "Unmasked"}}]},
                     {"containers": [{"name": "c", "image": "i", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]},
                     {"containers": [{"name": "c", "image": "i", "livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}}]}):
            with self.subTest(spec=spec):
                self.refused(self.alice, "POST", pods, pod("p", **spec), codes=(403, 422))
        # What is let in, and changed afterwards.
        self.assertEqual(self.alice.code("POST", pods, pod("p")), 201)
        ephemeral = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i", **privileged}]}}
        for sub, patch in (("/ephemeralcontainers", ephemeral), ("/resize", {"spec": {"containers": [{"name": "c", **privileged}]}}), ("/resize", {"spec": {"hostNetwork": True}}),
                           ("", {"spec": {"hostNetwork": True}}), ("", {"spec": {"containers": [{"name": "c", **privileged}]}})):
            with self.subTest(sub=sub, patch=patch):
                self.assertIn(self.alice.code("PATCH", f"{pods}/p{sub}", patch, STRATEGIC), (200, 403, 422))
        now = json.dumps(self.admin.ask("GET", f"{pods}/p")[1])
        self.assertNotIn("privileged", now)
        self.assertNotIn("hostNetwork", now)
        self.refused(self.alice, "PATCH", f"{pods}/p/status", {"spec": {"hostNetwork": True}}, MERGE)
        self.refused(self.alice, "POST", f"{pods}/p/binding", {"target": {"kind": "Node", "name": "n1"}})

    def test_what_names_another_s_owner_is_collected_alone(self):
        # As if it were a dependent of what lies in the other namespace: the owner's uid is right, and the place is wrong.
        owner = self.create("/api/v1/namespaces/victim/configmaps", {"metadata": {"name": "owner"}})["metadata"]
        ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
        self.create("/api/v1/namespaces/victim/configmaps", {"metadata": {"name": "dependent", "ownerReferences": [ref]}})
        for name, wrong in (("a", {}), ("b", {"name": "other"}), ("c", {"kind": "Secret"}), ("d", {"apiVersion": "ex.io/v1", "kind": "Nothing"}), ("e", {"kind": "Node", "name": "n1"})):
            code, answer = self.alice.ask("POST", "/api/v1/namespaces/mine/configmaps", {"metadata": {"name": name, "ownerReferences": [{**ref, **wrong, "blockOwnerDeletion": True}]}})
            self.assertEqual(code, 201, answer)
        eventually("the false dependent goes", lambda: self.admin.code("GET", "/api/v1/namespaces/mine/configmaps/a") == 404)
        eventually("the others that have no owner go", lambda: self.admin.code("GET", "/api/v1/namespaces/mine/configmaps/b") == 404)
        for name in ("owner", "dependent"):
            self.assertEqual(self.admin.code("GET", f"/api/v1/namespaces/victim/configmaps/{name}"), 200, name)
        # It holds up nobody's deletion either.
        self.assertEqual(self.admin.code("DELETE", "/api/v1/namespaces/victim/configmaps/owner", {"propagationPolicy": "Foreground"}), 200)
        eventually("the owner goes", lambda: self.admin.code("GET", "/api/v1/namespaces/victim/configmaps/owner") == 404)

    def test_a_quota_holds_on_every_way(self):
        self.create("/api/v1/namespaces/mine/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "1", "count/secrets": "60", "services.nodeports": "1"}}})
        self.addCleanup(lambda: self.admin.code("DELETE", "/api/v1/namespaces/mine/resourcequotas/q"))
        eventually("it is counted", lambda: self.admin.ask("GET", "/api/v1/namespaces/mine/resourcequotas/q")[1].get("status", {}).get("used"))
        pods = "/api/v1/namespaces/mine/pods"
        small = pod("q1", containers=[{"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}}])
        self.assertEqual(self.alice.code("POST", pods, small), 201)
        self.refused(self.alice, "PATCH", f"{pods}/q1/resize", {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "5"}}}]}}, STRATEGIC, codes=(403, 422))
        self.refused(self.alice, "POST", pods, pod("q2", containers=[{"name": "c", "image": "i", "resources": {"requests": {"cpu": "0"}}}],
                                                   initContainers=[{"name": "j", "image": "i", "resources": {"requests": {"cpu": "2"}}}]))
        self.refused(self.alice, "POST", pods, pod("q3", containers=[{"name": "c", "image": "i", "resources": {"requests": {"cpu": "0"}}}], overhead={"cpu": "2"}), codes=(400, 403, 422))
        self.refused(self.alice, "POST", pods, pod("q4", containers=[{"name": "c", "image": "i", "resources": {"requests": {"cpu": "-3"}}}]), codes=(403, 422))
        services = "/api/v1/namespaces/mine/services"
        self.refused(self.alice, "POST", services, {"metadata": {"name": "s1"}, "spec": {"type": "NodePort", "ports": [{"name": f"p{i}", "port": i + 1} for i in range(3)]}})
        self.assertEqual(self.alice.code("POST", services, {"metadata": {"name": "s2"}, "spec": {"ports": [{"name": f"p{i}", "port": i + 1} for i in range(3)]}}), 201)
        self.refused(self.alice, "PATCH", f"{services}/s2", {"spec": {"type": "NodePort"}}, MERGE)

    def test_who_may_only_look_streams_nothing(self):
        self.create(f"{RBAC}/namespaces/mine/rolebindings", {"metadata": {"name": "vera"}, "subjects": [{"kind": "User", "name": "vera"}],
                                                             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}})
        self.create(f"{RBAC}/namespaces/mine/roles", {"metadata": {"name": "getter"}, "rules": [
            {"apiGroups": [""], "resources": ["pods/exec", "pods/attach", "pods/portforward"], "verbs": ["get"]}]})
        self.create(f"{RBAC}/namespaces/mine/rolebindings", {"metadata": {"name": "getter"}, "subjects": [{"kind": "User", "name": "vera"}],
                                                             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "getter"}})
        self.create("/api/v1/namespaces/mine/pods", pod("looked-at", nodeName="n1"))
        vera = self.by_certificate("vera")
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        for sub in ("exec?command=sh&stdin=1", "attach?stdin=1", "portforward?ports=80", "proxy/"):
            for method in ("GET", "POST"):
                for headers in ({}, upgrade, {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}):
                    self.refused(vera, method, f"/api/v1/namespaces/mine/pods/looked-at/{sub}", headers=headers)
                    vera.close()
        self.refused(vera, "GET", "/api/v1/namespaces/mine/secrets")

    def test_reviews_leave_no_memory(self):
        def ask(i):
            own = Attacker(self.server)
            own.tls = self.alice.tls
            text = f"{i}" + "x" * 1_000_000
            for spec in ({"nonResourceAttributes": {"verb": "get", "path": text}}, {"resourceAttributes": {"verb": "get", "resource": "pods", "name": text}},
                         {"resourceAttributes": {"verb": text, "resource": "pods", "namespace": "mine"}}):
                self.assertEqual(own.code("POST", REVIEWS, {"spec": spec}), 201)
            own.close()

        ask(0)
        before = self.memory()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(1, 121)))
        self.assertLess(self.memory(), before + 100)

    def test_an_object_doesn_t_grow_without_end(self):
        maps = "/api/v1/namespaces/mine/configmaps"
        self.assertEqual(self.alice.code("POST", maps, {"metadata": {"name": "grows"}}), 201)
        with self.others_wait_at_most(2):
            codes = set()
            for i in range(60):  # what each manager says of its fields stays
                fields = ",".join(f'"m{i}-{n}":""' for n in range(20_000))
                codes.add(self.alice.code("PATCH", f"{maps}/grows?fieldManager=m{i}", f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"grows"}},"data":{{{fields}}}}}', APPLY))
                if max(codes) > 201:
                    break
            self.assertLessEqual(codes, {200, 201, 400, 413, 422})
            self.assertTrue(codes & {400, 413, 422}, "it grows and grows")
            self.assertLess(len(json.dumps(self.alice.ask("GET", f"{maps}/grows")[1], separators=(",", ":"))), 9_000_000)


if __name__ == "__main__":
    main()
