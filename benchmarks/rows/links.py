"""Three servers on PostgreSQL, in namespaces of their own: the way of one of them to the database is slow, or gone."""

import contextlib
import os
import statistics
import sys
import threading
import time

from . import kit

SECONDS = 30


@contextlib.contextmanager
def three_servers():
    os.environ["KEDGE_BINARY"] = kit.KEDGE
    sys.path.insert(0, os.path.join(kit.ROOT, "tests/integration"))
    import ha_lab as ha
    lab = ha.HaLab()
    try:
        database = ha.Postgres(lab, lab.host())
        servers = [lab.server(f"s{i}", database, args=["--disable-agent"]) for i in (1, 2, 3)]
        for s in servers:
            s.wait_ready(90)
        yield ha, database, servers, ha.Wire(lab, servers[1].host)
    finally:
        lab.close()


class Stream:
    """Writes of `size` bytes at a server, one each `pause` seconds."""

    def __init__(self, ha, server, size, pause):
        self.ha, self.size, self.pause, self.over, self.took = ha, size, pause, threading.Event(), []
        self.client = ha.Client(server.kubeconfig, server.address)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        n = 0
        while not self.over.wait(self.pause):
            began, n = time.monotonic(), n + 1
            status, text = self.client.request("POST", self.ha.MAPS, {"metadata": {"name": f"s{self.size}-{id(self)}-{n}"}, "data": {"k": "x" * self.size}})
            self.took.append((began, time.monotonic() - began))
            if status != 201:
                raise SystemExit(f"{status} {text[:300]}")

    def end(self):
        self.over.set()
        self.thread.join(60)
        self.client.close()


def slow():
    with three_servers() as (ha, database, servers, wire):
        streams = [Stream(ha, servers[0], 200_000, 0.15), Stream(ha, servers[0], 300, 0.02), Stream(ha, servers[2], 300, 0.02)]
        time.sleep(SECONDS)
        slowed = time.monotonic()
        wire.slow_down(database.host.address, 200)
        time.sleep(SECONDS)
        for s in streams:
            s.end()
        took = [t for s in streams for t in s.took]
        before, after = ([t for began, t in took if (began >= slowed) == late] for late in (False, True))
        wire.heal()
        kit.row("one of three servers behind a link of 200 KB/s, 1.3 MB/s of writes: slowest write at the others",
                f"{max(after) * 1000:.0f} ms (p50 {statistics.median(after) * 1000:.1f} ms) of {len(after):,}", f"before {max(before) * 1000:.0f} ms (p50 {statistics.median(before) * 1000:.1f} ms)", "", "≤ 50 ms")


def cut():
    with three_servers() as (ha, database, servers, wire):
        server, unready, refused = servers[1], [], []
        for _ in range(kit.ROUNDS):
            ready, writer = (ha.Client(server.kubeconfig, server.address) for _ in range(2))
            if ready.request("GET", "/readyz")[0] != 200 or writer.request("GET", "/readyz")[0] != 200:
                raise SystemExit("the server is not ready before it is cut off")
            began = time.monotonic()
            wire.cut(database.host.address)
            asked = threading.Thread(target=lambda: refused.append((writer.request("POST", ha.MAPS, {"metadata": {"name": f"cut-{began}"}})[0], time.monotonic() - began)))
            asked.start()
            while ready.request("GET", "/readyz")[0] == 200:
                time.sleep(0.02)
            unready.append(time.monotonic() - began)
            asked.join(60)
            wire.heal()
            while ready.request("GET", "/readyz")[0] != 200:
                time.sleep(0.1)
        status = {s for s, _ in refused}
        kit.row("a server cut off from its database: /readyz says no; a write that it took is answered", f"{max(unready):.2f} s; {max(t for _, t in refused):.2f} s",
                f"with {', '.join(map(str, sorted(status)))}; {len(unready)} times", "", "≤ 2 s; ≤ 3 s")
