"""Nodes give each other images: two machines with a containerd each, images made on the spot, and no registry that answers."""

import glob
import json
import os
import shutil
import unittest

from harness import Agent, Failed, Server, eventually, main, run
from runtime import ARGS, BUSYBOX, RuntimeLab, image, ready_node


class Mirror(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        pause, busybox = cls.lab.archives
        cls.lab.archives = []  # what nodes have they find by themselves
        # Registries where nobody listens: this machine's end of the bridge.
        shared, other = f"{cls.lab.gateway}:5999", f"{cls.lab.gateway}:5998"
        cls.marked, cls.latest, cls.other = f"{shared}/library/marked:1", f"{shared}/library/marked:latest", f"{other}/library/other:1"
        registries = os.path.join(cls.lab.folder, "registries.yaml")
        with open(registries, "w") as f:
            json.dump({"mirrors": {"docker.io": {}, shared: {}}}, f)
        made = [image(cls.lab.folder, name, [], ["sh"], files=[("bin/mark", os.urandom(3 << 20))]) for name in (cls.marked, cls.latest, cls.other)]
        for node, archives in (("server", [pause, busybox, *made]), ("edge", [pause])):
            folder = os.path.join(cls.lab.folder, node, "agent/images")
            os.makedirs(folder)
            for path in archives:
                shutil.copy(path, folder)
        more = [*ARGS, "--private-registry", registries]
        cls.server = Server(cls.lab, "server", host=cls.lab.host(), args=[*more, "--embedded-registry"]).wait_ready()
        cls.agent = Agent(cls.lab, "edge", cls.lab.host(), cls.server.url, cls.server.token(), args=more)
        for node in (cls.server, cls.agent):
            cls.lab.adopt(node)
        for name in ("server", "edge"):
            ready_node(cls.server, name)
        eventually("the images lie on the first node", lambda: cls.marked in cls.lab.ctr(cls.server, "images", "list", "-q"), timeout=60)
        eventually("both know that they share", lambda: all("shares images" in n.log() for n in (cls.server, cls.agent)))
        eventually("the other node knows whom to ask", lambda: "kedge_mirror_peers 2\n" in cls.metrics("edge"), timeout=60)

    @classmethod
    def metrics(cls, node):
        return cls.server.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics")

    def pull(self, name):
        """On the second node, from where its hosts.toml says."""
        hosts = os.path.join(self.agent.data, "agent/etc/containerd/certs.d")
        return run(*self.agent.host.command("ctr", "-a", self.agent.containerd, "-n", "k8s.io", "images", "pull", "--hosts-dir", hosts, name))

    def has(self, name):
        return name in self.lab.ctr(self.agent, "images", "list", "-q").split()

    def test_1_an_image_comes_from_another_node(self):
        self.assertFalse(self.has(BUSYBOX))
        self.server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "far"}, "spec": {
            "nodeName": "edge", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": BUSYBOX, "command": ["sleep", "1000"]}]}}))
        eventually("a pod runs with it", lambda: self.server.get("pod", "far")["status"].get("phase") == "Running", timeout=60)
        self.assertTrue(self.has(BUSYBOX))
        self.assertRegex(self.metrics("edge"), r'spegel_mirror_requests_total\{registry="docker.io",cache="hit"\} [1-9]')
        self.assertEqual("true", self.server.get("node", "edge")["metadata"]["labels"]["p2p.k3s.cattle.io/enabled"])

    def test_2_what_is_damaged_or_not_shared_does_not_come(self):
        before = self.lab.ctr(self.agent, "content", "list", "-q").split()
        for name in (self.latest, self.other):
            with self.assertRaises(Failed):
                self.pull(name)
        self.assertEqual(before, self.lab.ctr(self.agent, "content", "list", "-q").split())
        # The layer on the first node's disk is not what it was.
        blobs = glob.glob(os.path.join(self.server.data, "agent/containerd/io.containerd.content.v1.content/blobs/sha256/*"))
        damaged = [b for b in blobs if os.path.getsize(b) > 3 << 20]
        self.assertTrue(damaged)
        for blob in damaged:
            os.chmod(blob, 0o600)
            with open(blob, "r+b") as f:
                f.seek(2 << 20)
                f.write(b"not what it was")
        with self.assertRaises(Failed):
            self.pull(self.marked)
        self.assertFalse(self.has(self.marked))
        self.assertIn("gave an image's content that is damaged", self.agent.log())

    def test_3_nobody_but_nodes_gets_anything(self):
        path = "/v2/library/busybox/manifests/test?ns=docker.io"
        url = f"https://{self.server.address}:10250{path}"
        curl = self.server.host.command("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}")
        agent = os.path.join(self.agent.data, "agent")
        self.assertEqual("401", run(*curl, url))
        self.assertEqual("403", run(*curl, "--cert", agent + "/client-kube-proxy.crt", "--key", agent + "/client-kube-proxy.key", url))
        node = ["--cert", agent + "/client-kubelet.crt", "--key", agent + "/client-kubelet.key"]
        self.assertEqual("200", run(*curl, *node, url))
        self.assertEqual("405", run(*curl, *node, "-X", "DELETE", url))
        self.assertEqual("404", run(*curl, *node, url.replace("docker.io", "quay.example")))


if __name__ == "__main__":
    main()
