"""Tunnels, the kubelet's port, and the agent's load balancer: what a server reaches of its nodes, and what an agent survives."""

import json
import os
import shutil
import signal
import subprocess
import unittest

from harness import BINARY, Agent, Lab, Server, eventually, is_ready, main, run


class Tunnels(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)

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

    @staticmethod
    def drop_address(host, address):
        return Tunnels.cut(host, (f"ip saddr {address} drop", f"ip daddr {address} drop"))

    @staticmethod
    def curl(server, certificate=None):
        tls = server.data + "/server/tls/"
        identity = ["--cert", f"{tls}{certificate}.crt", "--key", f"{tls}{certificate}.key"] if certificate else []
        return ["curl", "-sS", "--cacert", tls + "server-ca.crt", *identity]

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

    def test_servers_that_were_replaced_are_found_by_the_fixed_address(self):
        a, b, c = self.lab.host(), self.lab.host(), self.lab.host()
        fixed = f"10.97.{self.lab.subnet}.200"

        def take(host):
            run("ip", "-n", host.name, "addr", "add", f"{fixed}/24", "dev", "eth0")
        take(a)
        args = ["--disable-agent", "--tls-san", fixed]
        first = Server(self.lab, "server", host=a, args=args).wait_ready()
        agent = Agent(self.lab, "worker", c, f"https://{fixed}:6443", first.token())
        self.node_ready(first, "worker")
        eventually("the first server is known", lambda: self.server_state(agent, f"{a.address}:6443").get("state") == "ACTIVE")
        agent.process.terminate()
        agent.process.wait(20)
        # Another machine takes over data and the fixed address; nobody answers where the first one was.
        self.assertEqual(first.stop(), 0)
        run("ip", "-n", a.name, "addr", "del", f"{fixed}/24", "dev", "eth0")
        take(b)
        for h in (c, b):
            run(*h.command("ip", "neigh", "flush", "all"))
        shutil.copytree(first.data, os.path.join(self.lab.folder, "second"))
        second = Server(self.lab, "second", host=b, args=args).wait_ready()
        again = Agent(self.lab, "worker", c, f"https://{fixed}:6443", second.token())
        self.node_ready(second, "worker")
        self.reachable(second, "worker")
        eventually("the new server is known and in use", lambda: self.server_state(again, f"{b.address}:6443").get("state") == "ACTIVE", timeout=60)
        self.assertNotIn(f"{a.address}:6443", [s["address"] for s in self.status(again)["servers"]])


if __name__ == "__main__":
    main()
