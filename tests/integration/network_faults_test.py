"""What befalls a node's network, and what is left of it: rules that another program takes away, a link that swallows large packets, a full
table of connections, many Services that go at once."""

import json
import os
import sys

import network_test
from harness import Agent, Server, eventually, main, run
from network_test import fetched

# So many flows that nobody answers.
FILLS = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(sys.argv[1])):
    s.sendto(b"", (f"198.18.1.{1 + i // 60000}", 1 + i % 60000))
"""

SERVICES = 300  # thousands: tests/unit/node/network/services_test.cc


class Faults(network_test.Network):
    test_pods_services_and_names_over_two_nodes = test_policies_of_the_whole_cluster = test_names_that_users_configure = None  # that module's own

    def setUp(self):
        super().setUp()
        self.a, self.b = self.lab.host(), self.lab.host()
        self.server = Server(self.lab, "server", host=self.a).wait_ready()
        self.worker = Agent(self.lab, "worker", self.b, self.server.url, self.server.token())
        for node in (self.server, self.worker):
            self.configured(self.server, node)

    def serve(self, pod, text):
        """In a process of the test's own; `text` may be long."""
        pod.serve(text)
        eventually(f"{pod.name} serves", lambda: pod.fetch("http://127.0.0.1:8080") == text)

    def apply(self, *objects):
        self.server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def test_rules_that_another_program_takes_away_or_empties_come_back(self):
        one, asks, outside = self.pod(self.worker, "one"), self.pod(self.worker, "asks"), self.lab.host()
        self.serve(one, "one")
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}},
                   {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "labels": {"app": "one"}},
                    "spec": {"nodeName": "elsewhere", "containers": [{"name": "c", "image": "none"}]}},
                   {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"},
                    "spec": {"podSelector": {"matchLabels": {"app": "nobody"}}, "policyTypes": ["Ingress"]}})
        self.slice(self.server, "web", [one])
        self.lab.start("outside", outside.command("busybox", "httpd", "-f", "-p", "8080", "-h", os.path.join(self.lab.folder, one.name)))
        ip = self.server.get("service", "web")["spec"]["clusterIP"]
        tables = {"ip kedge", "ip kedge-pods"}

        def whole():
            return asks.fetch(f"http://{ip}") == "one" and asks.fetch(f"http://{outside.address}:8080") == "one"

        def present():
            lines = run(*self.b.command("nft", "list", "tables")).splitlines()
            return {line.removeprefix("table ") for line in lines}

        eventually("a Service and the outside are reached", whole)
        self.assertLessEqual(tables, present())
        run(*self.b.command("nft", "flush", "ruleset"))
        self.assertFalse(present())
        eventually("what was taken away is there again", lambda: tables <= present() and whole())
        for table in sorted(tables):
            # Chains stay without a rule in them, the sets with their elements: nothing is missing but what counts.
            run(*self.b.command("nft", "flush", "table", *table.split()))
            eventually(f"{table}, which was emptied, is whole", lambda: "masquerade" in run(*self.b.command("nft", "list", "table", *table.split())) and whole())

    def test_a_link_that_swallows_large_packets_does_not_hold_connections(self):
        one, asks = self.pod(self.server, "one"), self.pod(self.worker, "asks")
        text = "0123456789" * 30_000
        self.serve(one, text)
        eventually("all of it comes", lambda: asks.fetch(f"http://{one.address}:8080") == text)
        # The switch's port takes no more than this, and drops in silence what is larger.
        run("ip", "link", "set", f"{self.lab.prefix}v1", "mtu", "1300")
        self.assertEqual(asks.run("curl", "-s", "-S", "-f", "-m", "40", f"http://{one.address}:8080", timeout=60), text)

    def test_a_full_table_of_connections_is_told(self):
        most = int(run(*self.b.command("sysctl", "-n", "net.netfilter.nf_conntrack_max")))
        if most > 300_000:  # a machine with so much memory that filling it takes minutes
            self.skipTest(f"the kernel keeps {most} connections")
        one, asks = self.pod(self.server, "one"), self.pod(self.worker, "asks")
        self.serve(one, "one")
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}})
        self.slice(self.server, "web", [one])
        eventually("a Service is reached", lambda: asks.fetch("http://web") == "one")
        for argv in (["ip", "link", "add", "full0", "type", "bridge"], ["ip", "addr", "add", "198.18.0.1/16", "dev", "full0"], ["ip", "link", "set", "full0", "up"],
                     # What waits for a neighbour would hold the sender.
                     *(["ip", "neigh", "add", f"198.18.1.{i}", "lladdr", "02:00:00:00:00:01", "dev", "full0", "nud", "permanent"] for i in range(1, 7)),
                     ["sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=3600"]):
            run(*self.b.command(*argv))
        run(*self.b.command(sys.executable, "-c", FILLS, str(most)), timeout=300)
        eventually("it is told", lambda: any(e["reason"] == "ConntrackFull" and e["involvedObject"]["name"] == "worker" and str(most) in e["message"]
                                             for e in self.server.get("events", "-n", "default")["items"]))
        # What never had an answer makes room for who comes: names and Services go on.
        eventually("a Service is still reached", lambda: fetched(self.b, f"http://{self.server.get('service', 'web')['spec']['clusterIP']}") == "one")
        run(*self.b.command("sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=1"))

    def test_hundreds_of_services_go_at_once(self):
        one, asks = self.pod(self.worker, "one"), self.pod(self.worker, "asks")
        self.serve(one, "one")
        api = self.server.api()
        for i in range(SERVICES):
            name = f"s{i}"
            status, said = api.request("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}]}})
            self.assertEqual(status, 201, said)
            status, said = api.request("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", {
                "addressType": "IPv4", "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": [one.address], "nodeName": "worker"}]})
            self.assertEqual(status, 201, said)
        last = self.server.get("service", f"s{SERVICES - 1}")["spec"]["clusterIP"]
        eventually("the last one is reached", lambda: asks.fetch(f"http://{last}") == "one")
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "stays", "namespace": "kube-public"}, "spec": {"ports": [{"name": "http", "port": 80}]}})

        def elements(name):
            return run(*self.b.command("nft", "list", "map", "ip", "kedge", name), timeout=120).count(" : ")

        self.assertGreaterEqual(elements("service-ips"), SERVICES)
        # Services alone: their slices, which nobody owns, stay.
        status, said = api.request("DELETE", "/api/v1/namespaces/default/services")
        self.assertEqual(status, 200)
        eventually("nothing of them is left", lambda: elements("service-ips") + elements("no-endpoint-services") < 10, every=0.5)
        eventually("no name of them is answered", lambda: last not in asks.run("busybox", "nslookup", "-type=a", f"s{SERVICES - 1}.default.svc.cluster.local.", check=False).stdout)
        self.assertIsNone(fetched(self.b, f"http://{last}"))
        # And the node goes on.
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}})
        self.slice(self.server, "web", [one])
        self.assertEqual(eventually("a new one is reached", lambda: asks.fetch("http://web")), "one")


if __name__ == "__main__":
    main()
