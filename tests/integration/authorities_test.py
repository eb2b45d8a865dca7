"""The cluster's authorities are replaced while three servers and their nodes work: nobody is started again, and nothing fails."""

import os
import re
import shutil
import threading
import time
import unittest

from ha_lab import Client, HaLab, Postgres, Writers
from harness import BINARY, eventually, main, run

SERVER_ONLY = ["--disable-agent"]


class Reader:
    """Asks a node's kubelet through a server, again and again, and remembers what failed."""

    def __init__(self, kubeconfig, address, node):
        self.client, self.path = Client(kubeconfig, address), f"/api/v1/nodes/{node}/proxy/healthz"
        self.failures, self.answers, self.gap = [], 0, 0.0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        last = time.monotonic()
        while not self.stopping.wait(0.05):
            try:
                status, text = self.client.request("GET", self.path)
                good = status == 200 and text == b"ok"
            except OSError as e:
                good, status, text = False, 0, str(e)
            if good:
                now = time.monotonic()
                self.gap, last, self.answers = max(self.gap, now - last), now, self.answers + 1
            else:
                self.failures.append(f"{status} {text[:200]!r}")

    def end(self):
        self.stopping.set()
        self.thread.join(20)
        self.client.close()


class Authorities(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = HaLab()
        cls.addClassCleanup(cls.lab.close)
        db = Postgres(cls.lab, cls.lab.host())
        cls.servers = [cls.lab.server(f"s{i}", db, args=SERVER_ONLY) for i in (1, 2, 3)]
        for s in cls.servers:
            s.wait_ready(120)
        cls.first = cls.servers[0]
        # One has a token that names the authority of today, the other one that names none.
        cls.agents = [cls.lab.agent("n1", cls.first.url, token=cls.first.token()), cls.lab.agent("n2", cls.servers[1].url)]
        for a in cls.agents:
            eventually(f"{a.name}'s tunnel stands\n{a.log()[-1000:]}", lambda: cls.first.kubectl("get", "--raw", f"/api/v1/nodes/{a.name}/proxy/healthz") == "ok", timeout=120)
        cls.old_kubeconfig = cls.first.kubeconfig + ".old"
        shutil.copy(cls.first.kubeconfig, cls.old_kubeconfig)
        cls.folder = os.path.join(cls.lab.folder, "new-ca")
        os.makedirs(cls.folder + "/tls")

    def make(self, *names):
        for name in names:
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{self.folder}/tls/{name}.key",
                "-out", f"{self.folder}/tls/{name}.crt", "-days", "3650", "-subj", f"/CN=new-{name}",
                "-addext", "keyUsage=critical,digitalSignature,keyCertSign")

    def rotate(self, *args, check=True):
        return run(*self.first.host.command(BINARY, "certificate", "rotate-ca", "--data-dir", self.first.data, "--path", self.folder, *args), check=check)

    def issuer_shown(self, server):
        out = run(*server.host.command("openssl", "s_client", "-connect", f"{server.address}:6443"), input="", check=False).stdout
        return run("openssl", "x509", "-noout", "-issuer", input=out[out.index("-----BEGIN"):out.index("-----END")] + "-----END CERTIFICATE-----\n").strip()

    @staticmethod
    def read(path):
        with open(path) as f:
            return f.read()

    def kubectl(self, kubeconfig, *args, check=True):
        return run("kubectl", "--kubeconfig", kubeconfig, "--server", self.servers[2].url, "--cache-dir", self.lab.folder + "/cache", *args, check=check)

    def all_live(self):
        self.assertEqual({p.poll() for p in (*(s.process for s in self.servers), *(a.process for a in self.agents))}, {None})

    def load(self, kubeconfig, label):
        addresses = [s.address for s in self.servers]
        return [Writers(kubeconfig, addresses, label, clients=3, pause=0.1, timeout=20)] + [Reader(kubeconfig, s.address, a.name) for s in self.servers[:2] for a in self.agents]

    def nothing_failed(self, load):
        load[0].progress(20)
        for one in load:
            one.end()
        self.assertEqual([one.failures for one in load], [[] for _ in load])
        self.assertLess(max(r.gap for r in load[1:]), 10)

    def test_1_what_is_given_is_looked_at(self):
        refused = self.rotate(check=False)
        self.assertIn("has none of server-ca.crt", refused.stderr)
        self.make("server-ca", "client-ca", "request-header-ca")
        before = self.read(self.first.data + "/server/tls/server-ca.crt")
        refused = self.rotate(check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("tls/server-ca.crt: new CA bundle contains only a single certificate", refused.stderr)
        # What can't work isn't forced either.
        key = self.read(self.folder + "/tls/client-ca.key")
        shutil.copy(self.folder + "/tls/server-ca.key", self.folder + "/tls/client-ca.key")
        refused = self.rotate("--force", check=False)
        self.assertIn("tls/client-ca.crt: the private key does not belong to the CA certificate", refused.stderr)
        with open(self.folder + "/tls/client-ca.key", "w") as f:
            f.write(key)
        self.assertEqual(self.read(self.first.data + "/server/tls/server-ca.crt"), before)

    def test_2_unrelated_authorities_while_all_work(self):
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.folder + "/tls/service.key")
        account_token = self.first.kubectl("create", "token", "default").strip()
        load = self.load(self.old_kubeconfig, "forced")
        load[0].progress(20)
        self.assertIn("has the new authorities", self.rotate("--force"))
        for s in self.servers:
            eventually(f"{s.name} shows a certificate of the new authority\n{s.log()[-1500:]}", lambda: "new-server-ca" in self.issuer_shown(s), timeout=60, every=0.5)
        for a in self.agents:
            eventually(f"{a.name} has the new authorities\n{a.log()[-1500:]}", lambda: self.read(a.data + "/agent/server-ca.crt") == self.read(self.first.data + "/server/tls/server-ca.crt")
                       and self.read(a.data + "/agent/client-ca.crt") == self.read(self.first.data + "/server/tls/client-ca.crt"), timeout=90, every=0.5)
            eventually("its certificate is of the new one", lambda: "new-client-ca" in run("openssl", "x509", "-noout", "-issuer", "-in", a.data + "/agent/client-kubelet.crt"), timeout=30, every=0.5)
            # Three more than there were, and no request through them failed (below).
            eventually("its tunnels are of the new one, too", lambda: len(re.findall("tunnel to .* is open", a.log())) >= 6, timeout=60, every=0.5)
        self.nothing_failed(load)
        self.all_live()
        # Who knows the old ones alone goes on, over new connections too; and who knows the new one alone, with a token of before.
        self.assertIn("n1", self.kubectl(self.old_kubeconfig, "get", "nodes"))
        self.assertIn("n1", self.kubectl(self.first.kubeconfig, "get", "nodes"))
        self.assertIn("system:serviceaccount:default:default", run("kubectl", "--server", self.servers[1].url, "--certificate-authority", self.folder + "/tls/server-ca.crt",
                                                                  "--token", account_token, "auth", "whoami", "--kubeconfig", "/dev/null"))
        published = eventually("pods are told", lambda: (c := self.first.get("configmap", "kube-root-ca.crt")["data"]["ca.crt"]) == self.read(self.first.data + "/server/tls/server-ca.crt") and c)
        self.assertEqual(published.count("BEGIN CERTIFICATE"), 3)
        trusted = self.first.get("configmap", "-n", "kube-system", "extension-apiserver-authentication")["data"]["requestheader-client-ca-file"]
        self.assertIn(self.read(self.folder + "/tls/request-header-ca.crt").strip(), trusted)
        # Tokens are signed by the new key, as soon as all know it.
        jwks = lambda: self.first.kubectl("get", "--raw", "/openid/v1/jwks")
        self.assertEqual(jwks().count('"kid"'), 2)
        eventually("the new key signs", lambda: any("signed by the new key" in s.log() for s in self.servers), timeout=60, every=0.5)
        # A machine joins with the token of before, which names the old authority.
        late = self.lab.agent("n3", self.servers[1].url, token=self.agents[0].token)
        self.agents.append(late)
        eventually(f"n3 joins\n{late.log()[-1000:]}", lambda: self.first.get("node", "n3"), timeout=60, every=0.5)

    def test_3_the_old_ones_end(self):
        load = self.load(self.first.kubeconfig, "ended")
        load[0].progress(20)
        self.rotate()
        for s in self.servers:
            eventually(f"{s.name} goes by the new one alone\n{s.log()[-1500:]}", lambda: self.read(s.data + "/server/tls/client-ca.crt").count("BEGIN") == 1 and s.log().count("goes by the cluster's new authorities") == 2, timeout=60, every=0.5)
        for a in self.agents:
            eventually(f"{a.name} too\n{a.log()[-1500:]}", lambda: self.read(a.data + "/agent/server-ca.crt").count("BEGIN") == 1, timeout=90, every=0.5)
        self.nothing_failed(load)
        self.all_live()
        refused = self.kubectl(self.old_kubeconfig, "get", "nodes", check=False)
        self.assertIn("certificate signed by unknown authority", refused.stderr)
        for a in self.agents:
            self.assertEqual(self.first.kubectl("get", "--raw", f"/api/v1/nodes/{a.name}/proxy/healthz"), "ok")
        self.assertIn("the cluster has these authorities and keys already", self.rotate(check=False).stderr)
        # What stands is what the next start finds.
        victim = self.servers[2]
        self.assertEqual(victim.stop(), 0, victim.log())
        victim.start()
        victim.wait_ready(60)
        self.assertIn("new-server-ca", self.issuer_shown(victim))


if __name__ == "__main__":
    main()
