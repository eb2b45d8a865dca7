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

from harness import PATIENCE, Api, ClusterTest, Failed, eventually, main, run

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
        """The status and the answer, decoded when it is JSON. A connection that was kept may have come to its end meanwhile."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        for kept in (self.connection is not None, False):
            self.connection = self.connection or self.connected()
            try:
                self.connection.request(method, path, body=body, headers={"Content-Type": "application/json", **self.headers(), **dict(headers)})
                answer = self.connection.getresponse()
                text = answer.read()
                break
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError):
                self.close()
                if not kept:
                    raise
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
        self.assertLess(slowest[0], seconds * PATIENCE)


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
                ("POST", "/api/v1/namespaces/mine/endpoints", {"metadata": {"name": "e"}}, {}),
                ("POST", "/apis/discovery.k8s.io/v1/namespaces/mine/endpointslices", {"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": []}, {}),
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

    def test_what_rules_the_cluster_is_not_its(self):
        """What acts as the cluster's administrator, answers for a group, sees what all write, or leads to other hosts."""
        hook = {"name": "h.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]}
        rules = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]
        crd = {"group": "e.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": []}
        admission, core = "/apis/admissionregistration.k8s.io/v1", "/api/v1"
        eventually("charts are served", lambda: self.admin.code("GET", "/apis/helm.cattle.io/v1/namespaces/mine/helmcharts") == 200)
        for path, body in (
                ("/apis/helm.cattle.io/v1/namespaces/mine/helmcharts", {"spec": {"chart": "x", "repo": "https://e.example.com"}}),
                ("/apis/helm.cattle.io/v1/namespaces/mine/helmchartconfigs", {"spec": {"valuesContent": "a: b"}}),
                ("/apis/helm.cattle.io/v1/namespaces/kube-system/helmcharts", {"spec": {"chart": "x"}}),
                ("/apis/k3s.cattle.io/v1/namespaces/mine/addons", {"spec": {"source": "/etc/shadow"}}),
                ("/apis/k3s.cattle.io/v1/namespaces/kube-system/addons", {"spec": {"source": "/etc/shadow"}}),
                ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"spec": crd}),
                ("/apis/apiregistration.k8s.io/v1/apiservices", {"spec": {"group": "e.example.com", "version": "v1"}}),
                (f"{admission}/validatingadmissionpolicies", {"spec": {"validations": [{"expression": "true"}]}}),
                (f"{admission}/mutatingadmissionpolicies", {"spec": {}}),
                (f"{admission}/validatingwebhookconfigurations", {"webhooks": [{**hook, "rules": rules}]}),
                (f"{admission}/mutatingwebhookconfigurations", {"webhooks": [{**hook, "rules": rules}]}),
                (f"{core}/persistentvolumes", {"spec": {"hostPath": {"path": "/"}}}),
                ("/apis/storage.k8s.io/v1/storageclasses", {"provisioner": "rancher.io/local-path"}),
                ("/apis/storage.k8s.io/v1/csidrivers", {"spec": {}}),
                ("/apis/node.k8s.io/v1/runtimeclasses", {"handler": "runc"}),
                ("/apis/scheduling.k8s.io/v1/priorityclasses", {"value": 1000000}),
                ("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", {"spec": {}}),
                ("/apis/certificates.k8s.io/v1/certificatesigningrequests", {"spec": {}}),
                (f"{core}/namespaces/mine/endpoints", {"subsets": []}),
                ("/apis/discovery.k8s.io/v1/namespaces/mine/endpointslices", {"addressType": "IPv4", "endpoints": []}),
                (f"{core}/namespaces/kube-system/configmaps", {"data": {"config.json": "{}"}}),
                (f"{RBAC}/clusterrolebindings", {"roleRef": {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}})):
            self.refused(self.alice, "POST", path, {"metadata": {"name": "taken"}, **body})
            self.refused(self.alice, "PATCH", f"{path}/taken?fieldManager=m&force=true", "{}", APPLY)
        self.refused(self.alice, "PATCH", f"{core}/namespaces/kube-system/configmaps/local-path-config", {"data": {}}, MERGE)

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

    def test_answers_that_nobody_takes_cost_no_memory(self):
        """Lists of 11 MB in protobuf, whose length stands before them, for who reads nothing but the head."""
        folder = "/api/v1/namespaces/mine/configmaps"
        for i in range(12):
            self.assertEqual(self.alice.code("POST", folder, {"metadata": {"name": f"large-{i}", "labels": {"size": "large"}}, "data": {"k": "x" * 900_000}}), 201)
            self.addCleanup(self.alice.code, "DELETE", f"{folder}/large-{i}")
        before, silent = self.memory(), []
        self.addCleanup(lambda: [s.close() for s in silent])
        with self.others_wait_at_most(3):
            for _ in range(60):
                raw = socket.socket()
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                raw.settimeout(120)
                raw.connect((self.server.address, self.server.port))
                silent.append(self.alice.tls.wrap_socket(raw))
                silent[-1].sendall(f"GET {folder}?labelSelector=size=large HTTP/1.1\r\nHost: x\r\nAccept: application/vnd.kubernetes.protobuf\r\n\r\n".encode())
            for s in silent:
                self.assertEqual(s.recv(15), b"HTTP/1.1 200 OK")
            # A piece of each, and 128 MiB of each core's that are encoded ahead (two cores), instead of all that they ask for.
            self.assertLess(self.memory() - before, 580)

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


class Node(AttackTest):
    """Has n1's own certificate, and a pod that mounts one Secret."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.create("/api/v1/namespaces/mine/secrets", {"metadata": {"name": "ok"}, "stringData": {"k": "v"}})
        cls.create("/api/v1/namespaces/mine/pods", pod("own", nodeName="n1", volumes=[{"name": "s", "secret": {"secretName": "ok"}}]))
        cls.create("/api/v1/namespaces/victim/pods", pod("theirs", nodeName="n2", volumes=[{"name": "s", "secret": {"secretName": "gold"}}]))

    def test_it_reads_what_its_pods_name(self):
        secrets = "/api/v1/namespaces/mine/secrets"
        self.assertEqual(self.n1.code("GET", f"{secrets}/ok"), 200)
        for path in ("/api/v1/namespaces/victim/secrets/gold", f"{secrets}/ok/status", f"{secrets}?fieldSelector=metadata.name!=x", f"{secrets}?fieldSelector=metadata.name=ok,metadata.name=gold",
                     f"{secrets}?fieldSelector=metadata.name=gold&fieldSelector=metadata.name=ok", "/api/v1/namespaces/victim/secrets?fieldSelector=metadata.name=gold",
                     "/api/v1/secrets?fieldSelector=metadata.name=ok", "/api/v1/pods", "/api/v1/pods?fieldSelector=spec.nodeName=n2", "/api/v1/pods?fieldSelector=spec.nodeName!=n2",
                     "/api/v1/pods?fieldSelector=spec.nodeName=n1&fieldSelector=spec.nodeName=n2", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName=n2&timeoutSeconds=1",
                     "/api/v1/nodes/n2", "/api/v1/nodes?fieldSelector=metadata.name=n2", "/api/v1/namespaces/victim/pods/theirs", "/api/v1/namespaces/victim/pods/theirs/log",
                     "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2", "/apis/storage.k8s.io/v1/csinodes/n2", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                     "/api/v1/namespaces/victim/persistentvolumeclaims/x", "/api/v1/configmaps", "/apis/apps/v1/deployments"):
            with self.subTest(path=path):
                code, answer = self.n1.ask("GET", path)
                if code == 200:  # of a selector that is given twice the first counts; nothing has two names
                    self.assertRegex(path, "&fieldSelector=|,metadata.name=")
                    text = json.dumps(answer)
                    for word in ("theirs", "gold", base64.b64encode(b"precious").decode()):
                        self.assertNotIn(word, text)
                else:
                    self.assertIn(code, (400, 403, 404), answer)

    def test_it_writes_what_is_its_own(self):
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        mirror = {"kubernetes.io/config.mirror": "x"}
        uid = self.admin.ask("GET", "/api/v1/nodes/n1")[1]["metadata"]["uid"]
        own = [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": True}]
        token = "/api/v1/namespaces/mine/serviceaccounts/default/token"
        of_pod = {"apiVersion": "v1", "kind": "Pod", "name": "own", "uid": self.admin.ask("GET", "/api/v1/namespaces/mine/pods/own")[1]["metadata"]["uid"]}
        mirror_pod = lambda **kw: {"metadata": {"name": "m-n1", "annotations": mirror, "ownerReferences": own, **kw.pop("metadata", {})},
                                   "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], **kw}}
        for method, path, body, headers in (
                ("DELETE", "/api/v1/namespaces/victim/pods/theirs", {"gracePeriodSeconds": 0}, {}), ("DELETE", "/api/v1/namespaces/victim/pods?fieldSelector=spec.nodeName=n1", None, {}),
                ("DELETE", "/api/v1/nodes/n1", None, {}), ("PATCH", "/api/v1/nodes/n2/status", {"status": {"phase": "x"}}, MERGE),
                ("PATCH", "/api/v1/nodes/n1", {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "true"}}}, MERGE),
                ("PATCH", "/api/v1/nodes/n1", [{"op": "add", "path": "/metadata/labels", "value": {"node-restriction.kubernetes.io/x": "y"}}], {"Content-Type": "application/json-patch+json"}),
                ("PATCH", "/api/v1/nodes/n1/status", {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}, MERGE),
                ("PATCH", "/api/v1/nodes/n1/status", {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "x", "uid": "y"}]}}, MERGE),
                ("PATCH", "/api/v1/nodes/n1?fieldManager=k&force=true", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}, APPLY),
                ("POST", "/api/v1/nodes", {"metadata": {"name": "n3"}}, {}),
                ("POST", leases, {"metadata": {"name": "n2"}}, {}), ("POST", leases, {"metadata": {"generateName": "n"}}, {}),
                ("PUT", f"{leases}/n2", {"metadata": {"name": "n2"}, "spec": {"holderIdentity": "n1"}}, {}), ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", {"metadata": {"name": "n1"}}, {}),
                ("PATCH", f"{leases}/n2?fieldManager=k", {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n2"}}, APPLY),
                ("POST", "/apis/storage.k8s.io/v1/csinodes", {"metadata": {"name": "n2"}, "spec": {"drivers": []}}, {}),
                ("POST", "/api/v1/namespaces/mine/pods", pod("plain", nodeName="n1"), {}), ("POST", "/api/v1/namespaces/mine/pods", mirror_pod(nodeName="n2"), {}),
                ("POST", "/api/v1/namespaces/mine/pods", mirror_pod(metadata={"ownerReferences": []}), {}), ("POST", "/api/v1/namespaces/mine/pods", mirror_pod(serviceAccountName="default"), {}),
                ("POST", "/api/v1/namespaces/mine/pods", mirror_pod(volumes=[{"name": "v", "secret": {"secretName": "gold"}}]), {}),
                ("POST", "/api/v1/namespaces/mine/pods", mirror_pod(volumes=[{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "gold"}}}]), {}),
                ("POST", "/api/v1/namespaces/mine/pods", mirror_pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "gold"}}]), {}),
                ("POST", "/api/v1/namespaces/mine/pods", mirror_pod(imagePullSecrets=[{"name": "gold"}]), {}),
                ("POST", "/api/v1/namespaces/mine/pods", mirror_pod(containers=[{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "gold"}}]}]), {}),
                ("POST", "/api/v1/namespaces/victim/pods/theirs/eviction", {"metadata": {"name": "theirs"}}, {}),
                ("POST", "/api/v1/namespaces/mine/pods/own/eviction", {"metadata": {"name": "theirs", "namespace": "victim"}}, {}),
                ("PATCH", "/api/v1/namespaces/mine/pods/own/status", {"metadata": {"labels": {"a": "b"}}}, MERGE),
                ("PATCH", "/api/v1/namespaces/mine/pods/own/status", {"metadata": {"annotations": mirror}}, MERGE),
                ("PATCH", "/api/v1/namespaces/mine/pods/own/status", {"status": {"resourceClaimStatuses": [{"name": "x", "resourceClaimName": "gold"}]}}, MERGE),
                ("PATCH", "/api/v1/namespaces/mine/pods/own/ephemeralcontainers", {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}, STRATEGIC),
                ("PATCH", "/api/v1/namespaces/mine/pods/own/resize", {"spec": {}}, STRATEGIC), ("POST", "/api/v1/namespaces/mine/pods/own/exec?command=sh", None, {}),
                ("POST", token, {"spec": {}}, {}), ("POST", token, {"spec": {"boundObjectRef": {**of_pod, "uid": None}}}, {}), ("POST", token, {"spec": {"boundObjectRef": of_pod, "audiences": ["vault"]}}, {}),
                ("POST", token, {"spec": {"boundObjectRef": {**of_pod, "name": "theirs"}}}, {}), ("POST", token, {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid}}}, {}),
                ("POST", "/api/v1/namespaces/victim/serviceaccounts/default/token", {"spec": {"boundObjectRef": of_pod}}, {}),
                ("POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token", {"spec": {"boundObjectRef": of_pod}}, {}),
                ("PATCH", "/api/v1/namespaces/mine/serviceaccounts/default", {"secrets": [{"name": "x"}]}, MERGE),
                ("POST", "/api/v1/namespaces/mine/secrets", {"metadata": {"name": "x"}}, {}), ("PATCH", "/api/v1/namespaces/mine/secrets/ok", {"data": {}}, MERGE)):
            with self.subTest(method=method, path=path, body=body):
                code, answer = self.n1.ask(method, path, body, headers)
                unchanged = code == 200 and "annotations" not in answer.get("metadata", {}) and "config.mirror" in str(body)  # a status changes no annotations
                self.assertTrue(code in (400, 403, 404, 409, 422) or unchanged, f"{code} {answer}")
        self.assertEqual(self.n1.code("POST", token, {"spec": {"boundObjectRef": of_pod}}), 201)

    def test_certificates_that_it_asks_for_are_its_own(self):
        requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
        for number, (subject, signer) in enumerate((("/O=system:nodes/CN=system:node:n2", "kubernetes.io/kube-apiserver-client-kubelet"), ("/O=system:nodes/CN=system:node:n2", "kubernetes.io/kubelet-serving"),
                                                    ("/O=system:masters/CN=system:node:n1", "kubernetes.io/kube-apiserver-client"), ("/O=system:masters/CN=admin", "kubernetes.io/kube-apiserver-client"))):
            made = run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "/dev/null", "-subj", subject, timeout=20)
            text = made[made.index("-----BEGIN CERTIFICATE REQUEST"):]
            usages = ["digital signature", "server auth" if "serving" in signer else "client auth"]
            body = {"metadata": {"name": f"r{number}"}, "spec": {"signerName": signer, "usages": usages, "request": base64.b64encode(text.encode()).decode()}}
            with self.subTest(subject=subject, signer=signer):
                self.refused(self.n1, "POST", requests, body, codes=(403, 422))
        self.refused(self.n1, "PATCH", f"{requests}/any/approval", {"status": {"conditions": []}}, MERGE, codes=(403, 404))
        for name, password in (("n2", "x"), ("N2", "x"), ("n1", ""), ("", "x"), ("*.default.svc", "x")):
            for path in ("/v1-k3s/client-kubelet.crt", "/v1-k3s/serving-kubelet.crt"):
                code, answer = self.n1.ask("GET", path, headers={"K3s-Node-Name": name, "K3s-Node-Password": password})
                self.assertIn(code, (400, 401, 403), f"{name}: {answer}")

    def test_questions_cost_no_memory(self):
        def ask(i):
            own = Attacker(self.server)
            own.tls = self.n1.tls
            text = f"{i}" + "x" * 1_000_000
            self.assertEqual(own.code("POST", REVIEWS, {"spec": {"resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": text, "name": "s"}}}), 201)
            self.assertEqual(own.code("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {
                "user": "system:node:" + text, "groups": ["system:nodes"], "resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": "mine", "name": "s"}}}), 201)
            own.close()

        ask(0)
        before = self.memory()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(1, 151)))
        self.assertLess(self.memory(), before + 100)


class Stranger(AttackTest):
    """Has no credentials, or ones that are worth nothing; and a stolen token of a pod; and a bootstrap token."""

    OPEN = {"/livez", "/readyz", "/healthz", "/version", "/cacerts", "/ping", "/openid/v1/jwks", "/.well-known/openid-configuration"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.create("/api/v1/namespaces/mine/pods", pod("own", nodeName="n1"))
        ref = {"apiVersion": "v1", "kind": "Pod", "name": "own"}
        made = cls.create("/api/v1/namespaces/mine/serviceaccounts/default/token", {"spec": {"boundObjectRef": ref}})
        cls.pod_token = made["status"]["token"]
        cls.create("/api/v1/namespaces/kube-system/secrets", {"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:k3s:default-node-token"}})
        cls.bootstrap = Attacker(cls.server, token="abcdef.0123456789abcdef")

    def everything(self):
        """Every path that the server tells of."""
        out = set(self.admin.ask("GET", "/")[1]["paths"]) | self.OPEN
        for root in ("/api/v1", *(f"/apis/{v['groupVersion']}" for g in self.admin.ask("GET", "/apis")[1]["groups"] for v in g["versions"])):
            for r in self.admin.ask("GET", root)[1]["resources"]:
                home = "/namespaces/kube-system/" if r["namespaced"] else "/"
                name, _, sub = r["name"].partition("/")
                out.add(root + home + name + (f"/x/{sub}" if sub else ""))
                if not sub:
                    out |= {root + home + name + "/x", f"{root}/watch{home}{name}"}
        return sorted(out | {f"/v1-k3s/{p}" for p in ("config", "apiservers", "readyz", "token", "server-bootstrap", "client-ca.crt", "server-ca.crt", "serving-kubelet.crt", "client-kubelet.crt",
                                                     "client-kube-proxy.crt", "client-k3s-controller.crt", "encrypt/status", "encrypt/config", "connect")} | {"/db/info", "/static/x", "/metrics", "/debug/pprof/"})

    def test_nothing_is_open_but_what_shall_be(self):
        broken = Attacker(self.server, token="eyJhbGciOiJub25lIn0.e30.")
        proxied = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters", "Impersonate-User": "admin"}
        paths = self.everything()
        self.assertGreater(len(paths), 200)
        for path in paths:
            for method in ("GET", "POST", "DELETE", "OPTIONS", "TRACE"):
                for who, headers in ((self.stranger, {}), (broken, {}), (self.stranger, proxied)):
                    code, answer = who.ask(method, path, "{}" if method == "POST" else None, headers)
                    if code < 400:
                        self.assertIn(path.split("?")[0], {*self.OPEN, *(p + "/" + rest for p in ("/livez", "/readyz", "/healthz") for rest in ("ping",))}, f"{method} {path}: {code} {answer}")
                    else:
                        self.assertIn(code, (400, 401, 403, 404, 405, 501), f"{method} {path}: {answer}")

    def test_a_pod_s_token_is_a_pod_s(self):
        me = Attacker(self.server, token=self.pod_token)
        for path in self.everything():
            if path in self.OPEN or path == "/" or path.startswith(("/livez/", "/readyz/", "/healthz/")) or path.endswith("/watch/clustertrustbundles"):
                continue
            for method in ("GET", "DELETE"):
                code, answer = me.ask(method, path)
                trust = path.endswith("/clustertrustbundles")  # system:cluster-trust-bundle-discovery is every account's
                allowed = method == "GET" and (trust or re.fullmatch(r"/api/?|/apis/?|/api/v1|/apis/[^/]+|/apis/[^/]+/[^/]+|/openapi/v[23].*|/version/?|/", path))
                self.assertTrue(code >= 400 or allowed, f"{method} {path}: {code} {answer}")
        for who in (Attacker(self.server, basic="node:" + self.pod_token), Attacker(self.server, basic="server:" + self.pod_token), Attacker(self.server, token=self.pod_token + "x"),
                    Attacker(self.server, token=self.pod_token.rsplit(".", 1)[0] + "."), Attacker(self.server, token=self.server.token())):
            self.assertEqual(who.code("GET", "/api/v1/namespaces"), 401)
        self.assertEqual(me.code("POST", REVIEWS, {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}}), 201)
        # It ends with what it is bound to, and doesn't come back with another of that name.
        self.create("/api/v1/namespaces/mine/serviceaccounts", {"metadata": {"name": "gone"}})
        token = self.create("/api/v1/namespaces/mine/serviceaccounts/gone/token", {"spec": {}})["status"]["token"]
        of_gone = Attacker(self.server, token=token)
        self.assertEqual(of_gone.code("GET", "/apis"), 200)
        self.admin.ask("DELETE", "/api/v1/namespaces/mine/serviceaccounts/gone")
        self.create("/api/v1/namespaces/mine/serviceaccounts", {"metadata": {"name": "gone"}})
        self.assertEqual(of_gone.code("GET", "/apis"), 401)

    def test_a_bootstrap_token_makes_new_nodes_alone(self):
        for path in self.everything():
            if path in self.OPEN or path == "/" or path.startswith(("/livez/", "/readyz/", "/healthz/")) or re.fullmatch(r"/api/?|/apis/?|/api/v1|/apis/[^/]+(/[^/]+)?|/openapi/.*|/version/?", path):
                continue
            if path in ("/v1-k3s/config", "/v1-k3s/apiservers", "/v1-k3s/readyz", "/v1-k3s/client-ca.crt", "/v1-k3s/server-ca.crt", "/v1-k3s/client-kube-proxy.crt", "/v1-k3s/client-k3s-controller.crt"):
                continue  # what an agent is given
            code, answer = self.bootstrap.ask("GET", path)
            self.assertIn(code, (400, 401, 403, 404, 405), f"{path}: {answer}")
        config = self.bootstrap.ask("GET", "/v1-k3s/config")[1]
        self.assertNotIn(self.server.token().rsplit(":", 1)[1], json.dumps(config))
        names = ("kubernetes", "kubernetes.default.svc", "KUBERNETES.default.SVC", "kubernetes.default.svc.cluster.local", "localhost", "*.default.svc", "*", "*.svc.cluster.local", "kubernetes.default.svc.",
                 "a/b", "..", "a..b", "n1,O=system:masters", "n1\tx", "\u00e4", "x" * 254, "-a", "a_b", "system:masters")
        for name in names:
            for path in ("/v1-k3s/serving-kubelet.crt", "/v1-k3s/client-kubelet.crt"):
                code, answer = self.bootstrap.ask("GET", path, headers={"K3s-Node-Name": name.encode(), "K3s-Node-Password": "p"})
                self.assertGreaterEqual(code, 400, f"{name}: {answer}")
        # A node that lives: its name isn't to be had.
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        self.create("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", {"metadata": {"name": "n2"}, "spec": {"renewTime": now, "leaseDurationSeconds": 400}})
        self.assertEqual(self.bootstrap.code("GET", "/v1-k3s/client-kubelet.crt", headers={"K3s-Node-Name": "n2", "K3s-Node-Password": "p"}), 403)
        # The servers' own addresses are in no node's certificate.
        code, text = self.bootstrap.ask("GET", "/v1-k3s/serving-kubelet.crt", headers={"K3s-Node-Name": "fresh", "K3s-Node-Password": "p", "K3s-Node-IP": f"10.43.0.1,{self.host.address},10.9.9.9"})
        self.assertEqual(code, 200, text)
        leaf = text[:text.index("-----END CERTIFICATE-----") + 26]
        shown = run("openssl", "x509", "-noout", "-ext", "subjectAltName", input=leaf)
        self.assertIn("10.9.9.9", shown)
        self.assertNotIn("10.43.0.1", shown)
        # Another password: the name is taken.
        self.assertEqual(self.bootstrap.code("GET", "/v1-k3s/client-kubelet.crt", headers={"K3s-Node-Name": "fresh", "K3s-Node-Password": "q"}), 403)

    def test_streams_that_the_server_must_reset_end_the_connection(self):
        """HTTP/2: as rapid resets, but made by the server (CVE-2025-8671)."""
        own = Attacker(self.server)
        own.tls.set_alpn_protocols(["h2"])
        frame = lambda kind, flags, stream, body: struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body
        head = b"\x82\x87\x84\x41\x01a"  # GET https / of a
        with self.others_wait_at_most(3), own.socket() as s:
            self.assertEqual(s.selected_alpn_protocol(), "h2")
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
            s.settimeout(20)
            ended = False
            try:
                for n in range(200):
                    s.sendall(b"".join(frame(1, 5, 2 * i + 1, head) + frame(8, 0, 2 * i + 1, b"\x7f\xff\xff\xff") for i in range(n * 100, (n + 1) * 100)))
            except OSError:
                ended = True
            while not ended:
                try:
                    ended = not s.recv(65536)
                except ssl.SSLError:
                    ended = True
        self.assertTrue(ended)

    def test_half_open_and_talkative_connections_keep_nobody_out(self):
        held = []
        self.addCleanup(lambda: [s.close() for s in held])
        with self.others_wait_at_most(3):
            for i in range(1500):
                s = socket.create_connection((self.server.address, self.server.port), timeout=20)
                s.sendall(b"\x16\x03\x01\x02\x00\x01" if i % 2 else b"\x16")  # of a ClientHello that never comes
                held.append(s)
            for _ in range(200):
                self.assertIn(self.stranger.code("GET", "/ping"), (200, 503))
                self.assertIn(self.stranger.code("GET", "/api/v1/secrets"), (401, 403))


if __name__ == "__main__":
    main()
