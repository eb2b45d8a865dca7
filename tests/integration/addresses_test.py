"""Addresses that change beneath a cluster that runs: a node's, a server's. Nobody is started again."""

import json
import unittest

from harness import BINARY, eventually, main, run
from machine_test import Cluster


class Addresses(Cluster):
    def test_1_a_node_moves_to_another_address(self):
        host, old = self.agent.host, self.agent.host.address
        new = old.rpartition(".")[0] + ".200"
        uid = self.node()["metadata"]["uid"]
        self.move(host, old, new)

        def told(node):
            return ([a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"], node["metadata"]["annotations"]["k3s.io/internal-ip"])
        eventually("the Node tells the new address", lambda: told(self.node()) == ([new], new), timeout=90, every=0.2)
        eventually("the kubelet's certificate names it", lambda: new in self.shown(host, "127.0.0.1", 10250)[1], timeout=90, every=0.2)
        eventually("the tunnel stands", self.reaches_kubelet, timeout=90)
        self.assertEqual(self.node()["metadata"]["uid"], uid)
        self.assertIsNone(self.agent.process.poll())

    def test_2_a_server_moves_to_another_address(self):
        host, old = self.server.host, self.server.host.address
        new = old.rpartition(".")[0] + ".201"
        run("ip", "-n", host.name, "addr", "add", f"{new}/24", "dev", "eth0")
        # The one that is there already stays a second one, so that agents find the way.
        run("ip", "-n", host.name, "addr", "del", f"{old}/24", "dev", "eth0")
        run("ip", "-n", host.name, "addr", "add", f"{new}/24", "dev", "eth0", check=False)
        run("ip", "-n", host.name, "addr", "add", f"{old}/24", "dev", "eth0")
        run("ip", "-n", host.name, "route", "replace", "default", "via", self.lab.gateway)
        eventually("the endpoints are there", lambda: [a["ip"] for a in self.server.get("endpoints", "kubernetes")["subsets"][0]["addresses"]] == [new],
                   timeout=90, every=0.2)
        eventually("the certificate names it", lambda: new in self.shown(host, new, 6443)[1], timeout=90, every=0.2)
        eventually("the agent has a tunnel there", lambda: f"{new}:6443" in json.dumps(self.status()), timeout=90, every=0.2)
        eventually("the tunnel stands", self.reaches_kubelet, timeout=90)
        self.assertIsNone(self.server.process.poll())

    def status(self):
        return json.loads(run(BINARY, "agent", "status", "--data-dir", self.agent.data, "--output", "json"))

    def move(self, host, old, new):
        run("ip", "-n", host.name, "addr", "add", f"{new}/24", "dev", "eth0")
        run("ip", "-n", host.name, "addr", "del", f"{old}/24", "dev", "eth0")
        # The second address of a subnet goes with the first, unless promoted.
        run("ip", "-n", host.name, "addr", "add", f"{new}/24", "dev", "eth0", check=False)
        run("ip", "-n", host.name, "route", "replace", "default", "via", self.lab.gateway)


if __name__ == "__main__":
    main()
