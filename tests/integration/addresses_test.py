"""Addresses that change beneath a cluster that runs, more than once: a node's, a server's, each of several servers'. Nobody is started
again, and agents lose nothing: no node falls silent for the cluster, and what an agent's machine asks is answered all the time."""

import datetime
import json
import threading
import time
import unittest

import ha_lab as ha
from harness import BINARY, eventually, main, run
from machine_test import Cluster

FOLLOWED_WITHIN = 30  # seconds of a machine that has time (harness.PATIENCE)
SILENT = 40           # when the cluster takes a node for gone


class Watched:
    """How the cluster sees a node meanwhile: its Lease's greatest age, and whether its state was ever unknown."""

    def __init__(self, client, node):
        self.client, self.node, self.oldest, self.unknown, self.stopping = client, node, 0.0, 0, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.stopping.wait(0.3):
            try:
                lease = self.client.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{self.node}")
                node = self.client.get(f"/api/v1/nodes/{self.node}")
            except Exception:
                continue
            renewed = datetime.datetime.fromisoformat(lease["spec"]["renewTime"].replace("Z", "+00:00"))
            self.oldest = max(self.oldest, (datetime.datetime.now(datetime.timezone.utc) - renewed).total_seconds())
            self.unknown += any(c["type"] == "Ready" and c["status"] == "Unknown" for c in node["status"]["conditions"])

    def end(self):
        self.stopping.set()
        self.thread.join(20)


def move(lab, host, new, keep=()):
    """Another address as DHCP would give it: the one before is gone. `keep`: second ones, which aren't told of."""
    run("ip", "-n", host.name, "addr", "flush", "dev", "eth0")
    for address in (new, *keep):
        run("ip", "-n", host.name, "addr", "add", f"{address}/24", "dev", "eth0")
    run("ip", "-n", host.name, "route", "replace", "default", "via", lab.gateway)


def beside(address, last):
    return f"{address.rpartition('.')[0]}.{last}"


class Moving:
    def follows(self, what, *conditions):
        """All of them hold in time, which is printed."""
        began = time.monotonic()
        for name, condition in conditions:
            eventually(f"{what}: {name}", condition, timeout=FOLLOWED_WITHIN - min(FOLLOWED_WITHIN - 1, (time.monotonic() - began) / 3), every=0.2)
        print(f"{what}: followed after {time.monotonic() - began:.1f} s", flush=True)


class Addresses(Moving, Cluster):
    def setUp(self):
        self.watched = Watched(ha.Client(self.server.kubeconfig, self.server.address), "n1")

    def tearDown(self):
        self.watched.end()

    def lost_nothing(self):
        self.watched.end()
        print(f"the Lease was at most {self.watched.oldest:.1f} s old", flush=True)
        self.assertEqual(self.watched.unknown, 0)
        self.assertLess(self.watched.oldest, SILENT)

    def test_1_a_node_moves_from_address_to_address(self):
        host, uid = self.agent.host, self.node()["metadata"]["uid"]

        def told():
            node = self.node()
            return ([a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"], node["metadata"]["annotations"]["k3s.io/internal-ip"])
        for new in (beside(host.address, 200), beside(host.address, 202), host.address):
            move(self.lab, host, new)
            self.follows(f"a node at {new}", ("the Node tells it", lambda: told() == ([new], new)),
                         ("the kubelet's certificate names it", lambda: new in self.shown(host, "127.0.0.1", 10250)[1]),
                         ("the tunnel stands", self.reaches_kubelet))
        self.assertEqual(self.node()["metadata"]["uid"], uid)
        self.assertIsNone(self.agent.process.poll())
        self.lost_nothing()

    def test_2_a_server_moves_from_address_to_address(self):
        """The one that agents were told of stays a second one, so that they find the way."""
        host = self.server.host
        for new in (beside(host.address, 201), beside(host.address, 203)):
            move(self.lab, host, new, keep=[host.address])
            self.follows(f"a server at {new}",
                         ("the endpoints are there", lambda: [a["ip"] for a in self.server.get("endpoints", "kubernetes")["subsets"][0]["addresses"]] == [new]),
                         ("the certificate names it", lambda: new in self.shown(host, new, 6443)[1]),
                         ("the agent has a tunnel there", lambda: f"{new}:6443" in run(BINARY, "agent", "status", "--data-dir", self.agent.data, "--output", "json")),
                         ("the tunnel stands", self.reaches_kubelet))
        self.assertIsNone(self.server.process.poll())
        self.lost_nothing()


class SeveralServers(Moving, unittest.TestCase):
    """Each gets another address in turn, the one by which the agent joined too. What a node's machine asks goes on by the others."""

    @classmethod
    def setUpClass(cls):
        cls.lab = ha.HaLab()
        cls.addClassCleanup(cls.lab.close)
        database = ha.Postgres(cls.lab, cls.lab.host())
        cls.servers = [cls.lab.server(name, database, args=["--disable-agent"]) for name in ("s1", "s2")]
        for s in cls.servers:
            s.wait_ready(120)
        cls.agent = cls.lab.agent("n1", cls.servers[0].url)

    def test_they_move_in_turn(self):
        kubeconfig, addresses = self.servers[0].kubeconfig, [s.address for s in self.servers]
        kubelet = "/api/v1/nodes/n1/proxy/healthz"

        def by(address):
            client = ha.Client(kubeconfig, address)  # which wants the address in the certificate
            try:
                return ha.endpoint_addresses(client) == sorted(addresses) and client.request("GET", kubelet) == (200, b"ok")
            finally:
                client.close()
        for a in addresses:
            eventually(f"the tunnel by {a} stands", lambda: by(a), timeout=90, every=0.2)
        writers = ha.Writers(kubeconfig, ["127.0.0.1"], "beside", clients=4, port=6444, hosts=[self.agent.host], timeout=30)
        writers.progress(50)
        for turn, (i, last) in enumerate(((0, 210), (1, 211), (0, 212), (1, 213))):
            new, other = beside(addresses[i], last), ha.Client(kubeconfig, addresses[1 - i])
            watched = Watched(other, "n1")
            addresses[i] = new
            move(self.lab, self.servers[i].host, new)
            self.follows(f"server {i + 1} of 2 at {new}", ("endpoints, certificate and tunnel", lambda: by(new)),
                         ("the agent asks there, too", lambda: f"{new}:6443" in run(BINARY, "agent", "status", "--data-dir", self.agent.data, "--output", "json")),
                         ("and by the other", lambda: by(addresses[1 - i])))
            writers.progress(50)
            watched.end()
            self.assertEqual(watched.unknown, 0)
            self.assertLess(watched.oldest, SILENT)
        done = writers.end()
        print(f"{len(done):,} writes, {len(writers.failures)} failed; the longest pause {writers.pause_seen:.1f} s", flush=True)
        # What was on its way to an address that went may have been lost with it.
        self.assertLessEqual(len(writers.failures), 4 * 4, writers.failures[:5])
        self.assertEqual([p.process.poll() for p in (*self.servers, self.agent)], [None] * 3)


if __name__ == "__main__":
    main()
