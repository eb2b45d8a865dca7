"""Snapshots of a cluster that is written to, what they cost its writers, and restoring; what watching certificates, authorities and addresses costs."""

import sys
import threading

from .clusters import cluster, config_map
from .kit import *
from .writes import CREATE_LUA

OBJECTS = int(os.environ.get("KEDGE_BENCH_OBJECTS", "100000"))
RATE, CLIENTS = 2000, 64
SETTLE_SECONDS = 30
WATCH_SECONDS = int(os.environ.get("KEDGE_BENCH_WATCH_SECONDS", "120"))


class Writers:
    """wrk that creates ConfigMaps, RATE a second: the 99th percentile and the slowest, in milliseconds, and how many a second it came to."""

    def __init__(self, kedge, token, seconds):
        script = os.path.join(kedge.folder, "paced.lua")
        with open(script, "w") as f:
            # Behind an answer, which takes some two milliseconds.
            f.write(CREATE_LUA + f"\nfunction delay() return {1000 * CLIENTS // RATE - 2} end\n")
        argv = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--latency", "-H", f"Authorization: Bearer {token}", "-s", script, kedge.url]
        self.thread = threading.Thread(target=lambda: setattr(self, "out", run(*argv)))
        self.thread.start()

    def end(self):
        self.thread.join()
        if "Non-2xx" in self.out:
            raise SystemExit(self.out)
        unit = {"us": 1e-3, "ms": 1, "s": 1000}
        p99, most = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", self.out), re.search(r"Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\b", self.out)
        return (*(float(m.group(1)) * unit[m.group(2)] for m in (p99, most)), float(re.search(r"Requests/sec:\s+([\d.]+)", self.out).group(1)))


def snapshots():
    with cluster(config_map(i) for i in range(OBJECTS)) as (kedge, size, _):
        token = kedge.token()
        p99, most, rate = Writers(kedge, token, SECONDS).end()
        writers, took = Writers(kedge, token, 2 * SECONDS), []
        while writers.thread.is_alive():
            began = time.monotonic()
            out = run(KEDGE, "snapshot", "save", "--data-dir", kedge.data, "--server", kedge.url, "--name", f"n{len(took)}")
            took.append(time.monotonic() - began)
        p99_beside, most_beside, rate_beside = writers.end()
        row(f"snapshot of {OBJECTS:,} objects ({size / 1e6:.0f} MB) beside {rate_beside:,.0f} writes/s", f"{max(took):.1f} s, the slowest of {len(took)} one after another", "", "", "≤ 5 s")
        row("writes beside snapshots: 99th percentile, slowest", f"{p99_beside:.1f} ms, {most_beside:.1f} ms", f"without, {rate:,.0f}/s: {p99:.1f} ms, {most:.1f} ms",
            f"{most_beside / p99:.1f} × that percentile", "≤ 2 ×")
        secret = open(os.path.join(kedge.data, "server/token")).read().strip()
        folder = os.path.join(kedge.data, "server/db/snapshots")
        file = os.path.join(folder, next(name for name in sorted(os.listdir(folder)) if name.startswith("n0-")))
        began = time.monotonic()
        run(KEDGE, "snapshot", "restore", file, "--data-dir", os.path.join(kedge.folder, "restored"), "--token", secret)
        row(f"restore of that, {os.path.getsize(file) / 1e6:.0f} MB, into SQLite", f"{time.monotonic() - began:.1f} s", "", "", "≤ 10 s")


# Who looks whether certificates end, whether authorities, addresses and machines are others: their functions, and what only they call.
WATCHERS = ("identity_keeper", "authorities_changed", "twin_watch", "keep_certificates", "is_set_aside", "renew_certificates", "report_certificates",
            "follow_addresses", "default_addresses", "serving_keeper")


def shares(pids, seconds):
    """What part of each process's time went into watching, by perf's samples."""
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "perf.data")
        run("perf", "record", "-q", "-F", "20000", "-e", "cpu-clock", "--call-graph", "fp", "-p", ",".join(map(str, pids)), "-o", data, "--", "sleep", str(seconds))
        samples = [s for s in run("perf", "script", "-i", data, "-F", "pid,ip,sym").split("\n\n") if s.strip()]
    out = []
    for pid in pids:
        own = [s for s in samples if int(s.split(None, 1)[0]) == pid]
        out.append(sum(any(w in s for w in WATCHERS) for s in own) / max(len(own), 1))
    return out


def watching():
    """A server and a node with its containerd at rest, each in a network of its own, and what of their time is watching. perf itself takes as much again, so
    that the whole is measured without it."""
    os.environ["KEDGE_BINARY"] = KEDGE
    sys.path.insert(0, os.path.join(ROOT, "tests/integration"))
    from harness import Agent, Lab, Server, eventually, is_ready
    lab = Lab()
    try:
        server = Server(lab, host=lab.host(), args=["--disable-agent"]).wait_ready()
        agent = Agent(lab, "agent", lab.host(), server.url, server.token())
        eventually("the node is Ready", lambda: is_ready(server.get("node", "agent")))
        time.sleep(SETTLE_SECONDS)  # a start is over by then
        processes = {"server": server.process.pid, "agent": agent.process.pid}
        measure = lambda: [cpu_seconds(pid) for pid in processes.values()]
        before = measure()
        time.sleep(WATCH_SECONDS)
        after = measure()
        for what, share, then, now in zip(processes, shares(list(processes.values()), WATCH_SECONDS), before, after):
            whole = (now - then) / WATCH_SECONDS * 100
            row(f"watching certificates, authorities and addresses for {WATCH_SECONDS} s, {what}", f"{share * whole:.4f} % of a core", f"all that it does at rest {whole:.3f} %", "",
                "≤ 0.01 % of a core")
    finally:
        lab.close()
