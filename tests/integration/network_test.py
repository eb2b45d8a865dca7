"""The network of nodes: pods of two of them reach each other, Services by address and by name, and the outside. The pods are network
namespaces that the node's own CNI plugins connect, as its container runtime does."""

import json
import os
import subprocess
import sys
import unittest

from harness import BINARY, Agent, Failed, Lab, Server, eventually, is_ready, main, run

FETCH = ("curl", "-s", "-S", "-f", "-m", "4")


# Gives each question to the cluster's DNS, and the answer back.
RELAY = """
import socket, threading
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.2", 53))
def ask(question, client):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.settimeout(5)
        there.sendto(question, ("10.43.0.10", 53))
        s.sendto(there.recv(4096), client)
while True:
    threading.Thread(target=ask, args=s.recvfrom(4096), daemon=True).start()
"""


def fetched(host, url):
    """What a machine gets, or None."""
    try:
        return run(*host.command(*FETCH, url), timeout=10)
    except Failed:
        return None


class Pod:
    """A network namespace on a node, connected by what the node's CNI folder says."""

    def __init__(self, lab, node, name):
        self.lab, self.node, self.name = lab, node, f"{lab.prefix}p-{name}"
        run("ip", "netns", "add", self.name)
        self.result = self.plugins("ADD")
        self.address = self.result["ips"][0]["address"].split("/")[0]
        # `ip netns exec` puts these files in place of the machine's.
        os.makedirs(f"/etc/netns/{self.name}", exist_ok=True)
        with open(f"/etc/netns/{self.name}/resolv.conf", "w") as f:
            f.write("nameserver 10.43.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")

    def plugins(self, command):
        conflist = json.load(open(f"{self.node.data}/agent/etc/cni/net.d/10-flannel.conflist"))
        if os.path.realpath(f"{self.node.data}/data/cni/flannel") != os.path.join(os.path.dirname(os.path.realpath(BINARY)), "kedge-cni"):
            raise Failed("the plugins are not the small program that was built beside kedge")
        previous = getattr(self, "result", None)
        env = {**os.environ, "CNI_COMMAND": command, "CNI_CONTAINERID": self.name, "CNI_NETNS": f"/run/netns/{self.name}", "CNI_IFNAME": "eth0",
               "CNI_PATH": f"{self.node.data}/data/cni"}
        lists = conflist["plugins"] if command == "ADD" else list(reversed(conflist["plugins"]))
        for plugin in [{"type": "loopback"}, *lists] if command == "ADD" else lists:
            config = {**plugin, "name": conflist["name"], "cniVersion": conflist["cniVersion"]}
            env["CNI_IFNAME"] = "lo" if plugin["type"] == "loopback" else "eth0"
            if previous and plugin["type"] != "loopback":
                config["prevResult"] = previous
            done = subprocess.run(self.node.host.command(f"{self.node.data}/data/cni/{plugin['type']}"), input=json.dumps(config), env=env,
                                  capture_output=True, text=True, timeout=30)
            if done.returncode != 0:
                raise Failed(f"{plugin['type']} {command}: {done.stdout}{done.stderr}")
            if done.stdout.strip() and plugin["type"] != "loopback":
                previous = json.loads(done.stdout)
        return previous

    def command(self, *argv):
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv, **more):
        return run(*self.command(*argv), **more)

    def serve(self, text):
        """Serves `text` at port 8080."""
        folder = os.path.join(self.lab.folder, self.name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "index.html"), "w") as f:
            f.write(text)
        self.lab.start(self.name, self.command("busybox", "httpd", "-f", "-p", "8080", "-h", folder))

    def fetch(self, url):
        return self.run(*FETCH, url, timeout=10)

    def remove(self):
        self.plugins("DEL")
        run("ip", "netns", "del", self.name, check=False)
        run("rm", "-r", f"/etc/netns/{self.name}", check=False)


class Network(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.pods = []
        self.addCleanup(lambda: [p.remove() for p in self.pods])

    def pod(self, node, name):
        self.pods.append(Pod(self.lab, node, name))
        return self.pods[-1]

    def configured(self, server, node):
        eventually(f"{node.name} is Ready", lambda: is_ready(server.get("node", node.name)), timeout=60)
        eventually("its network is configured", lambda: os.path.exists(f"{node.data}/agent/etc/cni/net.d/10-flannel.conflist"))

    def slice(self, server, service, pods, port=8080):
        """The endpoints of a Service without selector."""
        server.kubectl("apply", "-f", "-", input=json.dumps({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": service + "-1", "labels": {"kubernetes.io/service-name": service}},
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [p.address], "nodeName": p.node.name, "hostname": p.name.split("-p-")[1]} for p in pods]}))

    def test_pods_services_and_names_over_two_nodes(self):
        a, b = self.lab.host(), self.lab.host()
        server = Server(self.lab, "server", host=a).wait_ready()
        worker = Agent(self.lab, "worker", b, server.url, server.token())
        self.configured(server, server)
        self.configured(server, worker)
        annotations = server.get("node", "worker")["metadata"]["annotations"]
        self.assertEqual(annotations["flannel.alpha.coreos.com/public-ip"], b.address)
        self.assertEqual(json.loads(annotations["flannel.alpha.coreos.com/backend-data"])["VNI"], 1)

        one, two, asks = self.pod(server, "one"), self.pod(worker, "two"), self.pod(worker, "asks")
        one.serve("one")
        two.serve("two")
        eventually("pods of two nodes reach each other", lambda: asks.fetch(f"http://{one.address}:8080") == "one")

        server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                       "spec": {"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}}))
        self.slice(server, "web", [one, two])
        ip = server.get("service", "web")["spec"]["clusterIP"]
        eventually("a Service by its address", lambda: asks.fetch(f"http://{ip}") in ("one", "two"))
        self.assertEqual({asks.fetch("http://web") for _ in range(30)}, {"one", "two"})
        self.assertIn(asks.fetch("http://web.default.svc.cluster.local."), ("one", "two"))
        self.assertIn(one.fetch("http://web.default"), ("one", "two"))
        self.assertEqual(asks.fetch("http://one.web.default.svc.cluster.local:8080"), "one")
        # From another machine, at both nodes' port; from the node itself.
        outside = self.lab.host()
        for node in (a, b):
            self.assertIn(run(*outside.command(*FETCH, f"http://{node.address}:30080")), ("one", "two"))
        self.assertIn(run(*b.command(*FETCH, f"http://{ip}")), ("one", "two"))
        # A load balancer without a cloud: the nodes' own addresses, narrowed to who may come.
        server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "balanced"},
                       "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 8090}]}}))
        self.slice(server, "balanced", [one, two])
        eventually("both nodes are its addresses", lambda: {i["ip"] for i in server.get("service", "balanced")["status"]["loadBalancer"].get("ingress", [])}
                   == {a.address, b.address})
        for node in (a, b):
            self.assertIn(eventually("it is reached from outside", lambda: fetched(outside, f"http://{node.address}:8090")), ("one", "two"))
        server.kubectl("patch", "service", "balanced", "-p", json.dumps({"spec": {"loadBalancerSourceRanges": [b.address + "/32"]}}))
        eventually("others are turned away", lambda: fetched(outside, f"http://{a.address}:8090") is None)
        self.assertIn(run(*b.command(*FETCH, f"http://{a.address}:8090")), ("one", "two"))
        server.kubectl("delete", "service", "balanced")
        # One that says the nodes' own addresses and ports are its own takes none of them, nor has what nobody serves refused there.
        own = [{"name": "http", "port": 8091}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "api", "port": 6443}, {"name": "kubelet", "port": 10250}]
        server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "greedy"},
                       "spec": {"type": "LoadBalancer", "externalIPs": ["10.43.0.10", ip, a.address, b.address], "ports": own}}))
        self.slice(server, "greedy", [one])
        for node in (a, b):
            eventually("what is nobody's it has", lambda: fetched(outside, f"http://{node.address}:8091") == "one")
        for asker in (outside.command, b.command, asks.command):
            self.assertEqual(run(*asker("curl", "-sk", "-m", "4", f"https://{a.address}:6443/ping")), "pong")
            for node in (a, b):
                self.assertEqual(run(*asker("curl", "-sk", "-m", "4", f"https://{node.address}:10250/pods")).strip(), "Unauthorized")
        self.assertEqual({asks.fetch("http://web") for _ in range(30)}, {"one", "two"})
        self.assertEqual(server.get("service", "greedy")["status"]["loadBalancer"], {})
        server.kubectl("delete", "service", "greedy")
        # The API by its Service and name.
        self.assertIn("10.43.0.1", asks.run("busybox", "nslookup", "-type=a", "kubernetes.default.svc.cluster.local"))
        self.assertIn("name = web.default.svc.cluster.local", asks.run("busybox", "nslookup", "-type=ptr", ".".join(reversed(ip.split("."))) + ".in-addr.arpa"))
        self.assertIn(b.address, asks.run("busybox", "nslookup", "-type=a", "worker."))
        # DNS isn't for strangers.
        run(*outside.command("ip", "route", "add", "10.43.0.10", "via", b.address))
        with self.assertRaises(Failed):
            run(*outside.command("busybox", "nslookup", "-type=a", "web.default.svc.cluster.local", "10.43.0.10"), timeout=30)

        self.slice(server, "web", [two])
        eventually("an endpoint that is gone gets nothing more", lambda: {one.fetch("http://web") for _ in range(10)} == {"two"})
        # The agent's end changes nothing for pods; it goes on from what is there.
        worker.process.terminate()
        worker.process.wait(20)
        self.assertEqual(asks.fetch(f"http://{ip}"), "two")
        again = Agent(self.lab, "worker", b, server.url, server.token())
        eventually("names are answered again", lambda: asks.fetch("http://web") == "two")
        self.assertIsNone(again.process.poll())
        run(*b.command("nft", "flush", "ruleset"))
        eventually("rules that another program flushed come back", lambda: asks.fetch("http://web") == "two", timeout=20)
        server.kubectl("delete", "service", "web")

        def answers():
            try:
                return asks.fetch("http://web")
            except Failed:
                return None

        eventually("nothing of a removed service answers", lambda: not answers())
        # A node that leaves takes its routes with it.
        self.assertIn("10.42.", run("ip", "-n", a.name, "route", "show", "proto", "213"))
        again.process.terminate()
        again.process.wait(20)
        server.kubectl("delete", "node", "worker")
        eventually("routes to a deleted node go", lambda: not run("ip", "-n", a.name, "route", "show", "proto", "213").strip() or None, timeout=40)

    def test_names_that_users_configure(self):
        """ConfigMap coredns-custom as K3s has it, and lines of one's own in NodeHosts."""
        a = self.lab.host()
        folder = os.path.join(self.lab.folder, "names")
        os.mkdir(folder)
        for name, address in (("files.intern.example", "192.0.2.53"), ("nas.example.org", "192.0.2.54")):
            with open(os.path.join(folder, name), "w") as f:
                f.write(address)
        self.lab.start("names", a.command(sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "name_server.py"), folder))
        server = Server(self.lab, "server", host=a).wait_ready()
        self.configured(server, server)
        asks = self.pod(server, "asks")

        def address_of(name, type="a"):
            try:
                answer = asks.run("busybox", "nslookup", f"-type={type}", name)
            except Failed:
                return None
            found = [line.split()[-1] for line in answer.splitlines() if line.startswith("Address") and "10.43.0.10" not in line]
            return found[0] if found else None

        def configure(data, name="coredns-custom"):
            server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "ConfigMap",
                           "metadata": {"name": name, "namespace": "kube-system"}, "data": data}))
        eventually("the cluster's own names", lambda: address_of("kubernetes.default.svc.cluster.local.") == "10.43.0.1")
        self.assertIsNone(address_of("files.intern.example."))
        configure({"ours.override": "hosts {\n 192.0.2.7 nas.lan\n fallthrough\n}\nrewrite name suffix .corp .example.org answer auto\nforward example.org 127.0.0.1\n"
                                    "rewrite name exact api.corp.example kubernetes.default.svc.cluster.local",
                   "stub.server": "intern.example:53 {\n errors\n cache 30\n forward . 127.0.0.1\n}",
                   "more.override": "template IN A example.net {\n answer \"{{ .Name }} 60 IN A 192.0.2.55\"\n}\netcd"})
        eventually("a host of one's own", lambda: address_of("nas.lan.") == "192.0.2.7")
        self.assertEqual(address_of("files.intern.example."), "192.0.2.53")
        self.assertEqual(address_of("nas.corp."), "192.0.2.54")
        self.assertEqual(address_of("any.example.net."), "192.0.2.55")
        self.assertEqual(address_of("api.corp.example."), "10.43.0.1")
        self.assertEqual(address_of("kubernetes.default.svc.cluster.local."), "10.43.0.1")
        eventually("what isn't known is told", lambda: any(e["message"] == "more.override: plugin etcd isn't known here" and e["involvedObject"]["name"] == "coredns-custom"
                                                           for e in server.get("events", "-n", "kube-system")["items"]))
        configure({"NodeHosts": "192.0.2.9 printer\n"}, "coredns")
        eventually("a line of one's own in NodeHosts", lambda: address_of("printer.") == "192.0.2.9")

        # The Corefile itself, where somebody has one, as a cluster that was K3s's has.
        configure({"NodeHosts": "192.0.2.9 printer\n",
                   "Corefile": ".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n  pods insecure\n }\n hosts /etc/coredns/NodeHosts {\n  fallthrough\n }\n"
                               " prometheus :9153\n cache 30\n import /etc/coredns/custom/*.override\n forward . /etc/resolv.conf\n}\n"
                               "lan.example:53 {\n hosts {\n  192.0.2.66 nas.lan.example\n }\n}\nimport /etc/coredns/custom/*.server\n"}, "coredns")
        eventually("a zone of the Corefile's", lambda: address_of("nas.lan.example.") == "192.0.2.66")
        for name, address in (("printer.", "192.0.2.9"), ("nas.lan.", "192.0.2.7"), ("files.intern.example.", "192.0.2.53"),
                              ("kubernetes.default.svc.cluster.local.", "10.43.0.1")):
            self.assertEqual(address_of(name), address)
        eventually("what it asks for in vain is told", lambda: any(e["message"] == "Corefile: plugin prometheus isn't known here" and e["involvedObject"]["name"] == "coredns"
                                                                   for e in server.get("events", "-n", "kube-system")["items"]))

        # A resolver that asks this node again is told, and asked no more.
        self.lab.start("relay", a.command(sys.executable, "-c", RELAY))
        configure({"ours.override": "hosts {\n 192.0.2.7 nas.lan\n fallthrough\n}", "round.server": "round.example {\n forward . 127.0.0.2\n}\n"})
        eventually("the loop is told", lambda: any(e["reason"] == "DNSLoop" and e["involvedObject"] | {"kind": "Node", "name": server.name} == e["involvedObject"]
                                                   and "127.0.0.2:53 for round.example" in e["message"] for e in server.get("events", "-n", "default")["items"]))
        self.assertIsNone(address_of("nas.round.example."))
        self.assertEqual(address_of("nas.lan."), "192.0.2.7")
        server.kubectl("delete", "configmap", "-n", "kube-system", "coredns-custom")
        eventually("what is gone isn't answered", lambda: address_of("nas.lan.") is None and address_of("files.intern.example.") is None)
        self.assertEqual(address_of("kubernetes.default.svc.cluster.local."), "10.43.0.1")

    def test_policies_of_the_whole_cluster(self):
        """Tiers around NetworkPolicies, once somebody brings the definition of their kind."""
        a = self.lab.host()
        server = Server(self.lab, "server", host=a).wait_ready()
        self.configured(server, server)
        one, asks = self.pod(server, "one"), self.pod(server, "asks")
        one.serve("one")
        eventually("pods reach each other", lambda: asks.fetch(f"http://{one.address}:8080") == "one")
        for name, p in (("one", one), ("asks", asks)):
            server.kubectl("apply", "-f", "-", input=json.dumps({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
                "spec": {"nodeName": server.name, "containers": [{"name": "c", "image": "nothing", "imagePullPolicy": "Never"}]}}))
            server.kubectl("patch", "pod", name, "--subresource=status", "-p", json.dumps({"status": {"podIP": p.address, "podIPs": [{"ip": p.address}]}}))
        server.kubectl("apply", "-f", "-", input=json.dumps({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "clusternetworkpolicies.policy.networking.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, a test's"}},
            "spec": {"group": "policy.networking.k8s.io", "scope": "Cluster",
                     "names": {"plural": "clusternetworkpolicies", "singular": "clusternetworkpolicy", "kind": "ClusterNetworkPolicy"},
                     "versions": [{"name": "v1beta1", "served": True, "storage": True,
                                   "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}))

        def policy(name, tier, priority, action):
            return json.dumps({"apiVersion": "policy.networking.k8s.io/v1beta1", "kind": "ClusterNetworkPolicy", "metadata": {"name": name},
                               "spec": {"tier": tier, "priority": priority, "subject": {"namespaces": {}},
                                        "ingress": [{"action": action, "from": [{"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "asks"}}}}]}]}})
        def passes():
            return fetched(asks, f"http://{one.address}:8080") == "one"
        eventually("the kind is there", lambda: server.kubectl("get", "clusternetworkpolicies") is not None)
        server.kubectl("apply", "-f", "-", input=policy("base", "Baseline", 1, "Deny"))
        eventually("a baseline denies", lambda: not passes(), timeout=30)
        server.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "all"},
                       "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}}))
        eventually("what a NetworkPolicy has accepted, a baseline isn't asked about", passes)
        server.kubectl("apply", "-f", "-", input=policy("no", "Admin", 10, "Deny"))
        eventually("an administrator denies it all the same", lambda: not passes())
        server.kubectl("apply", "-f", "-", input=policy("yes", "Admin", 5, "Pass"))
        eventually("a rule before that passes it on", passes)
        server.kubectl("delete", "clusternetworkpolicies", "yes", "base")
        eventually("it is denied again", lambda: not passes())
        server.kubectl("delete", "crd", "clusternetworkpolicies.policy.networking.k8s.io")
        eventually("nothing of a kind that is gone is left", passes)


if __name__ == "__main__":
    main()
