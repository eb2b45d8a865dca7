"""Tunnels, the kubelet's port, and the agent's load balancer: what a server reaches of its nodes, and what an agent survives."""

import json
import os
import signal
import subprocess
import unittest

from ha_lab import HaLab, Postgres, VirtualAddress
from name_server import NameServer
from harness import BINARY, Agent, Lab, Server, eventually, is_ready, main, run
from runtime import ARGS, BUSYBOX, RuntimeLab


class Reaching:
    """What both classes below do with servers and agents."""

    def node_ready(self, server, name):
        return eventually(f"node {name} is Ready", lambda: is_ready(server.get("node", name)), timeout=60)

    def proxy(self, server, node, path, **kw):
        return server.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/{path}", **kw)

    def reachable(self, server, node, timeout=30):
        eventually(f"{node}'s kubelet answers", lambda: self.proxy(server, node, "healthz") == "ok", timeout=timeout)

    def status(self, agent):
        argv = [BINARY, "agent", "status", "--data-dir", agent.data, "-o", "json"]
        return json.loads(run(*agent.host.command(*argv)))

    def server_state(self, agent, address):
        return next((s for s in self.status(agent)["servers"] if s["address"] == address), {})

    @staticmethod
    def cut(host, *rules):
        """Drops packets in the host's namespace, both ways of what the rules match; gives what undoes it."""
        text = "table inet cut {\n  chain in { type filter hook input priority 0; %s }\n  chain out { type filter hook output priority 0; %s }\n}\n"
        run(*host.command("nft", "-f", "-"), input=text % (" ".join(r[0] + ";" for r in rules), " ".join(r[1] + ";" for r in rules)))
        return lambda: run(*host.command("nft", "delete", "table", "inet", "cut"))

    @classmethod
    def drop_address(cls, host, address):
        return cls.cut(host, (f"ip saddr {address} drop", f"ip daddr {address} drop"))

    @staticmethod
    def curl(server, certificate=None):
        tls = server.data + "/server/tls/"
        identity = ["--cert", f"{tls}{certificate}.crt", "--key", f"{tls}{certificate}.key"] if certificate else []
        return ["curl", "-sS", "--cacert", tls + "server-ca.crt", *identity]


class Tunnels(Reaching, unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)

    def pair(self, server_args=(), agent_args=()):
        a, b = self.lab.host(), self.lab.host()
        server = Server(self.lab, "server", host=a, args=server_args).wait_ready()
        agent = Agent(self.lab, "worker", b, server.url, server.token(), args=agent_args)
        self.node_ready(server, "worker")
        return server, agent

    def test_the_api_reaches_kubelets_through_tunnels(self):
        server, agent = self.pair()
        # No inbound port of the node is needed.
        self.cut(agent.host, ('iifname "eth0" tcp dport 10250 drop', "tcp dport 1 drop"))
        self.node_ready(server, "server")
        for node in ("worker", "server"):
            self.reachable(server, node)
            self.assertIn(f'kubelet_node_name{{node="{node}"}} 1', self.proxy(server, node, "metrics"))
            self.assertIn("node_memory_working_set_bytes", self.proxy(server, node, "metrics/resource"))
            pods = json.loads(self.proxy(server, node, "pods"))
            self.assertEqual((pods["kind"], pods["items"]), ("PodList", []))
            summary = json.loads(self.proxy(server, node, "stats/summary"))
            self.assertEqual(summary["node"]["nodeName"], node)
            self.assertGreater(summary["node"]["memory"]["workingSetBytes"], 0)
            self.assertEqual(summary["pods"], [])
            self.assertEqual(json.loads(self.proxy(server, node, "configz"))["kubeletconfig"]["port"], 10250)
            self.assertIn("<pre>", self.proxy(server, node, "logs/"))
        # A file of the machine's logs, whole; nothing beside that folder.
        files = [f for f in os.scandir("/var/log") if f.is_file(follow_symlinks=False) and f.name.replace(".", "").isalnum() and f.stat().st_size < 1 << 20]
        for f in files[:1]:
            self.assertEqual(run(*server.host.command(*self.curl(server, "client-admin"), f"{server.url}/api/v1/nodes/worker/proxy/logs/{f.name}")),
                             open(f.path).read())
        self.assertNotEqual(self.proxy(server, "worker", "logs/..%2f..%2fetc%2fpasswd", check=False).returncode, 0)
        missing = self.proxy(server, "nobody", "healthz", check=False)
        self.assertIn('nodes "nobody" not found', missing.stderr)
        refused = server.kubectl("get", "--raw", "/api/v1/nodes/worker/proxy/healthz", "--as", "somebody", check=False)
        self.assertIn("nodes/proxy", refused.stderr)
        gone = self.proxy(server, "worker", "containerLogs/default/none/none", check=False)
        self.assertIn("NotFound", gone.stderr)

    def test_the_kubelets_port_knows_who_may(self):
        server, agent = self.pair(server_args=["--disable-agent"])
        url = f"https://{agent.host.address}:10250"

        def ask(path, *args, certificate=None):
            return int(run(*server.host.command(*self.curl(server, certificate), "-o", "/dev/null", "-w", "%{http_code}", *args, url + path)))

        eventually("the port is open", lambda: ask("/healthz") == 401)
        self.assertEqual(ask("/metrics"), 401)
        self.assertEqual(ask("/pods", certificate="client-kube-apiserver"), 200)
        self.assertEqual(ask("/metrics", certificate="client-admin"), 200)
        self.assertEqual(ask("/metrics", certificate="client-scheduler"), 403)
        # A scraper's service account, once it may.
        server.kubectl("create", "serviceaccount", "scraper")
        token = server.kubectl("create", "token", "scraper").strip()
        bearer = ["-H", "Authorization: Bearer " + token]
        self.assertEqual(ask("/metrics", *bearer), 403)
        self.assertEqual(ask("/metrics", "-H", "Authorization: Bearer nonsense"), 401)
        server.kubectl("create", "clusterrole", "scrape", "--verb=get", "--resource=nodes/stats")
        server.kubectl("create", "clusterrolebinding", "scrape", "--clusterrole=scrape", "--serviceaccount=default:scraper")
        eventually("the scraper may", lambda: ask("/stats/summary", *bearer) == 200)
        self.assertEqual(ask("/logs/", *bearer), 403)
        # Who may see one thing gets nothing else by how he writes it: what is allowed is what is served.
        for other in ("pods", "logs/", "configz", "metrics", "exec/default/p/c?command=sh&output=1", "containerLogs/default/p/c", "run/default/p/c?cmd=id"):
            for spelled in ("/stats/../", "/stats/%2e%2e/", "/stats/..%2f", "/stats//../", "/stats/./../", "//", "/stats/summary/../../", "/stats;/../", "/STATS/../"):
                self.assertIn(ask(spelled + other, "--path-as-is", *bearer), (400, 403, 404), spelled + other)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X"):
            self.assertIn(ask("/pods", "-X", method, "-m", "5", *bearer), (400, 403, 405), method)

    def test_without_tunnels_kubelets_are_dialled(self):
        server, agent = self.pair(server_args=["--disable-agent", "--egress-selector-mode", "disabled"])
        self.reachable(server, "worker")
        undo = self.cut(agent.host, ('iifname "eth0" tcp dport 10250 reject with tcp reset', "tcp dport 1 drop"))

        def refused():
            p = self.proxy(server, "worker", "healthz", check=False)
            return p.returncode != 0 and "error trying to reach service" in p.stderr
        server.kubectl("get", "--raw", "/healthz")
        # A connection that stands may serve for a while yet.
        eventually("no way in", refused, timeout=60)
        undo()
        self.reachable(server, "worker")

    def test_an_agent_tells_of_its_servers(self):
        server, agent = self.pair(server_args=["--disable-agent"])
        address = f"{server.address}:6443"
        s = eventually("the server is in use", lambda: (lambda s: s.get("state") == "ACTIVE" and s["tunnel"]["state"] == "ok" and s)(
            self.server_state(agent, address)), timeout=30)
        self.assertGreaterEqual(s["connections"], 1)
        self.assertEqual(self.status(agent)["api"], "https://127.0.0.1:6444")
        self.assertIn("server: https://127.0.0.1:6444", open(agent.data + "/agent/kubelet.kubeconfig").read())
        text = run(*agent.host.command(BINARY, "agent", "status", "--data-dir", agent.data))
        self.assertRegex(text, rf"(?m)^{address} +ACTIVE .* ok ")
        metrics = self.proxy(server, "worker", "metrics")
        self.assertIn(f'k3s_loadbalancer_server_health{{name="k3s-agent-load-balancer",server="{address}"}} 7', metrics)
        self.assertIn(f'kedge_tunnel_up{{server="{address}"}} 1', metrics)
        state = json.load(open(agent.data + "/agent/etc/k3s-agent-load-balancer.json"))
        self.assertEqual(state, {"ServerURL": server.url, "ServerAddresses": [address]})
        nobody = subprocess.run([BINARY, "agent", "status", "--data-dir", "/nonexistent"], text=True, capture_output=True)
        self.assertEqual(nobody.returncode, 1)
        self.assertIn("no agent answers", nobody.stderr)

    def test_a_server_comes_back(self):
        server, agent = self.pair(server_args=["--disable-agent"])
        self.reachable(server, "worker")
        for number in (signal.SIGTERM, signal.SIGKILL):
            server.stop(number)
            eventually("the agent has noticed", lambda: self.server_state(agent, f"{server.address}:6443")["tunnel"]["state"] == "failed")
            server.start()
            server.wait_ready()
            self.reachable(server, "worker")
        self.assertIsNone(agent.process.poll())

    def test_a_server_whose_packets_vanish_is_given_up(self):
        server, agent = self.pair(server_args=["--disable-agent"])
        address = f"{server.address}:6443"
        self.reachable(server, "worker")
        eventually("in use", lambda: self.server_state(agent, address)["state"] == "ACTIVE")
        undo = self.drop_address(agent.host, server.address)
        # Pings stay unanswered: failed, and what ran through it is cut.
        eventually("the agent gives it up", lambda: self.server_state(agent, address)["state"] == "FAILED", timeout=60)
        eventually("its connections are cut", lambda: self.server_state(agent, address)["connections"] == 0, timeout=30)
        undo()
        self.reachable(server, "worker", timeout=90)
        eventually("in use again", lambda: self.server_state(agent, address)["state"] == "ACTIVE", timeout=60)


class PodTunnels(Reaching, unittest.TestCase):
    """Egress modes that reach pods: real ones."""

    def setUp(self):
        self.lab = RuntimeLab()
        self.addCleanup(self.lab.close)

    def pair(self, mode):
        a, b = self.lab.host(), self.lab.host()
        server = Server(self.lab, "server", host=a, args=["--disable-agent", "--egress-selector-mode", mode]).wait_ready()
        agent = self.lab.adopt(Agent(self.lab, "worker", b, server.url, server.token(), args=ARGS))
        self.node_ready(server, "worker")
        self.assertEqual(server.get("node", "worker")["metadata"]["labels"]["egress.k3s.io/cluster"], "true")
        eventually("the account of pods", lambda: server.get("serviceaccount", "default"))
        return server, agent

    def pod(self, server, name, port, host_network=False):
        """A web server on the worker that says its name."""
        command = f"mkdir -p /www; echo from {name} > /www/hello; exec httpd -f -p {port} -h /www"
        container = {"name": "web", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", command], "ports": [{"containerPort": port}]}
        spec = {"nodeName": "worker", "hostNetwork": host_network, "terminationGracePeriodSeconds": 0, "containers": [container]}
        server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))

    @staticmethod
    def hello(server, target, name):
        return server.kubectl("get", "--raw", f"/api/v1/{target}/{name}/proxy/hello", check=False)

    def test_mode_pod_reaches_the_pods_of_a_node(self):
        server, agent = self.pair("pod")
        pods, own = "namespaces/default/pods", agent.host.address
        folder = os.path.join(self.lab.folder, "other")
        os.mkdir(folder)
        open(folder + "/hello", "w").close()
        self.lab.start("other", agent.host.command("python3", "-m", "http.server", "8097", "--bind", own, "--directory", folder))
        # The node lets nobody in, and nobody but the node knows the way to its pods.
        self.cut(agent.host, ('iifname "eth0" tcp dport 8000-9000 drop', "tcp dport 1 drop"))
        self.pod(server, "web", 8099)
        eventually("the pod answers", lambda: self.hello(server, pods, "web:8099").stdout == "from web\n")
        # Of the node itself: what pods with its network listen on, and nothing else.
        self.assertNotEqual(self.hello(server, "nodes", "worker:8098").returncode, 0)
        self.pod(server, "host", 8098, host_network=True)
        eventually("the port of the pod with the node's network", lambda: self.hello(server, "nodes", "worker:8098").stdout == "from host\n")
        self.assertEqual(self.hello(server, pods, "host:8098").stdout, "from host\n")
        refused = self.hello(server, "nodes", "worker:8097")
        self.assertNotEqual(refused.returncode, 0)
        self.assertEqual(refused.stdout, "")
        # What is refused costs the tunnel nothing, and a pod that is gone is no target any more.
        self.assertEqual(self.hello(server, pods, "web:8099").stdout, "from web\n")
        server.kubectl("delete", "pod", "host", "--grace-period=0", "--force")
        eventually("its port is closed again", lambda: self.hello(server, "nodes", "worker:8098").returncode != 0)

    def test_mode_cluster_reaches_into_the_node(self):
        server, agent = self.pair("cluster")
        self.cut(agent.host, ('iifname "eth0" tcp dport 8098 drop', "tcp dport 1 drop"))
        self.pod(server, "host", 8098, host_network=True)
        eventually("a port of the node", lambda: self.hello(server, "nodes", "worker:8098").stdout == "from host\n")
        self.pod(server, "web", 8099)
        eventually("a pod", lambda: self.hello(server, "namespaces/default/pods", "web:8099").stdout == "from web\n")
        # Back to the default: the mark goes when the node starts again.
        agent.process.terminate()
        agent.process.wait(20)
        server.stop()
        server.args.remove("cluster")
        server.args.remove("--egress-selector-mode")
        server.start()
        server.wait_ready()
        Agent(self.lab, "worker", agent.host, server.url, server.token(), args=ARGS)
        eventually("the mark is gone", lambda: "egress.k3s.io/cluster" not in server.get("node", "worker")["metadata"]["labels"], timeout=60)


class SeveralServers(Reaching, unittest.TestCase):
    """Over one PostgreSQL; the agent registers at a virtual address."""

    def setUp(self):
        self.lab = HaLab()
        self.addCleanup(self.lab.close)
        self.postgres = Postgres(self.lab, self.lab.host())
        self.fixed = VirtualAddress(self.lab, 200)
        self.args = ["--disable-agent", "--tls-san", self.fixed.address]

    def start(self, *names):
        servers = []
        for name in names:
            servers.append(self.lab.server(name, self.postgres, args=self.args))
            servers[-1].wait_ready(timeout=60)
        return servers

    def join(self, servers):
        self.fixed.move(servers[0].host)
        agent = self.lab.agent("worker", f"https://{self.fixed.address}:6443")
        self.node_ready(servers[0], "worker")
        for s in servers:
            eventually(f"a tunnel to {s.name}", lambda: self.tunnel(agent, s) == "ok", timeout=60)
            self.reachable(s, "worker")
        return agent

    def tunnel(self, agent, server):
        return self.server_state(agent, f"{server.address}:6443").get("tunnel", {}).get("state")

    def active(self, agent, servers):
        return next((s for s in servers if self.server_state(agent, f"{s.address}:6443").get("state") == "ACTIVE"), None)

    def test_a_server_without_a_tunnel_goes_through_another(self):
        servers = self.start("one", "two")
        agent = self.join(servers)
        without, other = servers
        # The agent and this server can't talk; whoever tries is told so at once.
        address = without.address
        self.cut(agent.host, (f"ip saddr {address} tcp sport 6443 reject with tcp reset", f"ip daddr {address} tcp dport 6443 reject with tcp reset"))
        eventually("the agent has lost the tunnel", lambda: self.tunnel(agent, without) == "failed", timeout=60)
        self.reachable(without, "worker", timeout=90)
        self.assertIn("kubelet_node_name", self.proxy(without, "worker", "metrics"))
        self.assertEqual(self.tunnel(agent, without), "failed")
        # With the last server that has a tunnel, the way is gone.
        other.stop(signal.SIGKILL)
        eventually("nobody has a tunnel", lambda: self.proxy(without, "worker", "healthz", check=False).returncode != 0, timeout=60)

    def test_an_agent_leaves_servers_that_die_or_vanish(self):
        servers = self.start("one", "two")
        agent = self.join(servers)
        first = eventually("one is in use", lambda: self.active(agent, servers))
        second = next(s for s in servers if s is not first)
        first.stop(signal.SIGKILL)
        eventually("the other is in use", lambda: self.active(agent, [second]), timeout=30)
        eventually("nothing hangs on the dead one", lambda: self.server_state(agent, f"{first.address}:6443").get("connections", 0) == 0)
        self.reachable(second, "worker")
        # It comes back, and then the other one's packets vanish.
        first.start()
        first.wait_ready(timeout=60)
        eventually("a tunnel to the one that came back", lambda: self.tunnel(agent, first) == "ok", timeout=60)
        undo = self.drop_address(agent.host, second.address)
        eventually("the one that came back is in use", lambda: self.active(agent, [first]), timeout=90)
        eventually("nothing hangs on the one that vanished", lambda: self.server_state(agent, f"{second.address}:6443")["connections"] == 0, timeout=30)
        self.reachable(first, "worker")
        undo()
        eventually("both have tunnels", lambda: [self.tunnel(agent, s) for s in servers] == ["ok", "ok"], timeout=90)

    def test_servers_that_were_all_replaced_are_found_by_the_fixed_address(self):
        old = self.start("one")
        agent = self.join(old)
        known = json.load(open(agent.data + "/agent/etc/k3s-agent-load-balancer.json"))["ServerAddresses"]
        self.assertEqual(known, [f"{old[0].address}:6443"])
        agent.process.terminate()
        agent.process.wait(20)
        old[0].stop(signal.SIGKILL)
        new = self.start("two")
        self.fixed.move(new[0].host)
        # Packets to where the old one was are answered by nobody.
        self.drop_address(agent.host, old[0].address)
        again = self.lab.agent("worker", agent.url, host=agent.host)
        self.reachable(new[0], "worker", timeout=120)
        eventually("the new one is in use", lambda: self.active(again, new), timeout=60)
        eventually("the old one is forgotten", lambda: [s["address"] for s in self.status(again)["servers"] if not s["default"]] == [f"{new[0].address}:6443"],
                   timeout=60)

    def test_the_fixed_name_is_looked_up_again_and_again(self):
        name = "cluster.example"
        self.args += ["--tls-san", name]
        servers = self.start("one")
        host = self.lab.host()
        names = NameServer(self.lab, host)
        names.set(name, [servers[0].address])
        agent = self.lab.agent("worker", f"https://{name}:6443", host=host)
        self.node_ready(servers[0], "worker")
        eventually("one is in use", lambda: self.active(agent, servers), timeout=60)

        def replace(old, new):
            """All that the agent knows goes; what comes is known to the name alone."""
            old.stop(signal.SIGKILL)
            fresh = self.start(new)[0]
            names.set(name, [fresh.address])
            return fresh
        second = replace(servers[0], "two")
        eventually("the second is in use", lambda: self.active(agent, [second]), timeout=120)
        self.reachable(second, "worker", timeout=60)
        names.set(name, [])  # for a while there is no address at all
        third = replace(second, "three")
        eventually("the third is in use", lambda: self.active(agent, [third]), timeout=120)
        self.reachable(third, "worker", timeout=60)
        self.assertIsNone(agent.process.poll(), agent.log()[-2000:])
        # And an agent that starts when all that its file names is gone.
        agent.process.terminate()
        agent.process.wait(20)
        fourth = replace(third, "four")
        self.drop_address(host, third.address)  # packets to where it was are answered by nobody
        again = self.lab.agent("worker", f"https://{name}:6443", host=host)
        eventually("the fourth is in use", lambda: self.active(again, [fourth]), timeout=120)
        self.reachable(fourth, "worker", timeout=60)
        eventually("the third is forgotten", lambda: [s["address"] for s in self.status(again)["servers"] if not s["default"]] == [f"{fourth.address}:6443"],
                   timeout=60)


if __name__ == "__main__":
    main()
