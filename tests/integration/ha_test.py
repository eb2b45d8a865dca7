"""Several servers on one PostgreSQL: what they share, who leads, and what clients and nodes see when any of them dies."""

import base64
import http.client
import json
import os
import re
import signal
import ssl
import threading
import time
import unittest

from ha_lab import (MAPS, TOKEN, Client, HaLab, Haproxy, Nginx, Postgres, VirtualAddress, Writers, endpoint_addresses, leader,
                    name_hosts, stored_maps)
from harness import BINARY, eventually, is_ready, main, run

SERVER_ONLY = ["--disable-agent"]


def join(server, password):
    """What a server says to an agent that comes with that password."""
    connection = http.client.HTTPSConnection(server.address, 6443, timeout=10, context=ssl._create_unverified_context())
    connection.request("GET", "/v1-k3s/config", headers={"Authorization": "Basic " + base64.b64encode(f"node:{password}".encode()).decode()})
    status = connection.getresponse().status
    connection.close()
    return status


class LabTest(unittest.TestCase):
    """One lab for all tests of a class; what set_up() starts is ended whatever happens."""

    @classmethod
    def setUpClass(cls):
        cls.lab = HaLab()
        cls.addClassCleanup(cls.lab.close)
        cls.set_up()


class Shared(LabTest):
    """Servers without nodes: starting together, joining, being refused, leading, leaving."""

    @classmethod
    def set_up(cls):
        cls.db = Postgres(cls.lab, cls.lab.host())
        # At once, on an empty database.
        cls.servers = [cls.lab.server(f"s{i}", cls.db, args=SERVER_ONLY) for i in (1, 2, 3)]
        for s in cls.servers:
            s.wait_ready(90)

    def client(self, server=None):
        server = server or self.servers[0]
        c = Client(server.kubeconfig, server.address)
        self.addCleanup(c.close)
        return c

    def all_listed(self, timeout=60):
        want = sorted(s.address for s in self.servers)
        for s in self.servers:
            eventually(f"{s.name} lists all servers", lambda: endpoint_addresses(self.client(s)) == want, timeout=timeout)

    def refused(self, name, args, text, token=TOKEN, host=None):
        s = self.lab.server(name, self.db, args=[*SERVER_ONLY, *args], token=token, host=host)
        self.assertEqual(s.process.wait(90), 1, s.log())
        self.assertIn(text, s.log().replace('\\"', '"'))

    def test_they_have_one_identity(self):
        for file in ("tls/server-ca.crt", "tls/client-ca.key", "tls/service.key", "cred/passwd", "cred/ipsec.psk", "token"):
            texts = {open(os.path.join(s.data, "server", file)).read() for s in self.servers}
            self.assertEqual(len(texts), 1, file)
        # K3s's record, and nothing of it readable.
        rows = self.db.sql("select name, length(value) from kine where name like '/bootstrap/%' order by id desc limit 1", "kubernetes")
        self.assertRegex(rows, r"^/bootstrap/[0-9a-f]{12}\|[1-9][0-9]{3}")
        self.assertEqual(self.db.sql("select count(*) from kine where name like '/bootstrap/%' and encode(value,'escape') like '%PRIVATE KEY%'", "kubernetes"), "0")
        # A token of one server is good at every other, and so is a write.
        self.all_listed()
        one, two = self.client(self.servers[0]), self.client(self.servers[1])
        for i in range(20):
            self.assertEqual(one.request("POST", MAPS, {"metadata": {"name": f"here-{i}"}})[0], 201)
            self.assertEqual(two.get(f"{MAPS}/here-{i}")["metadata"]["name"], f"here-{i}")
        # Credentials of one server open the others.
        stranger = Client(self.servers[0].kubeconfig, self.servers[2].address)
        self.addCleanup(stranger.close)
        self.assertIn("items", stranger.get("/api/v1/namespaces"))

    def test_a_wrong_token_is_refused(self):
        self.refused("wrong", [], "bootstrap data already found and encrypted with different token", token="another-secret")
        self.refused("none", [], "bootstrap data already found and encrypted with different token", token=None)

    def test_other_settings_are_refused(self):
        self.refused("range", ["--cluster-cidr", "10.52.0.0/16"], "critical configuration value mismatch between servers")
        self.refused("domain", ["--cluster-domain", "other.local"], '--cluster-domain is "other.local" here and "cluster.local" there')

    def test_joining_by_a_server_is_not_for_this(self):
        s = self.lab.server("joins", self.db, args=[*SERVER_ONLY, "--server", self.servers[0].url]).wait_ready(60)
        self.assertIn("servers find each other through the datastore", s.log())
        self.assertEqual(s.stop(), 0, s.log())
        self.all_listed()

    def test_who_stops_is_out_at_once_and_another_leads(self):
        c = self.client(self.servers[0])
        extra = self.lab.server("extra", self.db, args=SERVER_ONLY).wait_ready(60)
        eventually("it is listed", lambda: extra.address in (endpoint_addresses(c) or []))
        self.assertEqual(extra.stop(), 0, extra.log())
        eventually("it is not", lambda: extra.address not in (endpoint_addresses(c) or [extra.address]))
        old, first = self.the_leader()
        self.assertEqual(first.stop(), 0, first.log())
        other = next(s for s in self.servers if s is not first)
        # That it happens at once is for the simulation to judge, where time doesn't depend on the machine.
        eventually("another leads", lambda: leader(self.client(other)) not in ("", old), timeout=60)
        first.start()
        first.wait_ready(60)
        self.all_listed()

    def the_leader(self):
        """The Lease's holder, and the server that says so of itself since it started."""
        def find():
            for s in self.servers:
                said = [l for l in s.log().rsplit(" serves on ", 1)[-1].splitlines() if "election kube-controller-manager" in l]
                if said and "this server leads\"" in said[-1]:
                    return leader(self.client(s)), s
            return None
        return eventually("a server leads", lambda: (lambda f: f and f[0] and f)(find()), timeout=60)

    def test_killing_the_leader(self):
        old, victim = self.the_leader()
        other = next(s for s in self.servers if s is not victim)
        c = self.client(other)
        victim.stop(signal.SIGKILL)
        eventually("it is out of the endpoints", lambda: victim.address not in (endpoint_addresses(c) or [victim.address]), timeout=60)
        eventually("another leads", lambda: leader(c) not in ("", old), timeout=60)
        # Controllers work: a new namespace gets what every namespace has.
        self.assertEqual(c.request("POST", "/api/v1/namespaces", {"metadata": {"name": "after"}})[0], 201)
        eventually("the namespace is filled", lambda: c.get("/api/v1/namespaces/after/serviceaccounts/default"), timeout=60)
        victim.start()
        victim.wait_ready(60)
        self.all_listed()

    def at_once(self, work):
        """work(server, client, together) for two servers, each in a thread; together() waits for the other. Gives what they give."""
        found, together = [None, None], threading.Barrier(2, timeout=60)
        def one(i):
            c = Client(self.servers[i].kubeconfig, self.servers[i].address, timeout=60)
            found[i] = work(i, c, together.wait)
            c.close()
        threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in (0, 1)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120)
        return found

    def test_two_servers_give_no_port_and_no_address_twice(self):
        # Ports of the range's beginning: none is chosen there for who names none.
        path, count = "/api/v1/namespaces/default/services", 40
        def ask(number, c, together):
            codes = []
            for i in range(count):
                for name, extra in ((f"port-{i}-{number}", {}), (f"address-{i}-{number}", {"clusterIP": f"10.43.200.{i + 1}"})):
                    ports = [{"port": 80, **({} if extra else {"nodePort": 30000 + i})}]
                    service = {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports, **extra}}
                    together()
                    codes.append(c.request("POST", path, service)[0])
            return codes
        one, two = self.at_once(ask)
        # Each was asked for by both: one of them has it, the other was told.
        self.assertEqual([sorted(pair) for pair in zip(one, two)], [[201, 422]] * (2 * count))
        services = [s for s in self.client().get(path)["items"] if s["metadata"]["name"] != "kubernetes"]
        ports = [p["nodePort"] for s in services for p in s["spec"]["ports"]]
        self.assertEqual((len(ports), len(set(ports))), (2 * count, 2 * count))
        self.assertEqual(len({s["spec"]["clusterIP"] for s in services}), 2 * count)
        c = self.client(self.servers[2])
        for s in services:
            self.assertEqual(c.request("DELETE", f"{path}/{s['metadata']['name']}")[0], 200)
        # A port whose service is gone is free, at any server.
        again = {"metadata": {"name": "again"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}}
        self.assertEqual(self.client().request("POST", path, again)[0], 201)
        self.assertEqual(c.request("DELETE", f"{path}/again")[0], 200)

    def test_a_leader_that_wakes_gives_no_pod_addresses_twice(self):
        _, sleeper = self.the_leader()
        other = next(s for s in self.servers if s is not sleeper)
        c = self.client(other)
        path, leases, count = "/api/v1/nodes", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", 30
        def make(first):
            for i in range(first, first + count):
                self.assertEqual(c.request("POST", path, {"metadata": {"name": f"block-{99 - i}"}})[0], 201)
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        try:
            # Nobody needs to wait until its time is over: the Lease is given back in its name.
            free = {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}
            eventually("another leads", lambda: c.request("PATCH", f"{leases}/kube-controller-manager", free, "application/merge-patch+json")[0] == 200)
            eventually("another leads", lambda: leader(c) != "", timeout=60)
            make(0)
        finally:
            os.kill(sleeper.process.pid, signal.SIGCONT)
        make(count)  # while it wakes, and believes for a moment that it leads
        def blocks():
            return [n["spec"].get("podCIDR") for n in c.get(path)["items"] if n["metadata"]["name"].startswith("block-")]
        eventually("all nodes have addresses", lambda: all(blocks()), timeout=60)
        self.assertEqual(len(set(blocks())), 2 * count)
        for i in range(2 * count):
            c.request("DELETE", f"{path}/block-{99 - i}")
        self.all_listed()

    def test_node_names_are_guarded_by_every_server(self):
        # Registered at one server, refused with another password at another.
        password = re.search(r"::server:(.*)", self.servers[0].token()).group(1)
        def register(server, secret):
            tls = ssl._create_unverified_context()
            h = http.client.HTTPSConnection(server.address, 6443, context=tls, timeout=30)
            h.request("POST", "/v1-k3s/client-kubelet.crt", headers={
                "Authorization": "Basic " + base64.b64encode(f"node:{password}".encode()).decode(),
                "K3s-Node-Name": "guarded", "K3s-Node-Password": secret, "K3s-Node-IP": "10.0.0.9"})
            status = h.getresponse().status
            h.close()
            return status
        self.assertEqual(register(self.servers[0], "a" * 32), 200)
        self.assertEqual(register(self.servers[1], "a" * 32), 200)
        self.assertEqual(register(self.servers[2], "b" * 32), 403)

    def test_secrets_are_encrypted_with_keys_that_change(self):
        db = Postgres(self.lab, self.lab.host())
        args = [*SERVER_ONLY, "--secrets-encryption"]
        a, b = [self.lab.server(f"e{i}", db, args=args) for i in (1, 2)]
        for s in (a, b):
            s.wait_ready(90)
        def ask(server, *words):
            return run(*server.host.command(BINARY, "secrets-encrypt", *words, "--data-dir", server.data))
        def status(server):
            return json.loads(ask(server, "status", "-o", "json"))
        def settled(stage):
            for s in (a, b):
                eventually(f"{stage} everywhere", lambda: (lambda x: x["stage"] == stage and x["hashmatch"])(status(s)), timeout=60)
        def stored():
            return db.sql("select encode(substr(value, 1, 45), 'escape') from kine where name = '/registry/secrets/default/one' order by id desc limit 1", "kubernetes")
        def readable():
            for s in (a, b):
                self.assertEqual(s.kubectl("get", "secret", "one", "-o", "jsonpath={.data.k}"), "djE=")
        a.kubectl("create", "secret", "generic", "one", "--from-literal=k=v1")
        self.assertTrue(stored().startswith("k8s:enc:aescbc:v1:aescbckey:"), stored())
        settled("start")
        self.assertIn("Encryption Status: Enabled", ask(b, "status"))
        self.assertIn("keys rotated", ask(a, "rotate-keys"))
        settled("reencrypt_finished")
        self.assertTrue(stored().startswith("k8s:enc:aescbc:v1:aescbckey-2"), stored())
        readable()
        # A server that starts now has to read what is written under keys that it doesn't have yet; and one that was away.
        self.assertEqual(b.stop(signal.SIGKILL), -signal.SIGKILL)
        c = self.lab.server("e3", db, args=args).wait_ready(60)
        for words in ("prepare", "rotate", "reencrypt"):
            eventually("all servers that live have the keys", lambda: status(c)["hashmatch"], timeout=60)
            ask(c, words)
        eventually("it is done", lambda: status(c)["stage"] == "reencrypt_finished", timeout=60)
        b.start()
        b.wait_ready(60)
        settled("reencrypt_finished")
        readable()
        ask(b, "disable")
        eventually("it is plain again", lambda: stored().startswith("{"), timeout=60)
        settled("start")
        self.assertIn("Encryption Status: Disabled", ask(a, "status"))
        readable()
        for s in (a, b, c):
            self.assertEqual(s.stop(), 0, s.log())
        db.stop()

    def test_a_secret_that_slept_through_a_change_of_keys_is_not_lost(self):
        db = Postgres(self.lab, self.lab.host())
        args = [*SERVER_ONLY, "--secrets-encryption"]
        a, b = [self.lab.server(f"z{i}", db, args=args) for i in (1, 2)]
        for s in (a, b):
            s.wait_ready(90)
        path, answers = "/api/v1/namespaces/default/secrets", []
        sleeping = Client(b.kubeconfig, b.address, timeout=120)
        sleeping.get(path)  # connected, before it sleeps
        os.kill(b.process.pid, signal.SIGSTOP)
        try:
            asked = threading.Thread(target=lambda: answers.append(sleeping.request("POST", path, {"metadata": {"name": "late"}, "stringData": {"k": "v"}})), daemon=True)
            asked.start()
            run(*a.host.command(BINARY, "secrets-encrypt", "rotate-keys", "--data-dir", a.data))
            def stage():
                return json.loads(run(*a.host.command(BINARY, "secrets-encrypt", "status", "-o", "json", "--data-dir", a.data)))["stage"]
            eventually("the keys were changed without it", lambda: stage() == "reencrypt_finished", timeout=60)
        finally:
            os.kill(b.process.pid, signal.SIGCONT)
        asked.join(60)
        self.assertEqual([status for status, _ in answers], [201], answers)
        stored = db.sql("select encode(substr(value, 1, 45), 'escape') from kine where name = '/registry/secrets/default/late'", "kubernetes")
        self.assertTrue(stored.startswith("k8s:enc:aescbc:v1:aescbckey-2"), stored)
        for s in (a, b):
            eventually("it is read everywhere", lambda: s.kubectl("get", "secret", "late", "-o", "jsonpath={.data.k}") == "dg==")
            self.assertIn("[+]secrets-encryption ok", s.kubectl("get", "--raw", "/readyz?verbose"))
            self.assertEqual(s.stop(), 0, s.log())
        db.stop()

    def test_a_rotated_token_is_for_all(self):
        # A cluster of its own, because the others' token goes.
        lab, db = self.lab, Postgres(self.lab, self.lab.host())
        a = lab.server("r1", db, args=SERVER_ONLY).wait_ready(60)
        b = lab.server("r2", db, args=SERVER_ONLY).wait_ready(60)
        self.assertEqual({join(s, TOKEN) for s in (a, b)}, {200})
        told = run(*a.host.command(BINARY, "token", "rotate", "--data-dir", a.data, "--token", a.token(), "--new-token", "fresh-secret"))
        self.assertIn("Token rotated", told)
        self.assertNotIn("restarted", told)
        # From the answer on: the old one nowhere, the new one everywhere, and nobody was restarted.
        self.assertEqual({(join(s, TOKEN), join(s, "fresh-secret")) for s in (a, b)}, {(401, 200)})
        self.assertEqual(db.sql("select count(distinct name) from kine k where name like '/bootstrap/%' and deleted = 0 and id = (select max(id) from kine where name = k.name)", "kubernetes"), "1")
        eventually("nothing sealed stays", lambda: db.sql("select count(*) from kine k where name like '/kedge/token/%' and encode(value,'escape') like '%sealed%' and id = (select max(id) from kine where name = k.name)", "kubernetes") == "0")
        # The configuration of before goes on with what was taken over, and says so.
        self.assertEqual(b.stop(), 0, b.log())
        b.start()
        b.wait_ready(60)
        self.assertIn("--token is one from before a rotation", b.log())
        self.assertEqual((join(b, TOKEN), join(b, "fresh-secret")), (401, 200))
        # A server that is new, or was away for long, is told what to do.
        late = lab.server("r4", db, args=SERVER_ONLY)
        self.assertEqual(late.process.wait(60), 1)
        self.assertIn("the cluster's token was rotated at ", late.log())
        c = lab.server("r3", db, args=SERVER_ONLY, token="fresh-secret").wait_ready(60)
        self.assertEqual(join(c, "fresh-secret"), 200)
        for s in (a, b, c):
            self.assertEqual(s.stop(), 0, s.log())
        db.stop()


class Available(LabTest):
    """Three servers, haproxy, nodes that joined through it: everything is killed in turn, and nothing acknowledged is lost."""

    nodes = 2

    @classmethod
    def set_up(cls):
        cls.db = Postgres(cls.lab, cls.lab.host())
        front = cls.lab.host()
        cls.servers = [cls.lab.server(f"s{i}", cls.db, args=[*SERVER_ONLY, "--tls-san", front.address]) for i in (1, 2, 3)]
        cls.front = Haproxy(cls.lab, front, cls.servers)
        for s in cls.servers:
            s.wait_ready(90)
        cls.agents = [cls.lab.agent(f"n{i + 1}", cls.front.url) for i in range(cls.nodes)]
        cls.api = Client(cls.servers[0].kubeconfig, front.address)
        for a in cls.agents:
            eventually(f"node {a.name} is Ready\n{a.log()[-2000:]}", lambda: is_ready(cls.api.get(f"/api/v1/nodes/{a.name}")), timeout=120)

    def setUp(self):
        eventually("all servers are listed", lambda: endpoint_addresses(self.api) == sorted(s.address for s in self.servers), timeout=60)
        self.since = {a.name: self.ready_since(a.name) for a in self.agents}
        self.writers = Writers(self.servers[0].kubeconfig, [self.front.host.address], self.id().rsplit("_", 1)[-1])
        self.addCleanup(self.writers.end)
        self.writers.progress()

    def ready_since(self, node):
        for attempt in range(20):
            try:
                conditions = self.api.get(f"/api/v1/nodes/{node}")["status"]["conditions"]
                return next((c["lastTransitionTime"], c["status"]) for c in conditions if c["type"] == "Ready")
            except (OSError, AssertionError):
                time.sleep(0.5)
        self.fail("no answer about nodes")

    def verify(self):
        """Every acknowledged write is there, with its value; the nodes have been Ready all the time."""
        self.writers.progress()
        acknowledged = self.writers.end()
        stored = eventually("a list", lambda: stored_maps(self.api))
        lost = {n: v for n, v in acknowledged.items() if stored.get(n) != v}
        self.assertEqual(lost, {})
        self.assertEqual({a.name: self.ready_since(a.name) for a in self.agents}, self.since)
        self.nodes_report()

    def nodes_report(self):
        """Each node's heartbeat arrives after now."""
        def renewed(name):
            return self.api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}")["spec"]["renewTime"]
        for a in self.agents:
            before = renewed(a.name)
            eventually(f"{a.name} renews its lease\n{a.log()[-1500:]}", lambda: renewed(a.name) != before, timeout=60)

    def test_one_server_dies(self):
        for victim in (self.servers[0], self.servers[2]):
            victim.stop(signal.SIGKILL)
            self.writers.progress()
            victim.start()
            victim.wait_ready(90)
        self.verify()

    def test_two_servers_die(self):
        for victim in self.servers[:2]:
            victim.stop(signal.SIGKILL)
        self.writers.progress()
        eventually("one is listed", lambda: endpoint_addresses(self.api) == [self.servers[2].address], timeout=60)
        self.nodes_report()
        for victim in self.servers[:2]:
            victim.start()
        for victim in self.servers[:2]:
            victim.wait_ready(90)
        self.verify()

    def test_clean_stops_fail_nothing(self):
        # Clients of each node's balancer. Those of the fixed address beside them may meet haproxy's retries.
        inside = Writers(self.servers[0].kubeconfig, ["127.0.0.1"], "inside", port=6444, hosts=[a.host for a in self.agents])
        self.addCleanup(inside.end)
        inside.progress()
        for s in self.servers:
            self.assertEqual(s.stop(), 0, s.log()[-2000:])
            inside.progress()
            self.writers.progress()
            s.start()
            s.wait_ready(90)
        inside.end()
        self.assertEqual(inside.failures, [])
        self.verify()
        self.assertLessEqual(len(self.writers.failures), len(self.servers), self.writers.failures)
        stored = eventually("a list", lambda: stored_maps(self.api))
        self.assertEqual({n: v for n, v in inside.acknowledged.items() if stored.get(n) != v}, {})

    def test_the_database_restarts(self):
        self.db.restart(signal.SIGQUIT)
        self.writers.progress()
        for s in self.servers:
            self.assertIsNone(s.process.poll(), s.log()[-2000:])
        self.verify()

    def test_the_balancer_dies(self):
        self.front.kill()
        direct = Client(self.servers[1].kubeconfig, self.servers[1].address)
        self.addCleanup(direct.close)
        saved, type(self).api = self.api, direct
        try:
            self.nodes_report()
        finally:
            type(self).api = saved
            self.front.start()
        self.verify()


class Addresses(unittest.TestCase):
    """The other ways to a fixed registration address: nginx, several addresses of one name, an address that moves."""

    def setUp(self):
        self.lab = HaLab()
        self.addCleanup(self.lab.close)
        self.db = Postgres(self.lab, self.lab.host())

    def start(self, *names):
        sans = [x for n in names for x in ("--tls-san", n)]
        servers = [self.lab.server(f"s{i}", self.db, args=[*SERVER_ONLY, *sans]) for i in (1, 2)]
        for s in servers:
            s.wait_ready(90)
        return servers

    def joins(self, server, agent):
        c = Client(server.kubeconfig, server.address)
        self.addCleanup(c.close)
        eventually(f"node {agent.name} is Ready\n{agent.log()[-2000:]}", lambda: is_ready(c.get(f"/api/v1/nodes/{agent.name}")), timeout=120)

    @unittest.skipUnless(os.path.exists(Nginx.module), "nginx without its stream module: apt-get install libnginx-mod-stream")
    def test_nginx(self):
        host = self.lab.host()
        servers = self.start(host.address)
        front = Nginx(self.lab, host, servers)
        servers[0].stop(signal.SIGKILL)  # half of what it knows is dead
        api = Client(servers[1].kubeconfig, host.address)
        self.addCleanup(api.close)
        eventually("the API answers there", lambda: api.get("/api/v1/namespaces"))
        self.joins(servers[1], self.lab.agent("node", front.url))

    def test_one_name_with_several_addresses(self):
        servers = self.start("cluster.example")
        servers[0].stop(signal.SIGKILL)
        host = self.lab.host()
        name_hosts(self.lab, host, "cluster.example", [s.address for s in servers])
        self.joins(servers[1], self.lab.agent("node", "https://cluster.example:6443", host=host))

    def test_an_address_that_moves(self):
        vip = VirtualAddress(self.lab, 200)
        servers = self.start(vip.address)
        vip.move(servers[0].host)
        self.joins(servers[0], self.lab.agent("first", f"https://{vip.address}:6443"))
        servers[0].stop(signal.SIGKILL)
        vip.move(servers[1].host)
        api = Client(servers[1].kubeconfig, vip.address)
        self.addCleanup(api.close)
        eventually("the API answers there", lambda: api.get("/api/v1/namespaces"))
        self.joins(servers[1], self.lab.agent("second", f"https://{vip.address}:6443"))
        # Who joined before has not noticed.
        before = api.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/first")["spec"]["renewTime"]
        eventually("the first node renews its lease", lambda: api.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/first")["spec"]["renewTime"] != before, timeout=60)


if __name__ == "__main__":
    main()
