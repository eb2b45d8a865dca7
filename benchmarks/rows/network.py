"""A node's network: rules of Services beside kube-proxy's (nftables mode, $KEDGE_JUDGES), names, and pods of two nodes beside flannel's own code.

As root, in network namespaces. $KEDGE_BENCH_SERVICES: how many Services (5,000)."""

import contextlib
import os
import re
import statistics
import subprocess
import sys
import time

from .kit import KEDGE, ROOT, ROUNDS, SECONDS, cpu_seconds, resident_kib, row, run

SERVICES = int(os.environ.get("KEDGE_BENCH_SERVICES", "5000"))
JUDGES = os.environ.get("KEDGE_JUDGES", "")

# Asks for names of Services, `at_once` before it hears the answers, for so many seconds; says how many were answered, and the latest in a hundred
# of the times that a question took when they come one by one.
ASKS_NAMES = """
import socket, struct, sys, time
server, services, seconds, at_once = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.settimeout(1)
s.connect((server, 53))
def question(i):
    labels = [b"s%d" % (i % services), b"default", b"svc", b"cluster", b"local"]
    return struct.pack("!HHHHHH", i & 0xffff, 0x100, 1, 0, 0, 0) + b"".join(bytes([len(l)]) + l for l in labels) + b"\\0\\0\\1\\0\\1"
all = [question(i) for i in range(4096)]
answered, times, end = 0, [], time.monotonic() + seconds
while time.monotonic() < end:
    began = time.monotonic()
    for i in range(at_once):
        s.send(all[(answered + i) % 4096])
    for i in range(at_once):
        try:
            assert s.recv(4096)[7] == 1
            answered += 1
        except TimeoutError:
            break
    times.append(time.monotonic() - began)
print(answered, sorted(times)[len(times) * 99 // 100])
"""

# Takes what comes, and gives it: bytes a second of one connection.
TAKES = "import socket\ns=socket.create_server(('0.0.0.0',7001))\nwhile True:\n c,_=s.accept()\n b=bytearray(1<<20)\n while c.recv_into(b): pass\n"
GIVES = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], 7001))
b, n, seconds = bytes(1 << 20), 0, float(sys.argv[2])
began = time.monotonic()
while time.monotonic() - began < seconds:
    s.sendall(b)
    n += len(b)
print(n / (time.monotonic() - began))
"""


@contextlib.contextmanager
def laboratory():
    os.environ["KEDGE_BINARY"] = KEDGE
    for folder in ("tests/integration", "tests/judges"):
        sys.path.insert(0, os.path.join(ROOT, folder))
    import harness
    lab = harness.Lab()
    lab.spaces, lab.pods = [], []
    try:
        yield lab
    finally:
        for p in lab.pods:
            p.remove()
        lab.close()
        for space in lab.spaces:
            run("ip", "netns", "del", space, check=False)


def make_services(api, count, begin=0):
    """Each with two endpoints, the two pods of the node."""
    import service_fates as fates
    made = []
    for i in range(begin, begin + count):
        made.append(fates.create(api, "/api/v1/namespaces/default/services", {"metadata": {"name": f"s{i}"}, "spec": {"ports": [{"name": "http", "port": 80}]}}))
        fates.create(api, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_of(i, ("one", "two")))
    return [s["spec"]["clusterIP"] for s in made]


def slice_of(i, pods):
    import service_fates as fates
    return {"addressType": "IPv4", "metadata": {"name": f"s{i}", "labels": {"kubernetes.io/service-name": f"s{i}"}},
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}], "endpoints": [{"addresses": [fates.PODS[p]], "nodeName": "here"} for p in pods]}


def until(world, address, wanted):
    """Seconds until a client's connection is taken by one of these."""
    began = time.monotonic()
    while True:
        said = world.ask("client", [["TCP", address, 80]], 1)[0]
        if said and said[0].split()[0] in wanted:
            return time.monotonic() - began
        if time.monotonic() - began > 300:
            raise SystemExit(f"{address} isn't taken by {wanted} but by {said}")


def connections(world, address):
    out = run(*world.command("client", "wrk", "-t1", "-c8", f"-d{SECONDS}s", "-H", "Connection: close", f"http://{address}/"))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def change(api, i, pods):
    status, said = api.request("PATCH", f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/s{i}", {"endpoints": slice_of(i, pods)["endpoints"]},
                               {"Content-Type": "application/merge-patch+json"})
    if status != 200:
        raise SystemExit(f"PATCH of s{i}: {status} {said}")


def services():
    judge = os.path.join(JUDGES, "kube-proxy")
    with laboratory() as lab:
        import service_fates as fates
        hosts = [lab.host() for _ in range(3)]
        server = fates.start_server(lab, hosts[0])
        worlds = {"ours": fates.World(lab, hosts[1], "k"), "theirs": fates.World(lab, hosts[2], "j")}
        api = server.api(timeout=120)
        ips = make_services(api, 10)
        agent = fates.start_kedge(lab, server, worlds["ours"])
        proxy = fates.start_kube_proxy(lab, server, worlds["theirs"], judge)
        rates = {side: {} for side in worlds}
        for w in worlds.values():
            until(w, ips[-1], ("one", "two"))

        def measure_connections(count):
            for side, w in worlds.items():
                rates[side][count] = max(connections(w, ips[0]) for _ in range(ROUNDS))

        for w in worlds.values():
            for pod in ("one", "two"):
                lab.start("web", w.command(pod, "busybox", "httpd", "-f", "-p", "8081", "-h", lab.folder))
        web_ip = fates.create(api, "/api/v1/namespaces/default/services", {"metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}})["spec"]["clusterIP"]
        fates.create(api, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
                     {**slice_of(0, ("one", "two")), "metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}}, "ports": [{"name": "http", "protocol": "TCP", "port": 8081}]})
        with open(os.path.join(lab.folder, "index.html"), "w") as f:
            f.write("x")
        ips[0] = web_ip
        for w in worlds.values():
            deadline = time.monotonic() + 60
            while subprocess.run(w.command("client", "curl", "-sf", "-m", "2", f"http://{web_ip}/"), capture_output=True).returncode:
                if time.monotonic() > deadline:
                    raise SystemExit("the web server isn't reached")
        measure_connections(10)
        for p in (agent.process, proxy):
            p.terminate()
            p.wait(30)
        for w in worlds.values():
            w.execute("node", "nft", "flush", "ruleset")
        api.close()
        ips += make_services(api, SERVICES - 10, 10)
        took = {}
        for side, start in (("ours", lambda: fates.start_kedge(lab, server, worlds["ours"]).process), ("theirs", lambda: fates.start_kube_proxy(lab, server, worlds["theirs"], judge))):
            process = start()
            took[side] = until(worlds[side], ips[-1], ("one", "two")), process
        row(f"{SERVICES:,} Services × 2 endpoints: from the program's start until the last is answered", f"{took['ours'][0]:.2f} s", f"kube-proxy {took['theirs'][0]:.2f} s",
            f"{took['ours'][0] / took['theirs'][0]:.2f} ×", "≤ 1 s")
        changes = {side: [] for side in worlds}
        api.close()
        for i in range(ROUNDS * 3):
            for side, w in worlds.items():
                for before, after in (("one", "two"), ("two", "one")):
                    change(api, SERVICES - 1, (before,))
                    for other in worlds.values():
                        until(other, ips[-1], (before,))
                    time.sleep(1.5)  # kube-proxy's own pause between changes
                    change(api, SERVICES - 1, (after,))
                    changes[side].append(until(w, ips[-1], (after,)))
        ours, theirs = (statistics.median(changes[s]) * 1e3 for s in ("ours", "theirs"))
        row("one endpoint changed, until a connection takes the new way", f"{ours:.1f} ms", f"kube-proxy {theirs:.1f} ms", f"{ours / theirs:.3f} ×", "≤ 10 ms")
        measure_connections(SERVICES)
        for count in (10, SERVICES):
            row(f"new TCP connections to a cluster IP among {count:,}", f"{rates['ours'][count]:,.0f}/s", f"kube-proxy {rates['theirs'][count]:,.0f}/s",
                f"{rates['ours'][count] / rates['theirs'][count]:.2f} ×", f"≥ kube-proxy, ≥ 0.97 × of 10 ({rates['ours'][count] / rates['ours'][10]:.2f} ×)")
        row(f"resident memory of an agent with {SERVICES:,} Services", f"{resident_kib(took['ours'][1].pid) / 1024:.1f} MiB",
            f"kube-proxy {resident_kib(took['theirs'][1].pid) / 1024:.1f} MiB", "", "≤ 25 MB with 1,000")


def names():
    with laboratory() as lab:
        import service_fates as fates
        control, node = lab.host(), lab.host()
        server = fates.start_server(lab, control)
        world = fates.World(lab, node, "k")
        ips = make_services(server.api(timeout=120), SERVICES)
        agent = fates.start_kedge(lab, server, world)
        until(world, ips[-1], ("one", "two"))

        def ask(at_once):
            out = run(*world.command("client", sys.executable, "-c", ASKS_NAMES, "10.43.0.10", str(SERVICES), str(SECONDS), str(at_once))).split()
            return int(out[0]), float(out[1])

        best, late = 0.0, 1.0
        for _ in range(ROUNDS):
            before = cpu_seconds(agent.process.pid)
            answered, _ = ask(64)
            best = max(best, answered / max(0.01, cpu_seconds(agent.process.pid) - before))
            late = min(late, ask(1)[1])
        row(f"names of {SERVICES:,} Services: answers for a second of one core", f"{best:,.0f}/s", "", "", "≥ 200,000/s")
        row("the same, one question after the other: p99", f"{late * 1e3:.2f} ms", "", "", "≤ 1 ms")


def overlay():
    """One connection of a pod to a pod of another node, by vxlan."""
    judge = os.path.join(JUDGES, "flannel-vxlan")
    with laboratory() as lab:
        import flannel_overlay as fl
        import harness
        from network_test import Pod
        a, b, c = lab.host(), lab.host(), lab.host()
        server = harness.Server(lab, "server", host=a).wait_ready()
        worker = harness.Agent(lab, "worker", b, server.url, server.token())
        for node in (server, worker):
            harness.eventually("a node's network", lambda n=node: os.path.exists(f"{n.data}/agent/etc/cni/net.d/10-flannel.conflist"))
        flannel = fl.FlannelNode(lab, c, server, judge)
        lab.spaces.append(flannel.name)
        for name in ("server", "worker"):
            flannel.learns(server.get("node", name))
        gives = Pod(lab, server, "gives")
        takes = Pod(lab, worker, "takes")
        lab.pods += [gives, takes]
        rates = {}
        for side, who, address in (("ours", takes, takes.address), ("theirs", flannel, flannel.addresses[0])):
            lab.start(side, who.command(sys.executable, "-c", TAKES))
            harness.eventually("it takes", lambda: gives.run(sys.executable, "-c", GIVES, address, "0.01", timeout=20))
        for _ in range(ROUNDS):
            for side, address in (("ours", takes.address), ("theirs", flannel.addresses[0])):
                rates[side] = max(rates.get(side, 0), float(gives.run(sys.executable, "-c", GIVES, address, str(SECONDS), timeout=60 + SECONDS)))
        row("one connection from pod to pod over nodes (vxlan)", f"{rates['ours'] / 1e6:,.0f} MB/s", f"to flannel's node {rates['theirs'] / 1e6:,.0f} MB/s",
            f"{rates['ours'] / rates['theirs']:.2f} ×", "≥ 0.98 ×")


def network():
    services()
    names()
    overlay()
