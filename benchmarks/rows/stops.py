"""What clients of four nodes' balancers notice when a server is killed, and when one is stopped."""

import os
import signal
import sys
import threading
import time

from . import kit

CLIENTS_A_NODE = 2
ROUNDS = 3


class Requests:
    """Clients on those hosts, each with one kept connection to its node's balancer; what they asked, when, and whether it was answered."""

    def __init__(self, ha, kubeconfig, hosts):
        self.ha, self.stopping, self.asked = ha, threading.Event(), []
        self.threads = [threading.Thread(target=self.work, args=(kubeconfig, h, []), daemon=True) for h in hosts for _ in range(CLIENTS_A_NODE)]
        for t in self.threads:
            t.start()

    def work(self, kubeconfig, host, asked):
        self.asked.append(asked)
        self.ha.enter(host)
        client, name = self.ha.Client(kubeconfig, "127.0.0.1", 6444), f"{host.name}-{threading.get_ident()}"
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                status, _ = client.request("POST", self.ha.MAPS, {"metadata": {"name": f"{name}-{len(asked)}"}})
            except (OSError, self.ha.http.client.HTTPException):
                status = 0
            asked.append((began, time.monotonic(), status == 201))
            self.stopping.wait(0.002)
        client.close()

    def failures(self, since):
        """Of each failed request: when it began, and how long after its end the same client was answered."""
        found = []
        for asked in self.asked:
            for i, (began, ended, ok) in enumerate(asked):
                if began < since - 30 or ended < since or ok:
                    continue
                after = next((e for _, e, fine in asked[i + 1:] if fine), float("inf"))
                found.append((began, after - ended))
        return found

    def count(self):
        return sum(len(a) for a in self.asked)

    def end(self):
        self.stopping.set()
        for t in self.threads:
            t.join(20)


def stops():
    os.environ["KEDGE_BINARY"] = kit.KEDGE
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tests/integration"))
    import ha_lab as ha
    from harness import eventually, is_ready
    lab = ha.HaLab()
    try:
        database, front = ha.Postgres(lab, lab.host()), lab.host()
        servers = [lab.server(f"s{i}", database, args=["--disable-agent", "--tls-san", front.address]) for i in (1, 2, 3)]
        address = ha.Haproxy(lab, front, servers)
        for s in servers:
            s.wait_ready(90)
        agents = [lab.agent(f"n{i}", address.url) for i in (1, 2, 3, 4)]
        api = ha.Client(servers[0].kubeconfig, front.address)
        for a in agents:
            eventually(f"{a.name} is Ready", lambda: is_ready(api.get(f"/api/v1/nodes/{a.name}")), timeout=120)
        requests = Requests(ha, servers[0].kubeconfig, [a.host for a in agents])
        time.sleep(8)  # until each agent uses its own server
        for what, number, wanted in (("killed -9", signal.SIGKILL, "only those in flight; ≤ 100 ms"), ("stopped", signal.SIGTERM, "none")):
            failed, in_flight, total = [], 0, requests.count()
            for i in range(ROUNDS):
                at = time.monotonic()
                servers[i].stop(number)
                gone = time.monotonic()
                time.sleep(3)
                lost = requests.failures(at)
                failed += lost
                in_flight += sum(began <= gone for began, _ in lost)
                servers[i].start()
                servers[i].wait_ready(90)
                time.sleep(8)
            found = f"{len(failed)} of {requests.count() - total:,} requests failed"
            if failed:
                found += f", {in_flight} of them begun before it was gone; the next one was answered after at most {max(x for _, x in failed) * 1000:.0f} ms"
            kit.row(f"{ROUNDS} servers in turn {what} under {len(agents) * CLIENTS_A_NODE} clients of {len(agents)} nodes' balancers", found, "", "", wanted)
        requests.end()
    finally:
        lab.close()
