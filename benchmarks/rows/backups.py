"""Snapshots of a cluster that is written to, what they cost its writers, and restoring; what watching certificates, authorities and addresses costs."""

import threading

from .clusters import cluster, config_map
from .footprint import wait_for
from .kit import *
from .writes import CREATE_LUA

OBJECTS = int(os.environ.get("KEDGE_BENCH_OBJECTS", "100000"))
RATE, CLIENTS = 2000, 64
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


def watching():
    """What an agent and a server take at rest is the most that it can be."""
    with alone() as kedge:
        kedge.wait_ready()
        data = os.path.join(kedge.folder, "agent")
        agent = subprocess.Popen(
            [KEDGE, "agent", "--server", kedge.url, "--token", open(os.path.join(kedge.data, "server/token")).read().strip(), "--data-dir", data, "--node-name", "agent",
             "--lb-server-port", str(free_port()), "--container-runtime-endpoint", f"unix://{data}/none.sock"],
            stdout=kedge.log, stderr=kedge.log, stdin=subprocess.DEVNULL, env={**os.environ, "KEDGE_NODE_PASSWORD_FOLDER": data})
        try:
            wait_for("the agent's node", lambda: "agent" in kedge.get("/api/v1/nodes"))
            time.sleep(10)  # what a start leaves is given back by then
            for what, pid in (("server", kedge.process.pid), ("agent", agent.pid)):
                memory, seconds = resident_kib(pid), cpu_seconds(pid)
                time.sleep(WATCH_SECONDS)
                row(f"watching certificates, authorities and addresses for {WATCH_SECONDS} s, {what}", f"grew by {resident_kib(pid) - memory} KiB; {(cpu_seconds(pid) - seconds) / WATCH_SECONDS * 100:.3f} % of a core, with all else "
                    "that is done at rest", "", "", "≤ 200 KB, ≤ 0.01 % of a core")
        finally:
            agent.terminate()
            agent.wait(30)
