"""Attacks that several servers of one datastore make possible: what one was told to refuse is asked of another; what may be there once, or so many
times, is asked of all at the same time. On PostgreSQL and on Redis."""

import concurrent.futures
import http.client
import json
import os
import ssl
import time
import unittest

from ha_lab import HaLab, Postgres
from harness import Api, eventually, main, run
from redis_test import Redis

RBAC = "/apis/rbac.authorization.k8s.io/v1"
POLICIES = "/apis/admissionregistration.k8s.io/v1"
# A server hears of another's write within some milliseconds; a busy machine takes longer.
HEARD_SECONDS = 2


def with_name(name, **more):
    return {"metadata": {"name": name}, **more}


class Person:
    """Who asks one server: with a certificate of the cluster's CA, or a token."""

    def __init__(self, server, certificate=None, token=None):
        self.server, self.token = server, token
        self.tls = ssl._create_unverified_context()
        if certificate:
            self.tls.load_cert_chain(*certificate)

    def ask(self, method, path, body=None):
        c = http.client.HTTPSConnection(self.server.address, self.server.port, context=self.tls, timeout=30)
        try:
            headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + self.token} if self.token else {})}
            c.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
            answer = c.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text.decode(errors="replace")
        finally:
            c.close()

    def code(self, *args):
        return self.ask(*args)[0]


class Attacks:
    """Two servers, asked in turn and at once."""

    @classmethod
    def setUpClass(cls):
        cls.lab = HaLab()
        cls.addClassCleanup(cls.lab.close)
        db = cls.database()
        cls.a, cls.b = (cls.lab.server(name, db, args=["--disable-agent"]) for name in ("a", "b"))
        for s in (cls.a, cls.b):
            s.wait_ready(90)
        cls.admins = []
        for s in (cls.a, cls.b):
            admin = Person(s)
            admin.tls = Api.context(cls.a)
            admin.tls.check_hostname, admin.tls.verify_mode = False, ssl.CERT_NONE
            cls.admins.append(admin)
        cls.create("/api/v1/namespaces", with_name("mine"))
        for admin in cls.admins:
            eventually("the namespace has its account", lambda: admin.code("GET", "/api/v1/namespaces/mine/serviceaccounts/default") == 200)
        own, ca = os.path.join(cls.lab.folder, "alice"), os.path.join(cls.a.data, "server/tls/client-ca")
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", own + ".key", "-out", own + ".csr",
            "-subj", "/CN=alice")
        run("openssl", "x509", "-req", "-in", own + ".csr", "-CA", ca + ".crt", "-CAkey", ca + ".key", "-CAcreateserial", "-days", "2", "-out", own + ".crt")
        cls.alices = [Person(s, certificate=(own + ".crt", own + ".key")) for s in (cls.a, cls.b)]

    @classmethod
    def create(cls, path, body):
        code, answer = cls.admins[0].ask("POST", path, body)
        assert code in (200, 201), f"{path}: {code} {answer}"
        return answer

    def heard(self, what, condition):
        eventually(what, condition, timeout=HEARD_SECONDS)

    def test_what_one_server_took_away_is_no_more_at_the_other(self):
        maps = "/api/v1/namespaces/mine/configmaps"
        token = lambda: self.create("/api/v1/namespaces/mine/serviceaccounts/robot/token", {"spec": {}})["status"]["token"]
        robot = with_name("robot")
        binding = with_name("alice", subjects=[{"kind": "User", "name": "alice"}, {"kind": "ServiceAccount", "name": "robot", "namespace": "mine"}],
                            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"})
        accounts, bindings = "/api/v1/namespaces/mine/serviceaccounts", f"{RBAC}/namespaces/mine/rolebindings"
        self.create(accounts, robot)
        self.create(bindings, binding)
        alice, machine = self.alices[1], Person(self.b, token=token())
        self.heard("both may at the other server", lambda: alice.code("GET", maps) == machine.code("GET", maps) == 200)
        self.assertEqual(self.admins[0].code("DELETE", bindings + "/alice"), 200)
        self.heard("neither may any more", lambda: alice.code("GET", maps) == machine.code("GET", maps) == 403)
        self.create(bindings, binding)
        self.heard("both may again", lambda: alice.code("GET", maps) == machine.code("GET", maps) == 200)
        # An account that is made anew is another one, whatever its name.
        self.assertEqual(self.admins[0].code("DELETE", accounts + "/robot"), 200)
        self.create(accounts, robot)
        self.heard("the old one's token is refused", lambda: machine.code("GET", maps) == 401)
        self.assertEqual(self.admins[0].code("DELETE", bindings + "/alice"), 200)

    def test_a_bootstrap_token_that_one_server_took_away_brings_no_node_in_at_the_other(self):
        secrets = "/api/v1/namespaces/kube-system/secrets"
        other = http.client.HTTPSConnection(self.b.address, self.b.port, context=ssl._create_unverified_context(), timeout=30)
        self.addCleanup(other.close)

        def ask(token, scheme="Bearer"):
            other.request("GET", "/v1-k3s/config", headers={"Authorization": f"{scheme} {token}"})
            answer = other.getresponse()
            answer.read()
            return answer.status

        # At once, over a connection that stands: before the other server can have heard of it.
        for n in range(20):
            token = f"{n:06}.0123456789abcdef"
            self.create(secrets, with_name(f"bootstrap-token-{n:06}", type="bootstrap.kubernetes.io/token", stringData={
                "token-id": token[:6], "token-secret": token[7:], "usage-bootstrap-authentication": "true"}))
            self.assertEqual(ask(token), 200)
            self.assertEqual(self.admins[0].code("DELETE", f"{secrets}/bootstrap-token-{n:06}"), 200)
            self.assertEqual(ask(token, "bearer" if n % 2 else "Bearer"), 401)

    def test_a_policy_of_one_server_is_the_other_s(self):
        maps = "/api/v1/namespaces/mine/configmaps?dryRun=All"
        ask = lambda: self.admins[1].code("POST", maps, with_name("refused", data={"bad": "1"}))
        self.assertEqual(ask(), 201)
        self.create(f"{POLICIES}/validatingadmissionpolicies", with_name("none", spec={
            "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]},
            "validations": [{"expression": "!has(object.data) || !('bad' in object.data)"}]}))
        self.create(f"{POLICIES}/validatingadmissionpolicybindings", with_name("none", spec={"policyName": "none", "validationActions": ["Deny"]}))
        self.heard("the other refuses it", lambda: ask() == 422)
        self.assertEqual({ask() for _ in range(20)}, {422})
        self.assertEqual(self.admins[0].code("DELETE", f"{POLICIES}/validatingadmissionpolicybindings/none"), 200)
        self.heard("it is good again", lambda: ask() == 201)

    def test_a_quota_holds_however_many_are_asked(self):
        """But for those that are on their way while the controller counts anew: it doesn't see them, as Kubernetes' doesn't."""
        at_once, hard = 16, 12
        self.create("/api/v1/namespaces", with_name("bounded"))
        for admin in self.admins:  # what the cluster itself puts there counts, too
            eventually("the authority is there", lambda: admin.code("GET", "/api/v1/namespaces/bounded/configmaps/kube-root-ca.crt") == 200)
        self.create("/api/v1/namespaces/bounded/resourcequotas", with_name("few", spec={"hard": {"count/configmaps": str(hard)}}))
        for admin in self.admins:
            eventually("the quota knows what there is",
                       lambda: admin.ask("GET", "/api/v1/namespaces/bounded/resourcequotas/few")[1].get("status", {}).get("used") == {"count/configmaps": "1"})
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            codes = list(pool.map(lambda i: self.admins[i % 2].code("POST", "/api/v1/namespaces/bounded/configmaps", with_name(f"m{i}")), range(80)))
        self.assertLessEqual(set(codes), {201, 403, 409}, codes)
        there = len(self.admins[0].ask("GET", "/api/v1/namespaces/bounded/configmaps")[1]["items"])
        self.assertEqual(there, 1 + codes.count(201))
        self.assertLess(there, hard + at_once)
        for admin in self.admins:
            eventually("the quota knows what there is",
                       lambda: admin.ask("GET", "/api/v1/namespaces/bounded/resourcequotas/few")[1]["status"]["used"] == {"count/configmaps": str(there)})
            self.assertEqual(admin.code("POST", "/api/v1/namespaces/bounded/configmaps", with_name("more")), 403)

    def test_nothing_outlives_its_namespace(self):
        """Made at one server while the other deletes what it is in."""
        for i in range(3):
            name = f"ending-{i}"
            self.create("/api/v1/namespaces", with_name(name))
            path = f"/api/v1/namespaces/{name}/configmaps"
            with concurrent.futures.ThreadPoolExecutor(9) as pool:
                writes = [pool.submit(lambda j=j: self.admins[1].code("POST", path, with_name(f"m{j}"))) for j in range(60)]
                time.sleep(0.05)
                self.assertIn(self.admins[0].code("DELETE", f"/api/v1/namespaces/{name}"), (200, 202))
                codes = {w.result() for w in writes}
            self.assertLessEqual(codes, {201, 403, 404, 409})
            eventually("the namespace is gone", lambda: self.admins[0].code("GET", f"/api/v1/namespaces/{name}") == 404, timeout=60)
            for admin in self.admins:
                self.heard("with all that was in it", lambda: admin.ask("GET", path)[1]["items"] == [])


class OnPostgres(Attacks, unittest.TestCase):
    @classmethod
    def database(cls):
        return Postgres(cls.lab, cls.lab.host())


class OnRedis(Attacks, unittest.TestCase):
    @classmethod
    def database(cls):
        redis = Redis(cls.lab, "redis", cls.lab.host())
        redis.url = f"redis://{redis.host.address}:6379/0"
        return redis


if __name__ == "__main__":
    main()
