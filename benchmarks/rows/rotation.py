"""All certificates of a cluster under load made anew, and its authorities replaced."""

import os
import sys
import threading
import time

from . import kit

SERVERS, AGENTS = 3, 4


class Kubelet:
    """Asks a node's kubelet through a server's tunnel, again and again: what failed, and the longest time without an answer."""

    def __init__(self, ha, kubeconfig, address, node):
        self.client, self.path = ha.Client(kubeconfig, address), f"/api/v1/nodes/{node}/proxy/healthz"
        self.failed, self.asked, self.gap, self.stopping = 0, 0, 0.0, threading.Event()
        self.errors = (OSError, ha.http.client.HTTPException)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        last = time.monotonic()
        while not self.stopping.wait(0.02):
            try:
                good = self.client.request("GET", self.path)[0] == 200
            except self.errors:
                good = False
            now = time.monotonic()
            self.asked, self.failed = self.asked + 1, self.failed + (not good)
            if good:
                self.gap, last = max(self.gap, now - last), now

    def end(self):
        self.stopping.set()
        self.thread.join(20)
        self.client.close()


def rotation():
    os.environ["KEDGE_BINARY"] = kit.KEDGE
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tests/integration"))
    import ha_lab as ha
    from harness import eventually, run
    lab = ha.HaLab()
    try:
        database = ha.Postgres(lab, lab.host())
        servers = [lab.server(f"s{i + 1}", database, args=["--disable-agent"]) for i in range(SERVERS)]
        for s in servers:
            s.wait_ready(90)
        first = servers[0]
        agents = [lab.agent(f"n{i + 1}", first.url) for i in range(AGENTS)]
        for a in agents:
            eventually(f"{a.name}'s tunnel stands", lambda: first.kubectl("get", "--raw", f"/api/v1/nodes/{a.name}/proxy/healthz") == "ok", timeout=120)
        folder = os.path.join(lab.folder, "new")
        os.makedirs(folder + "/tls")
        for name in ("server-ca", "client-ca", "request-header-ca"):
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{folder}/tls/{name}.key",
                "-out", f"{folder}/tls/{name}.crt", "-days", "3650", "-subj", f"/CN=new-{name}", "-addext", "keyUsage=critical,digitalSignature,keyCertSign")

        def read(path):
            with open(path, "rb") as f:
                return f.read()

        def leaves():
            return {path: read(path) for path in (*(f"{s.data}/server/tls/client-admin.crt" for s in servers), *(f"{a.data}/agent/client-kubelet.crt" for a in agents))
                    if os.path.exists(path)}

        def all_renewed():
            for one in (*servers, *agents):
                run(kit.KEDGE, "certificate", "rotate", "--data-dir", one.data)

        def authorities():
            run(*first.host.command(kit.KEDGE, "certificate", "rotate-ca", "--data-dir", first.data, "--path", folder, "--force"))

        for what, change in (("all certificates renewed", all_renewed), ("all authorities replaced by unrelated ones", authorities)):
            writers = ha.Writers(first.kubeconfig, [s.address for s in servers], what.split()[1], clients=6, pause=0.01)
            kubelets = [Kubelet(ha, first.kubeconfig, servers[i % SERVERS].address, a.name) for i, a in enumerate(agents)]
            writers.progress(50)
            before, at = leaves(), time.monotonic()
            change()
            eventually("all have new certificates", lambda: len(now := leaves()) == len(before) and not any(now[p] == before[p] for p in before), timeout=120)
            took = time.monotonic() - at
            writers.progress(50)
            writers.end()
            for k in kubelets:
                k.end()
            ended = sum(one.process.poll() is not None for one in (*servers, *agents))
            kit.row(f"{what}, of {SERVERS} servers and {AGENTS} agents under load",
                    f"{len(writers.failures)} of {len(writers.acknowledged) + len(writers.failures):,} writes and {sum(k.failed for k in kubelets)} of "
                    f"{sum(k.asked for k in kubelets):,} requests through tunnels failed, {ended} processes ended; longest time without an answer through a tunnel "
                    f"{max(k.gap for k in kubelets) * 1000:.0f} ms; done after {took:.0f} s", "", "", "0 fail, 0 restarts, tunnels ≤ 1 s")
    finally:
        lab.close()
