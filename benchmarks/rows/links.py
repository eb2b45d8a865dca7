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
        server, unready, answers = servers[1], [], []

        def write(client, name):
            began = time.monotonic()
            status, _ = client.request("POST", ha.MAPS, {"metadata": {"name": name}})
            answers.append((status, time.monotonic() - began))

        for n in range(kit.ROUNDS):
            ready, *writers = (ha.Client(server.kubeconfig, server.address, timeout=60) for _ in range(17))
            while any(c.request("GET", "/readyz")[0] != 200 for c in (ready, *writers)):
                time.sleep(0.1)
            began = time.monotonic()
            wire.cut(database.host.address)
            # One each quarter of a second, from the cut on.
            asked = [threading.Timer(0.25 * i, write, (w, f"cut-{n}-{i}")) for i, w in enumerate(writers)]
            for t in asked:
                t.start()
            while ready.request("GET", "/readyz")[0] == 200:
                time.sleep(0.02)
            unready.append(time.monotonic() - began)
            for t in asked:
                t.join(60)
            wire.heal()
        refused, doubted = ([t for status, t in answers if (status == 503) == wanted] for wanted in (True, False))
        kit.row("a server cut off from its database: /readyz says no; slowest refusal of a write (503)", f"{max(unready):.2f} s; {max(refused, default=0):.2f} s of {len(refused)}",
                f"{len(doubted)} were sent already and stay in doubt, answered after {max(doubted, default=0):.1f} s" if doubted else "", "", "≤ 2 s; ≤ 3 s")
