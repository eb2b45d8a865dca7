"""Tunnels to nodes, beside plain TLS; the agent's load balancer beside haproxy."""

import os
import subprocess
import tempfile
import time

from .kit import BUILD, ROUNDS, SECONDS, cpu_seconds, free_port, row, run

BENCH = os.path.join(BUILD, "benchmarks/tunnel_bench")


def idle():
    each = int(run(BENCH, "idle", str(free_port()), "5000"))
    row("idle tunnels over TLS, 5,000 on one server", f"{each / 1024:.1f} KiB each", "remotedialer: 50–80 KB", "", "≤ 15 KB")


def stream():
    plain, to_node, from_node = map(float, run(BENCH, "stream", str(max(1, SECONDS // 3))).split())
    for what, rate in (("to", to_node), ("from", from_node)):
        row(f"one stream {what} a node through its tunnel, over TLS", f"{rate / 1e6:,.0f} MB/s", f"TLS alone {plain / 1e6:,.0f} MB/s",
            f"{rate / plain:.2f} ×", "≥ 0.6 ×")


def echo():
    median, late = map(float, run(BENCH, "echo", "5000").split())
    row("dial + 1-byte echo through a tunnel", f"{median / 1e3:.3f} ms (p99 {late / 1e3:.3f} ms)", "remotedialer: 0.61 ms", "", "≤ 0.15 ms")


HAPROXY = """
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen kedge
  bind 127.0.0.1:%d
  server one 127.0.0.1:%d
"""


def balancer():
    """What one core of each carries: work done for a second of its processor time."""
    backend_port, our_port, their_port = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "haproxy.cfg")
        with open(config, "w") as f:
            f.write(HAPROXY % (their_port, backend_port))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        backend = subprocess.Popen([BENCH, "backend", str(backend_port)], **quiet)
        ours = subprocess.Popen([BENCH, "balance", str(our_port), str(backend_port)], **quiet)
        theirs = subprocess.Popen(["haproxy", "-db", "-f", config], **quiet)
        try:
            time.sleep(1)
            for what, command, amount, unit in (("new connections", "connections", 20000, "/s"), ("bytes", "bytes", 4_000_000_000, "B/s")):
                best = {}
                for _ in range(ROUNDS):
                    for name, process, port in (("ours", ours, our_port), ("theirs", theirs, their_port)):
                        before = cpu_seconds(process.pid)
                        run(BENCH, command, str(port), str(amount))
                        best[name] = max(best.get(name, 0), amount / (cpu_seconds(process.pid) - before))
                text = (lambda r: f"{r / 1e6:,.0f} MB/s") if unit == "B/s" else (lambda r: f"{r:,.0f}/s")
                row(f"balancer: {what} per second of one core", text(best["ours"]), f"haproxy {text(best['theirs'])}",
                    f"{best['ours'] / best['theirs']:.2f} ×", "≥ haproxy")
        finally:
            for p in (ours, theirs, backend):
                p.terminate()
            for p in (ours, theirs, backend):
                p.wait(10)


def tunnels():
    idle()
    stream()
    echo()
    balancer()
