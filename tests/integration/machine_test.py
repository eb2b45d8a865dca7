"""What changes beneath a cluster that runs: certificates, Nodes that are deleted, the way to servers. Nobody is started again."""

import datetime
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
        # Agents beside each other on one machine are nothing to speak of: they are of one boot.
        beside = Agent(self.lab, "beside", self.lab.host(), self.server.url, self.server.token())
        eventually("it is there", lambda: self.server.get("node", "beside"), timeout=90)
        of_node = lambda name: self.server.get("node", name)["status"].get("nodeInfo", {})
        eventually("it says which", lambda: of_node("beside").get("bootID"), timeout=90)
        for fact in ("machineID", "bootID"):
            self.assertEqual(of_node("n1")[fact], of_node("beside")[fact])
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


class Ends(unittest.TestCase):
    """Certificates that are to end soon, and that have ended while the machine was off."""

    CA = """[ca]
default_ca = one
[one]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
copy_extensions = copy
[any]
organizationName = optional
commonName = supplied
"""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.tls = os.path.join(cls.lab.folder, "srv/server/tls")
        os.makedirs(cls.tls)
        for name in ("server-ca", "client-ca", "request-header-ca"):
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{cls.tls}/{name}.key",
                "-out", f"{cls.tls}/{name}.crt", "-days", "60", "-subj", f"/CN=old-{name}", "-addext", "keyUsage=critical,digitalSignature,keyCertSign")
        cls.server = Server(cls.lab, "srv", host=cls.lab.host(), args=["--disable-agent"]).wait_ready()
        cls.agent = Agent(cls.lab, "n1", cls.lab.host(), cls.server.url, cls.server.token())

    def end(self, folder, stem, ca, begins="20200101000000Z", ends="20210101000000Z"):
        """The same certificate with other times: as one that ended years ago."""
        work = os.path.join(self.lab.folder, "ca")
        os.makedirs(work, exist_ok=True)
        for name, text in (("index", ""), ("serial", "01\n"), ("conf", self.CA.format(folder=work))):
            with open(os.path.join(work, name), "w") as f:
                f.write(text)
        subject = run("openssl", "x509", "-in", f"{folder}/{stem}.crt", "-noout", "-subject", "-nameopt", "compat").strip().removeprefix("subject=").strip()
        run("openssl", "req", "-new", "-key", f"{folder}/{stem}.key", "-subj", subject, "-out", f"{work}/csr")
        run("openssl", "ca", "-batch", "-notext", "-config", f"{work}/conf", "-cert", f"{self.tls}/{ca}.crt", "-keyfile", f"{self.tls}/{ca}.key",
            "-startdate", begins, "-enddate", ends, "-in", f"{work}/csr", "-out", f"{work}/crt")
        os.replace(f"{work}/crt", f"{folder}/{stem}.crt")

    @staticmethod
    def states(data):
        """Of each file's first certificate: behind it, authorities ride along."""
        said = json.loads(run(BINARY, "certificate", "check", "--data-dir", data, "--output", "json"))
        return {os.path.basename(s["file"]): s["status"] for s in reversed(said)}

    def test_1_who_runs_is_told_before_they_end(self):
        """Of authorities, which somebody has to replace; what they signed is made anew in time, by who runs."""
        told = lambda reason: [e for e in self.server.get("events")["items"] if e["reason"] == reason and e["involvedObject"]["name"] == "n1"]
        authorities = eventually("an event tells of the authorities", lambda: told("CACertificateExpirationWarning"), timeout=90)[0]
        self.assertEqual(authorities["type"], "Warning")
        self.assertIn("CN=old-client-ca will expire within 365 days", authorities["message"])
        reach = lambda: self.server.kubectl("get", "--raw", "/api/v1/nodes/n1/proxy/metrics")
        for metrics in (Api(self.server).request("GET", "/metrics")[1], eventually("the node answers", reach, timeout=90)):
            ends = {l.split('"')[1]: float(l.split()[-1]) for l in metrics.splitlines() if l.startswith("k3s_certificate_expiration_seconds{")}
            self.assertTrue(59 * 86400 < ends.pop("CN=old-client-ca") <= 60 * 86400)
            self.assertTrue(any(left > 120 * 86400 for left in ends.values()), ends)
        now = datetime.datetime.now(datetime.timezone.utc)
        times = [(now + datetime.timedelta(days=d)).strftime("%Y%m%d%H%M%SZ") for d in (-1, 30)]
        self.end(f"{self.agent.data}/agent", "client-kubelet", "client-ca", *times)
        eventually(f"the node's is made anew\n{self.agent.log()[-800:]}", lambda: self.states(self.agent.data).get("client-kubelet.crt") == "OK" and "will expire within 120 days" in self.agent.log(), timeout=90, every=0.5)
        self.assertEqual((self.server.process.poll(), self.agent.process.poll()), (None, None))

    def test_2_what_ended_meanwhile_is_made_anew_at_the_start(self):
        eventually("the node is there", lambda: self.server.get("node", "n1"), timeout=90)
        self.agent.process.terminate()
        self.agent.process.wait(30)
        self.assertEqual(self.server.stop(), 0)
        with open(self.server.kubeconfig) as f:
            kept = f.read()
        for name in os.listdir(self.tls):
            if name.startswith("client-") and name.endswith(".crt") and "-ca" not in name and os.path.exists(f"{self.tls}/{name[:-4]}.key"):
                self.end(self.tls, name[:-4], "client-ca")
        for stem in ("client-kubelet", "client-kube-proxy", "client-k3s-controller"):
            self.end(f"{self.agent.data}/agent", stem, "client-ca")
        self.end(f"{self.agent.data}/agent", "serving-kubelet", "server-ca")
        self.assertIn("EXPIRED", self.states(self.server.data).values())
        # Who comes with one that ended is refused for that.
        with open(f"{self.tls}/client-admin.crt") as crt, open(f"{self.tls}/client-admin.key") as key, open(os.path.join(self.lab.folder, "ended.pem"), "w") as f:
            f.write(crt.read() + key.read())
        self.server.start()
        self.server.wait_ready()
        self.assertIn("client-admin", self.server.log())
        self.assertNotEqual(kept, open(self.server.kubeconfig).read())
        self.agent = Agent(self.lab, "n1", self.agent.host, self.server.url, self.server.token())
        eventually("its tunnel stands", lambda: self.server.kubectl("get", "--raw", "/api/v1/nodes/n1/proxy/healthz") == "ok", timeout=90)
        for data in (self.server.data, self.agent.data):
            self.assertNotIn("EXPIRED", self.states(data).values())
        said = run("curl", "-ski", "--cert", os.path.join(self.lab.folder, "ended.pem"), self.server.url + "/api/v1/nodes")
        self.assertRegex(said, r'(?s)^HTTP/\S+ 401 .*[Ww]arning: 299 - "the client certificate of \\"system:admin\\": it ended at 2021-01-01T00:00:00Z')
        pair = os.path.join(self.lab.folder, "ended.pem")
        refused = run("kubectl", "--kubeconfig", "/dev/null", "--server", self.server.url, "--certificate-authority", f"{self.tls}/server-ca.crt", "--client-certificate", pair,
                      "--client-key", pair, "get", "nodes", check=False, env={**os.environ, "HOME": self.lab.folder})
        self.assertIn('the client certificate of "system:admin": it ended at 2021-01-01T00:00:00Z', refused.stderr)
        self.assertIn("You must be logged in to the server", refused.stderr)


if __name__ == "__main__":
    main()
