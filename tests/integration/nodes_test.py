"""Servers and agents on hosts of their own: joining, names, passwords, life and death of nodes."""

import os
import re
import shutil
import signal
import time
import unittest

from harness import BINARY, Agent, Lab, Server, eventually, is_ready, main, run


class Nodes(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)

    def node_ready(self, server, name):
        return eventually(f"node {name} is Ready", lambda: (lambda n: is_ready(n) and n)(server.get("node", name)), timeout=60)

    def test_server_and_agent_are_ready(self):
        a, b = self.lab.host(), self.lab.host()
        server = Server(self.lab, "server", host=a, args=["--node-label", "zone=one"]).wait_ready()
        node = self.node_ready(server, "server")
        self.assertEqual(node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"], "true")
        self.assertEqual(node["metadata"]["labels"]["zone"], "one")
        Agent(self.lab, "worker", b, server.url, server.token(), args=["--node-taint", "dedicated=test:NoSchedule"])
        worker = self.node_ready(server, "worker")
        self.assertIn({"type": "InternalIP", "address": b.address}, worker["status"]["addresses"])
        self.assertTrue(worker["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://"))
        self.assertIn("dedicated", [t["key"] for t in worker["spec"]["taints"]])
        self.assertNotIn("node-role.kubernetes.io/control-plane", worker["metadata"]["labels"])
        cidrs = {n["spec"]["podCIDR"] for n in server.get("nodes")["items"]}
        self.assertEqual(len(cidrs), 2)
        wide = server.kubectl("get", "nodes", "-o", "wide")
        self.assertRegex(wide, r"server\s+Ready\s+control-plane\s+\S+\s+v1\.37\.\S+\s+" + re.escape(a.address))
        self.assertRegex(wide, r"worker\s+Ready\s+<none>")
        self.assertIn("Conditions:", server.kubectl("describe", "node", "worker"))
        lease = server.get("lease", "worker", "-n", "kube-node-lease")
        first = lease["spec"]["renewTime"]
        eventually("the lease is renewed", lambda: server.get("lease", "worker", "-n", "kube-node-lease")["spec"]["renewTime"] != first, timeout=15)

    def test_without_a_shim_of_ours_that_works_pods_are_kept_by_runcs(self):
        program = os.path.join(self.lab.folder, "bin/kedge")
        os.mkdir(os.path.dirname(program))
        shutil.copy(BINARY, program)
        server = Server(self.lab, "server", host=self.lab.host(), binary=program).wait_ready()
        configuration = os.path.join(server.data, "agent/etc/containerd/config.toml")
        self.node_ready(server, "server")
        self.assertIn("pods are kept by runc's shim", server.log())
        self.assertIn("was found neither beside this program nor in PATH", server.log())
        self.assertIn('default_runtime_name = "runc"', open(configuration).read())
        self.assertNotIn("kedge.v2", open(configuration).read())
        plugin = os.path.join(server.data, "data/cni/flannel")
        self.assertEqual(os.path.realpath(plugin), program)
        self.assertRegex(server.log(), f"pods are given their network by {program} itself, .*: {program}-cni: No such file")
        server.process.terminate()
        server.process.wait(20)
        # One that is there and doesn't answer for itself, and plugins of another release.
        with open(os.path.join(os.path.dirname(program), "kedge-cni"), "w") as f:
            f.write("#!/bin/sh\necho v1.0.0+kedge1\n")
        os.chmod(f.name, 0o755)
        with open(os.path.join(os.path.dirname(program), "containerd-shim-kedge-v2"), "w") as f:
            f.write("#!/bin/sh\necho broken; exit 1\n")
        os.chmod(f.name, 0o755)
        server.start()
        eventually("the reason is told", lambda: "-v ended with code 1: broken" in server.log())
        self.assertEqual(os.path.realpath(plugin), program)
        self.assertIn(f"{program}-cni is of another release than", server.log())
        self.assertIn('default_runtime_name = "runc"', open(configuration).read())

    def test_the_name_belongs_to_the_first_password(self):
        a, b, c = self.lab.host(), self.lab.host(), self.lab.host()
        server = Server(self.lab, "server", host=a, args=["--disable-agent"]).wait_ready()
        first = Agent(self.lab, "worker", b, server.url, server.token())
        self.node_ready(server, "worker")
        copy = Agent(self.lab, "worker2", c, server.url, server.token(), args=["--node-name", "worker"])
        eventually("the copied name is refused", lambda: "Node password rejected" in copy.log() or "password" in copy.log())
        self.assertIsNone(first.process.poll())
        copy.process.terminate()
        copy.process.wait(20)
        Agent(self.lab, "worker3", c, server.url, server.token(), args=["--node-name", "worker", "--with-node-id"])
        third = eventually("a node with an id of its own", lambda: [n for n in server.get("nodes")["items"] if re.fullmatch(r"worker-[0-9a-f]{8}", n["metadata"]["name"]) and is_ready(n)], timeout=60)
        self.assertEqual(len(third), 1)
        # The name is free when its Node is deleted: the machine was installed anew.
        eventually("the password is the Node's", lambda: server.get("secret", "worker.node-password.k3s", "-n", "kube-system")["metadata"].get("ownerReferences"), timeout=40)
        first.process.terminate()
        first.process.wait(20)
        server.kubectl("delete", "node", "worker")
        Agent(self.lab, "worker4", b, server.url, server.token(), args=["--node-name", "worker"])
        self.node_ready(server, "worker")

    def test_registration_from_environment_and_file(self):
        a, b = self.lab.host(), self.lab.host()
        server = Server(self.lab, "server", host=a, args=["--disable-agent"]).wait_ready()
        config = os.path.join(self.lab.folder, "config.yaml")
        os.mkdir(config + ".d")
        with open(config, "w") as f:
            f.write("node-label: [from=file]\n")
        with open(config + ".d/10-more.yaml", "w") as f:
            f.write("node-label+: [more=dropin]\n")
        Agent(self.lab, "worker", b, server.url, server.token(), args=["--config", config], token_in_environment=True)
        labels = self.node_ready(server, "worker")["metadata"]["labels"]
        self.assertEqual((labels["from"], labels["more"]), ("file", "dropin"))

    def test_a_wrong_token_says_so(self):
        a, b, c = self.lab.host(), self.lab.host(), self.lab.host()
        server = Server(self.lab, "server", host=a, args=["--disable-agent"]).wait_ready()
        wrong = Agent(self.lab, "worker", b, server.url, re.sub(r":[^:]*$", ":nonsense", server.token()))
        eventually("a clear error", lambda: "not authorized" in wrong.log())
        other = Agent(self.lab, "other", c, server.url, "K10" + "0" * 64 + "::server:x")
        eventually("a clear error", lambda: "token CA hash does not match" in other.log())

    def test_a_silent_node_becomes_unknown_and_is_tainted(self):
        a, b = self.lab.host(), self.lab.host()
        server = Server(self.lab, "server", host=a, args=["--disable-agent"]).wait_ready()
        agent = Agent(self.lab, "worker", b, server.url, server.token())
        self.node_ready(server, "worker")
        eventually("the taint of a new node goes", lambda: not server.get("node", "worker")["spec"].get("taints"))
        began = time.monotonic()
        agent.process.kill()
        agent.process.wait()

        def unknown():
            return [c for c in server.get("node", "worker")["status"]["conditions"] if c["type"] == "Ready" and c["status"] == "Unknown"]
        ready = eventually("the silent node is Unknown", unknown, timeout=90, every=0.5)[0]
        self.assertGreater(time.monotonic() - began, 38)  # 50 s after its last heartbeat, of which there is one every 10 s
        self.assertEqual((ready["reason"], ready["message"]), ("NodeStatusUnknown", "Kubelet stopped posting node status."))
        # It is the only node: where all are silent nobody is evicted, and the other taint doesn't come.
        eventually("the taint", lambda: [(t["key"], t["effect"]) for t in server.get("node", "worker")["spec"].get("taints", [])]
                   == [("node.kubernetes.io/unreachable", "NoSchedule")])
        self.assertRegex(server.kubectl("get", "nodes"), r"worker\s+NotReady")
        Agent(self.lab, "worker", b, server.url, server.token())
        self.node_ready(server, "worker")
        eventually("the taints go", lambda: not server.get("node", "worker")["spec"].get("taints"))

    def test_a_restart_keeps_everything_and_a_kill_loses_nothing(self):
        a = self.lab.host()
        server = Server(self.lab, "server", host=a, args=["--disable-agent"]).wait_ready()
        server.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        token, ca = server.token(), open(server.data + "/server/tls/server-ca.crt").read()
        self.assertEqual(server.stop(), 0)
        server.start()
        server.wait_ready()
        self.assertEqual(server.get("configmap", "kept")["data"], {"a": "b"})
        self.assertEqual((server.token(), open(server.data + "/server/tls/server-ca.crt").read()), (token, ca))
        server.kubectl("create", "configmap", "kept2")
        server.stop(signal.SIGKILL)
        server.start()
        server.wait_ready()
        server.get("configmap", "kept2")


if __name__ == "__main__":
    main()
