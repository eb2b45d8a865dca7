"""What changes beneath a cluster that runs: certificates, Nodes that are deleted, the way to servers. Nobody is started again."""

import hashlib
import json
import os
import ssl
import tarfile
import unittest

from harness import BINARY, Agent, Api, Lab, Server, eventually, main, run


# CONNECT for who knows the password, and nothing else.
PROXY = """
import base64, select, socket, socketserver, sys
class Proxy(socketserver.StreamRequestHandler):
    def handle(self):
        target = self.rfile.readline().split()[1].decode()
        headers = {}
        while (line := self.rfile.readline().strip()):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("proxy-authorization") != "Basic " + base64.b64encode(b"me:secret").decode():
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\\r\\nContent-Length: 0\\r\\n\\r\\n")
            return
        host, _, port = target.rpartition(":")
        there = socket.create_connection((host, int(port)), 5)
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
        ends = {self.connection: there, there: self.connection}
        while True:
            for s in select.select(list(ends), [], [])[0]:
                data = s.recv(65536)
                if not data:
                    return
                ends[s].sendall(data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server(("0.0.0.0", int(sys.argv[1])), Proxy).serve_forever()
"""


class Cluster(unittest.TestCase):
    """A server and a node."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.server = Server(cls.lab, "srv", host=cls.lab.host(), args=["--disable-agent"]).wait_ready()
        cls.agent = Agent(cls.lab, "n1", cls.lab.host(), cls.server.url, cls.server.token())
        eventually("the node is there", lambda: cls.node())
        eventually("its tunnel stands", cls.reaches_kubelet)

    @classmethod
    def node(cls):
        return cls.server.get("node", "n1")

    @classmethod
    def reaches_kubelet(cls):
        return cls.server.kubectl("get", "--raw", "/api/v1/nodes/n1/proxy/healthz") == "ok"

    @staticmethod
    def shown(host, address, port):
        """The certificate that is shown there: its fingerprint, and its text."""
        out = run(*host.command("openssl", "s_client", "-connect", f"{address}:{port}", "-servername", "x"), input="", check=False).stdout
        pem = out[out.index("-----BEGIN"):out.index("-----END")] + "-----END CERTIFICATE-----\n"
        text = run("openssl", "x509", "-noout", "-text", input=pem)
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest(), text


class Machine(Cluster):
    def events(self, reason):
        return [e for e in self.server.get("events")["items"] if e["reason"] == reason]

    def test_1_certificates_are_made_anew_while_all_runs(self):
        server_before = self.shown(self.server.host, self.server.address, 6443)[0]
        kubelet_before = self.shown(self.agent.host, "127.0.0.1", 10250)[0]

        def files():
            found = {}
            for folder in (self.server.data + "/server/tls", self.agent.data + "/agent"):
                for name in os.listdir(folder):
                    if name.startswith(("client-", "serving-")) and name.endswith(".crt") and "-ca" not in name:
                        with open(os.path.join(folder, name)) as f:
                            found[folder + name] = f.read()
            return found
        before = files()
        # A watch over the old certificate goes on.
        api = Api(self.server)
        for data in (self.server.data, self.agent.data):
            run(BINARY, "certificate", "rotate", "--data-dir", data)
        eventually("all files are new", lambda: before.keys() == files().keys() and not set(before.values()) & set(files().values()), timeout=90, every=0.2)
        eventually("6443 shows another", lambda: self.shown(self.server.host, self.server.address, 6443)[0] != server_before, timeout=90, every=0.2)
        eventually("10250 shows another", lambda: self.shown(self.agent.host, "127.0.0.1", 10250)[0] != kubelet_before, timeout=90, every=0.2)
        self.assertEqual(api.get("/api/v1/nodes")["kind"], "NodeList")
        # Both ways work with what is new: the node to the API, the server to the kubelet.
        self.assertTrue(self.reaches_kubelet())
        renewed = self.server.get("lease", "-n", "kube-node-lease", "n1")["spec"]["renewTime"]
        eventually("the lease is renewed", lambda: self.server.get("lease", "-n", "kube-node-lease", "n1")["spec"]["renewTime"] != renewed, timeout=90)
        self.assertEqual((self.server.process.poll(), self.agent.process.poll()), (None, None))
        # Told as K3s does.
        self.assertTrue(self.events("CertificateExpirationOK"))
        for metrics in (api.request("GET", "/metrics")[1], self.server.kubectl("get", "--raw", "/api/v1/nodes/n1/proxy/metrics")):
            lines = [l for l in metrics.splitlines() if l.startswith("k3s_certificate_expiration_seconds{")]
            self.assertTrue(all(float(l.split()[-1]) > 120 * 86400 for l in lines))
            self.assertGreater(len(lines), 3)
        self.assertIn('subject="CN=system:node:n1,O=system:nodes",usages="ClientAuth"', metrics)

    def test_0_two_machines_of_one_image(self):
        # The same name, and the same password.
        twin = Agent(self.lab, "twin", self.lab.host(), self.server.url, self.server.token(), args=["--node-name", "n1"],
                     env={"KEDGE_NODE_PASSWORD_FOLDER": os.path.join(self.lab.folder, "n1-node")})
        for one, other in ((self.agent, twin), (twin, self.agent)):
            eventually(f"{one.name} says so\n{one.log()[-800:]}", lambda: f"goes by this node's name \\\"n1\\\" and its password: {other.host.address} " in one.log(), timeout=90, every=0.5)
        self.assertTrue(eventually("an event tells it", lambda: self.events("DuplicateNode")))
        twin.process.terminate()
        twin.process.wait(30)

    def test_2_a_node_that_is_deleted_comes_back(self):
        uid = self.node()["metadata"]["uid"]
        self.server.kubectl("delete", "node", "n1")
        eventually("it registers again", lambda: self.node()["metadata"]["uid"] != uid, timeout=90, every=0.2)
        eventually("its lease is of the new Node",
                   lambda: self.server.get("lease", "-n", "kube-node-lease", "n1")["metadata"]["ownerReferences"][0]["uid"] == self.node()["metadata"]["uid"], timeout=90)
        eventually("the tunnel stands", self.reaches_kubelet, timeout=90)
        # Its password is recorded for the new Node, whose lease it renews: its name is nobody else's, and still its own.
        def owner_of_password():
            found = self.server.get("secret", "-n", "kube-system", "n1.node-password.k3s") or {}
            return found.get("metadata", {}).get("ownerReferences", [{}])[0].get("uid")
        eventually("its password is recorded", lambda: owner_of_password() == self.node()["metadata"]["uid"], timeout=90, every=0.2)
        stranger = Agent(self.lab, "stranger", self.lab.host(), self.server.url, self.server.token(), args=["--node-name", "n1"])
        eventually("a stranger isn't it", lambda: "Node password rejected" in stranger.log(), timeout=90)
        stranger.process.terminate()
        stranger.process.wait(30)
        run(BINARY, "certificate", "rotate", "--data-dir", self.agent.data)
        eventually("it gets certificates", lambda: os.path.exists(self.agent.data + "/agent/client-kubelet.crt"), timeout=90, every=0.2)
        self.assertIsNone(self.agent.process.poll())

    def test_3_an_archive_for_support_has_no_secrets(self):
        self.server.kubectl("create", "secret", "generic", "s", "--from-literal=word=sesame")
        path = os.path.join(self.lab.folder, "inspect.tar.gz")
        env = {**os.environ, "K3S_TOKEN": self.server.token()}
        run(*self.server.host.command(BINARY, "inspect", "--data-dir", self.server.data, "--output", path), env=env)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with tarfile.open(path) as tar:
            texts = {os.path.basename(m.name): tar.extractfile(m).read().decode() for m in tar}
        self.assertIn("[+]etcd ok", texts["readyz.txt"])
        self.assertIn("server/tls/client-admin.key", texts["files.txt"])
        self.assertIn("apiserver_request_total", texts["metrics.txt"])
        self.assertIn("k3s_certificate_expiration_seconds", texts["certificates.txt"])
        self.assertEqual([n["metadata"]["name"] for n in json.loads(texts["nodes.json"])["items"]], ["n1"])
        with open(self.server.data + "/server/tls/client-admin.key") as f:
            key = f.read().splitlines()[1]
        for secret in (self.server.token(), self.server.token().rpartition(":")[2], "sesame", "c2VzYW1l", key, "PRIVATE KEY"):
            self.assertNotIn(secret, "".join(texts.values()))

    def test_4_an_agent_behind_a_proxy(self):
        """That reaches its server by nothing else, and must say who it is to the proxy."""
        proxy, inside = self.lab.host(), self.lab.host()
        run(*inside.command("nft", "-f", "-"), input="table inet only {\n chain out { type filter hook output priority 0;\n"
            f"  ip daddr {self.server.address} drop\n }}\n}}\n")
        self.lab.start("proxy", proxy.command("python3", "-c", PROXY, "3128"))
        environment = {"K3S_AGENT_HTTP_PROXY_ALLOWED": "true", "NO_PROXY": "192.168.0.0/16"}
        url = f"me:secret@{proxy.address}:3128"
        wrong = Agent(self.lab, "n2", inside, self.server.url, self.server.token(), env={**environment, "HTTPS_PROXY": f"http://{proxy.address}:3128"})
        eventually("it says what the proxy wants", lambda: "wants a password" in wrong.log(), timeout=90)
        wrong.process.terminate()
        wrong.process.wait(20)
        right = Agent(self.lab, "n2", inside, self.server.url, self.server.token(), env={**environment, "HTTPS_PROXY": "http://" + url})
        eventually("the node is there", lambda: self.server.get("node", "n2"), timeout=90)
        eventually("its tunnel stands", lambda: self.server.kubectl("get", "--raw", "/api/v1/nodes/n2/proxy/healthz") == "ok", timeout=90)
        self.assertNotIn("has no effect", right.log())
        self.assertNotIn("secret", right.log())

    def test_5_machines_of_one_image_under_names_of_their_own(self):
        boot = os.path.join(self.lab.folder, "boot-id")
        with open(boot, "w") as f:
            f.write("00000000-1111-2222-3333-444444444444\n")
        etc = os.path.join(self.lab.folder, "copy/agent/etc")
        os.makedirs(etc)
        with open(os.path.join(etc, "machine.json"), "w") as f:
            json.dump({"machineId": "0" * 32, "macAddresses": []}, f)
        copy = Agent(self.lab, "copy", self.lab.host(), self.server.url, self.server.token(), prefix=[
            "unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', boot])
        told = lambda reason: {e["involvedObject"]["name"]: e["message"] for e in self.events(reason)}
        both = eventually(f"events of both tell it\n{copy.log()[-800:]}", lambda: (t := told("DuplicateMachineID")) and t.keys() == {"n1", "copy"} and t, timeout=90, every=0.5)
        self.assertIn('the nodes "n1" and "copy" are machines of one machine-id', both["copy"])
        self.assertIn("are machines of one machine-id", self.server.log())
        self.assertIn("this disk ran in another machine before", eventually("where its disk ran before", lambda: told("DiskOfAnotherMachine").get("copy"), timeout=90))
        # Agents beside each other on one machine are nothing to speak of.
        beside = Agent(self.lab, "beside", self.lab.host(), self.server.url, self.server.token())
        eventually("it is there", lambda: self.server.get("node", "beside"), timeout=90)
        eventually("it says so", lambda: "Starting" in {e["reason"] for e in self.server.get("events")["items"] if e["involvedObject"]["name"] == "beside"}, timeout=90)
        self.assertEqual(told("DuplicateMachineID").keys(), {"n1", "copy"})
        for one in (copy, beside):
            one.process.terminate()
            one.process.wait(30)

    def test_6_a_machine_that_takes_a_broken_ones_place(self):
        """Under its name. It is told what to do, and waits until that is done."""
        old = Agent(self.lab, "old", self.lab.host(), self.server.url, self.server.token(), args=["--node-name", "edge"])
        eventually("the node is there", lambda: self.server.get("node", "edge"), timeout=90)
        uid = self.server.get("node", "edge")["metadata"]["uid"]
        old.process.kill()
        old.process.wait(30)
        new = Agent(self.lab, "new", self.lab.host(), self.server.url, self.server.token(), args=["--node-name", "edge"])
        eventually("it is told why not", lambda: "Node password rejected" in new.log() and "edge.node-password.k3s" in new.log(), timeout=90)
        self.server.kubectl("delete", "node", "edge")
        eventually(f"it is the node\n{new.log()[-800:]}", lambda: self.server.get("node", "edge")["metadata"]["uid"] != uid, timeout=90, every=0.2)
        address = lambda: [a["address"] for a in self.server.get("node", "edge")["status"]["addresses"] if a["type"] == "InternalIP"]
        self.assertEqual(address(), [new.host.address])
        eventually("its tunnel stands", lambda: self.server.kubectl("get", "--raw", "/api/v1/nodes/edge/proxy/healthz") == "ok", timeout=90)
        self.assertIsNone(new.process.poll())
        # The broken one was repaired, and comes back.
        again = Agent(self.lab, "old", old.host, self.server.url, self.server.token(), args=["--node-name", "edge"])
        eventually("its name is another's now", lambda: again.log().count("Node password rejected") >= 1, timeout=90)
        for one in (again, new):
            one.process.terminate()
            one.process.wait(30)


if __name__ == "__main__":
    main()
